"""Our command line against foreign servers: libcoap's example server over UDP, TCP and DTLS, and aiocoap with OSCORE and WebSocket."""

import asyncio
import contextlib
import json
import re
import socket
import tempfile
from pathlib import Path

import aiocoap
import aiocoap.resource
from aiocoap.credentials import CredentialsMap
from aiocoap.oscore_sitewrapper import OscoreSiteWrapper

from broker import HOST, Althing, free_port
from coap import column_at
from report import case_of, expect, within

KEY = "correct horse"
SECRET, SALT = "0102030405060708090a0b0c0d0e0f10", "9e7ca92223786340"
# aiocoap listens for WebSockets so far above the port that it is told.
WEB_SOCKET_DISTANCE = 3000
TABLE = []
case = case_of(TABLE)


@contextlib.asynccontextmanager
async def server(*certificate):
    """Yields the port for datagrams and TCP; that inside DTLS is the next one."""
    port = free_port(socket.SOCK_DGRAM)
    words = ["coap-server-openssl", "-A", HOST, "-p", str(port), "-d", "20", "-k", KEY, "-h", "hint", *certificate]
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*words, stdout=quiet, stderr=quiet)
    try:
        line = CommandLine(port)
        while (await line.call("ping", "", "-W", "1"))[0] != 0:
            expect(process.returncode, None, "whether libcoap's server runs")
        yield port
    finally:
        process.terminate()
        await process.wait()


async def certify(folder, command, *words):
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(str(Althing.binary()), "cert", command, str(folder), *words, stdout=quiet)
    expect(await within(process.wait(), "a certificate"), 0, f"the exit code of althing cert {command}")


class Value(aiocoap.resource.ObservableResource):
    """What was put there last, told to observers."""

    def __init__(self):
        super().__init__()
        self.value = b"first"

    async def render_get(self, request):
        return aiocoap.Message(payload=self.value)

    async def render_put(self, request):
        self.value = request.payload
        self.updated_state()
        return aiocoap.Message(code=aiocoap.CHANGED)


@contextlib.asynccontextmanager
async def aiocoap_server(folder):
    """aiocoap with /value and one OSCORE context. Yields its port for datagrams."""
    port = free_port(socket.SOCK_DGRAM)
    ids = {"sender-id_hex": "01", "recipient-id_hex": "00"}
    Path(folder, "settings.json").write_text(json.dumps(ids | {"secret_hex": SECRET, "salt_hex": SALT}))
    credentials = CredentialsMap()
    credentials.load_from_dict({":cli": {"oscore": {"basedir": folder}}})
    site = aiocoap.resource.Site()
    site.add_resource(["value"], Value())
    site = OscoreSiteWrapper(site, credentials)
    context = await aiocoap.Context.create_server_context(site, bind=(HOST, port), transports=["simplesocketserver", "ws"])
    try:
        yield port
    finally:
        await context.shutdown()


class CommandLine:
    def __init__(self, port):
        self.uris = {scheme: f"{scheme}://{HOST}:{port + (scheme == 'coaps')}/" for scheme in ("coap", "coap+tcp", "coaps")}

    async def start(self, verb, path, *words, scheme="coap", **given):
        return await asyncio.create_subprocess_exec(
            str(Althing.binary()), verb, self.uris[scheme] + path, *words,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, **given,
        )

    async def call(self, verb, path, *words, scheme="coap"):
        """The exit code, and what it printed on standard output and error."""
        process = await self.start(verb, path, *words, scheme=scheme)
        output, error = await within(process.communicate(), f"the end of althing {verb}")
        return process.returncode, output, error.decode()

    async def well(self, verb, path, *words, scheme="coap"):
        code, output, error = await self.call(verb, path, *words, scheme=scheme)
        expect(code, 0, f"the exit code, after {error}")
        return output


@case("discover lists what is there")
async def _(line):
    links = (await line.well("discover", "")).decode()
    expect(bool(re.search(r"^/time +.*obs", links, re.M)), True, f"the line of /time in {links}")


@case("put, get and delete, over UDP, TCP and DTLS")
async def _(line):
    for scheme in line.uris:
        path, key = f"cli/{scheme.replace('+', '-')}", ["--psk", KEY, "--psk-identity", "cli"] if scheme == "coaps" else []
        await line.well("put", path, "-m", "hello", *key, scheme=scheme)
        expect((await line.well("get", path, *key, scheme=scheme)).strip(), b"hello", f"the value over {scheme}")
        await line.well("delete", path, *key, scheme=scheme)
        code, _, error = await line.call("get", path, *key, scheme=scheme)
        expect((code, "4.04" in error), (4, True), f"what comes after the end over {scheme}: {error}")


@case("a file in blocks of any size, there and back")
async def _(line):
    with tempfile.TemporaryDirectory(prefix="coap-cli-") as folder:
        sent, got = Path(folder) / "sent", Path(folder) / "got"
        sent.write_bytes(bytes(number % 251 for number in range(5_000)))
        for block in ("64", "1024"):
            await line.well("put", "cli/large", "-f", str(sent), "-b", block)
            await line.well("get", "cli/large", "-o", str(got), "-b", block)
            expect(got.read_bytes(), sent.read_bytes(), f"the file in blocks of {block}")


@case("observe prints a line for each notification")
async def _(line):
    process = await line.start("observe", "time", "-C", "3")
    output, error = await within(process.communicate(), "three notifications of /time")
    expect((process.returncode, len(output.splitlines())), (0, 3), f"the exit code and the lines of {output} {error}")


@case("--json says what a program wants to know")
async def _(line):
    said = json.loads(await line.well("get", "time", "--json"))
    expect((said["code"], said["url"]), ("2.05", line.uris["coap"] + "time"), "code and URL")
    expect(":" in said["payload"], True, f"a time of day in {said}")


@case("-v shows the messages with their types")
async def _(line):
    _, _, error = await line.call("get", "time", "-v")
    expect("-> CON" in error and "<- ACK" in error, True, f"CON and ACK in {error}")


@case("a wrong key, and nobody there")
async def _(line):
    patience = ["-W", "3"]
    code, _, _ = await line.call("get", "time", "--psk", "wrong", "--psk-identity", "cli", *patience, scheme="coaps")
    expect(code != 0, True, f"whether {code} is no success")
    line.uris["coap"] = f"coap://{HOST}:{free_port(socket.SOCK_DGRAM)}/"
    code, _, error = await line.call("get", "time", *patience)
    expect((code, "nothing listens" in error), (3, True), f"the exit code and {error}")


@case("certificates: the server's is checked, and ours is shown")
async def _(line):
    with tempfile.TemporaryDirectory(prefix="coap-cli-") as lab, tempfile.TemporaryDirectory(prefix="coap-cli-") as other:
        for words in (["ca"], ["server", "--name", "localhost"], ["client", "--name", "ann"]):
            await certify(lab, *words)
        await certify(other, "ca")
        certificate = ["-c", f"{lab}/localhost.crt", "-j", f"{lab}/localhost.key", "-C", f"{lab}/ca.crt"]
        pair = ["--cert", f"{lab}/ann.crt", "--key", f"{lab}/ann.key"]
        async with server(*certificate) as port:
            line = CommandLine(port)
            said = await line.well("get", "time", "--cafile", f"{lab}/ca.crt", *pair, scheme="coaps")
            expect(b":" in said, True, f"a time of day in {said}")
            code, _, error = await line.call("get", "time", "--cafile", f"{other}/ca.crt", *pair, scheme="coaps")
            expect((code, "no DTLS with" in error), (3, True), f"what a server of another CA is told: {error}")


@case("OSCORE: aiocoap's server, run after run")
async def _(line):
    context = f"master_secret={SECRET},master_salt={SALT},sender_id=00,recipient_id=01"
    with tempfile.TemporaryDirectory(prefix="coap-cli-") as folder, tempfile.TemporaryDirectory(prefix="coap-cli-") as state:
        async with aiocoap_server(folder) as port:
            line.uris["coap"] = f"coap://{HOST}:{port}/"
            kept = ["--oscore-state", state]
            protected = ["--oscore", context, *kept]
            # The first run is asked to prove by Echo that it is new; none of them is a replay.
            for value in ("21.5", "22", "x" * 3000):
                await line.well("put", "value", "-m", value, *protected)
                expect((await line.well("get", "value", *protected)).decode().strip(), value, "the value")
            await line.well("put", "value", "-m", "before", *protected)
            observer = await line.start("observe", "value", "-C", "2", *protected)
            first = await within(observer.stdout.readline(), "the first notification")
            await line.well("put", "value", "-m", "after", *protected)
            rest, error = await within(observer.communicate(), "the second notification")
            values = [said.split()[-1] for said in (first + rest).splitlines()]
            expect((observer.returncode, values), (0, [b"before", b"after"]), f"the notifications, and {error}")
            stranger = context.replace("sender_id=00", "sender_id=77")
            code, _, error = await line.call("get", "value", "--oscore", stranger, *kept)
            expect((code, "OSCORE" in error), (4, True), f"what a stranger is told: {error}")


@case("WebSocket: aiocoap's server")
async def _(line):
    with tempfile.TemporaryDirectory(prefix="coap-cli-") as folder:
        async with aiocoap_server(folder) as port:
            line.uris["coap+ws"] = f"coap+ws://{HOST}:{port + WEB_SOCKET_DISTANCE}/"
            for value in ("21.5", "x" * 3000):
                await line.well("put", "value", "-m", value, scheme="coap+ws")
                expect((await line.well("get", "value", scheme="coap+ws")).decode().strip(), value, "the value")
            lines = (await line.well("observe", "value", "-C", "1", scheme="coap+ws")).splitlines()
            expect(len(lines), 1, "the lines of observe")
            await line.well("ping", "", scheme="coap+ws")


run = column_at(TABLE, server, lambda port, _topic, _number, function: function(CommandLine(port)))
