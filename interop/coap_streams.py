"""CoAP over TCP, TLS and WebSocket (RFC 8323): libcoap's clients at a prompt, aiocoap in a program.

As over datagrams, coap-client is judged by its output.
"""

import asyncio
import contextlib

import aiocoap

import coap
from broker import HOST, NAME, Althing, free_port
from coap import House
from report import DEADLINE_S, Skip, case, expect, within

# What is the same whatever carries it.
SAME = ("discovery", "get of nothing, put, get, delete, get", "observe: every message of mosquitto_pub")
LIBCOAP, AIOCOAP = [entry for entry in coap.LIBCOAP if entry[0] in SAME], []


def column(table, carrier, tool="coap-client-openssl"):
    async def run(client, broker, report, wanted):
        for number, (name, function) in enumerate(table):
            if wanted(name):
                house = StreamHouse(broker, f"{client.replace(' ', '-')}/{number}", carrier, tool)
                await report.run(client, name, house.attempt(function), broker.deviates.get(name))

    return run


class StreamHouse(House):
    """The broker as CoAP sees it through a carrier: tcp, tls or ws."""

    def __init__(self, broker, topic, carrier, tool):
        super().__init__(broker, topic)
        self.carrier, self.tool = carrier, tool

    async def attempt(self, function):
        if self.broker.coap_tcp_port is None:
            raise Skip("this broker speaks no CoAP over TCP")
        async with self.secured() if self.carrier == "tls" else contextlib.nullcontext():
            await super().attempt(function)

    @contextlib.asynccontextmanager
    async def secured(self):
        """A broker of its own, which listens inside TLS as well."""
        self.broker = Althing(is_secure=True)
        self.broker.coap_tls_port = free_port()
        await self.broker.start()
        try:
            yield
        finally:
            await self.broker.stop()
            self.broker.remove()

    def uri(self, path=None, query=""):
        scheme, port = {
            "tcp": ("coap+tcp", self.broker.coap_tcp_port),
            "tls": ("coaps+tcp", self.broker.coap_tls_port),
            "ws": ("coap+ws", self.broker.web_port),
        }[self.carrier]
        host = NAME if self.carrier == "tls" else HOST
        return f"{scheme}://{host}:{port}/{path or 't/' + self.topic}{query}"

    def authority(self):
        return ["-C", self.broker.certificate("ca.crt")] if self.carrier == "tls" else []

    async def coap_client(self, method, *arguments, uri=None):
        where = ["-m", method, "-B", str(DEADLINE_S), *self.authority()]
        return (await self.call(self.tool, *arguments, uri or self.uri(), where=where)).decode().strip()

    @contextlib.asynccontextmanager
    async def observer(self, *arguments):
        observe = ["-m", "get", "-s", "60", "-B", "60", *self.authority()]
        process = await self.start(f"stdbuf -o0 {self.tool}", *arguments, self.uri(), where=observe)

        async def until(mark):
            text = await within(process.stdout.readuntil(mark.encode()), f"{mark!r} from {self.tool}")
            return text.decode()

        yield until


@case(LIBCOAP, "a value larger than a datagram")
async def _(house):
    value = "v" * 5_000
    await house.publish("-r", "-q", "1", "-t", house.topic, "-m", value)
    expect(await house.coap_client("get"), value, "the value")


@case(LIBCOAP, "put and post, heard by mosquitto_sub")
async def _(house):
    async with house.subscriber("-q", "2", "-t", house.topic) as message:
        await house.coap_client("put", "-e", "put")
        expect(await message(), f"{house.topic} 1 0 put", "the line")
        await house.coap_client("post", "-e", "once", uri=house.uri(query="?qos=0"))
        expect(await message(), f"{house.topic} 0 0 once", "the line")


@case(LIBCOAP, "errors")
async def _(house):
    for uri, code in [("x", "4.04"), ("t/a/+", "4.00"), ("t/a%2Fb", "4.00")]:
        expect((await house.coap_client("get", uri=house.uri(uri)))[:4], code, uri)
    expect((await house.coap_client("get", "-O", "65001,x"))[:4], "4.02", "an option that must be known")


@case(AIOCOAP, "codes of the methods")
async def _(house):
    async with house.context() as context:
        for code, payload, expected in [
            (aiocoap.GET, b"", aiocoap.NOT_FOUND),
            (aiocoap.PUT, b"value", aiocoap.CHANGED),
            (aiocoap.GET, b"", aiocoap.CONTENT),
            (aiocoap.DELETE, b"", aiocoap.DELETED),
        ]:
            expect((await house.ask(context, code, payload)).code, expected, f"the code of {code}")


@case(AIOCOAP, "observe, and an end to it")
async def _(house):
    async with house.context() as context:
        await house.ask(context, aiocoap.PUT, b"before")
        request = context.request(aiocoap.Message(code=aiocoap.GET, uri=house.uri(), observe=0))
        first = await within(request.response, "the first response")
        expect((first.payload, first.opt.observe is not None), (b"before", True), "the first response")
        told = asyncio.Queue()
        request.observation.register_callback(told.put_nowait)
        for number in range(10):
            payload = str(number).encode()
            await house.publish("-q", str(number % 2), "-t", house.topic, "-m", payload.decode())
            expect((await within(told.get(), "a notification")).payload, payload, "the notification")
        request.observation.cancel()
        expect((await house.ask(context, aiocoap.GET)).opt.observe, None, "a plain response afterwards")


@case(AIOCOAP, "a large value, in blocks where they are needed")
async def _(house):
    async with house.context() as context:
        for size in (1_000, 5_000, 70_000):
            value = bytes(number % 251 for number in range(size))
            expect((await house.ask(context, aiocoap.PUT, value)).code, aiocoap.CHANGED, f"the code of {size} bytes")
            expect((await house.ask(context, aiocoap.GET)).payload, value, f"the value of {size} bytes")


@case(AIOCOAP, "1000 requests at once on one connection")
async def _(house):
    async with house.context() as context:
        # Without a connection that stands the library opens one for each, and keeps them.
        await house.ask(context, aiocoap.POST, b"first")
        asked = [house.ask(context, aiocoap.POST, b"%d" % number) for number in range(1000)]
        for response in await asyncio.gather(*asked):
            expect(response.code, aiocoap.CHANGED, "the code")
