"""Our command line against a foreign server: libcoap's example server, over UDP, TCP and DTLS."""

import asyncio
import contextlib
import json
import re
import socket
import tempfile
from pathlib import Path

from broker import HOST, Althing, free_port
from coap import column_at
from report import case_of, expect, within

KEY = "correct horse"
TABLE = []
case = case_of(TABLE)


@contextlib.asynccontextmanager
async def server():
    """Yields the port for datagrams and TCP; that inside DTLS is the next one."""
    port = free_port(socket.SOCK_DGRAM)
    words = ["coap-server-openssl", "-A", HOST, "-p", str(port), "-d", "20", "-k", KEY, "-h", "hint"]
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


run = column_at(TABLE, server, lambda port, _topic, _number, function: function(CommandLine(port)))
