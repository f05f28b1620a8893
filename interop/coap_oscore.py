"""CoAP protected by OSCORE (RFC 8613): aiocoap, whose context is the other half of the broker's."""

import contextlib
import gc
import json
import tempfile
from pathlib import Path

import aiocoap

from broker import Althing
from coap import House, column_at
from report import case_of, expect, within

SECRET, OTHER_SECRET, SALT = "0102030405060708090a0b0c0d0e0f10", "100f0e0d0c0b0a090807060504030201", "9e7ca92223786340"
TABLE = []
case = case_of(TABLE)


@contextlib.asynccontextmanager
async def protected():
    """A broker of its own with a context for each case: the library does not give a half back while it runs."""
    broker = Althing()
    contexts = broker.folder / "oscore.toml"
    secret = f'master_secret = "{SECRET}"\nmaster_salt = "{SALT}"\n'
    halves = [f'[sensor-{number}]\n{secret}sender_id = "80{number:02x}"\nrecipient_id = "{number:02x}"\n' for number in range(len(TABLE))]
    contexts.write_text("".join(halves))
    contexts.chmod(0o600)
    broker.settings = [f"coap.oscore_file={contexts}"]
    await broker.start()
    with tempfile.TemporaryDirectory(prefix="oscore-") as folder:
        try:
            yield lambda topic, number: OscoreHouse(broker, topic, Path(folder) / str(number), number)
        finally:
            await broker.stop()
            broker.remove()
            # The library writes its numbers down when its contexts are collected.
            gc.collect()


class OscoreHouse(House):
    def __init__(self, broker, topic, folder, number):
        super().__init__(broker, topic)
        self.folder, self.number = folder, number

    @contextlib.asynccontextmanager
    async def sensor(self, secret=SECRET):
        """aiocoap with the sensor's half of the context."""
        self.folder.mkdir()
        ids = {"sender-id_hex": f"{self.number:02x}", "recipient-id_hex": f"80{self.number:02x}"}
        (self.folder / "settings.json").write_text(json.dumps(ids | {"secret_hex": secret, "salt_hex": SALT}))
        credentials = {self.uri("*"): {"oscore": {"basedir": str(self.folder)}}}
        async with self.context() as context:
            context.client_credentials.load_from_dict(credentials)
            yield context


@case("put, get, delete, and what mosquitto_sub hears")
async def _(house):
    async with house.sensor() as sensor, house.subscriber("-t", house.topic) as message:
        expect((await house.ask(sensor, aiocoap.PUT, b"21.5")).code.is_successful(), True, "the success of a PUT")
        expect(await message(), f"{house.topic} 0 0 21.5", "the line")
        expect((await house.ask(sensor, aiocoap.GET)).payload, b"21.5", "the value")
        expect((await house.ask(sensor, aiocoap.DELETE)).code, aiocoap.DELETED, "the end")
        expect((await house.ask(sensor, aiocoap.GET)).code, aiocoap.NOT_FOUND, "what is there after")


@case("a value in many blocks")
async def _(house):
    value = bytes(number % 251 for number in range(5_000))
    async with house.sensor() as sensor:
        expect((await house.ask(sensor, aiocoap.PUT, value)).code.is_successful(), True, "the success of a PUT in blocks")
        expect((await house.ask(sensor, aiocoap.GET)).payload, value, "the value that comes back")


@case("observe: every message of mosquitto_pub")
async def _(house):
    async with house.sensor() as sensor:
        request = sensor.request(aiocoap.Message(code=aiocoap.GET, uri=house.uri(), observe=0))
        await within(request.response, "the first response")
        told = aiter(request.observation)
        for number in range(5):
            payload = str(number).encode()
            await house.publish("-q", "1", "-t", house.topic, "-m", payload.decode())
            while (await within(anext(told), "a notification")).payload != payload:
                pass


@case("another secret is told that it is another one")
async def _(house):
    async with house.sensor(OTHER_SECRET) as stranger:
        try:
            answer = await house.ask(stranger, aiocoap.GET)
        except aiocoap.error.Error as error:
            answer = error
        expect("2.05" in str(getattr(answer, "code", "")), False, f"a value for a stranger, {answer}")


@case("after a restart of the broker the numbers go on")
async def _(house):
    async with house.sensor() as sensor:
        expect((await house.ask(sensor, aiocoap.PUT, b"before")).code.is_successful(), True, "the success before")
        await house.broker.stop()
        await house.broker.start()
        expect((await house.ask(sensor, aiocoap.GET)).payload, b"before", "the value after")


run = column_at(TABLE, protected, lambda house_of, topic, number, function: house_of(topic, number).attempt(function))
