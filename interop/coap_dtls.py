"""CoAP inside DTLS: libcoap's clients, with OpenSSL and with GnuTLS. They are judged by their output."""

import asyncio
import contextlib
import signal
import socket
import subprocess

from broker import HOST, NAME, Althing, free_port
from coap import House, column_at
from report import case_of, expect, within

KEY = "00112233445566778899aabbccddeeff"
# What coap-client takes is the key itself, not its digits: one that can be typed.
TYPED = "correct horse"
# It goes on for long before it gives up: this many seconds are enough to see that nothing comes.
NOTHING_S = "3"
TABLE = []
case = case_of(TABLE)


@contextlib.asynccontextmanager
async def secured():
    """A broker of its own that knows two keys and has a certificate."""
    broker = Althing(is_secure=True)
    keys = broker.folder / "psk"
    keys.write_text(f"kitchen:{TYPED.encode().hex()}\nother:{KEY}\n")
    keys.chmod(0o600)
    broker.coaps_port = free_port(socket.SOCK_DGRAM)
    broker.settings = [
        f"coap.psk_file={keys}",
        # The last word holds: this is where DTLS listens.
        f"coap.tls_bind={HOST}:{broker.coaps_port}",
    ]
    await broker.start()
    try:
        yield broker
    finally:
        await broker.stop()
        broker.remove()


RULES = """
[[rules]]
user = "lamp"
actions = ["publish", "subscribe"]
topic = "#"
allow = true
"""


@contextlib.asynccontextmanager
async def verifying():
    """A broker of its own that wants a certificate of its CA from every client, and lets the one called `lamp` do everything."""
    broker = Althing(is_secure=True)
    broker.coaps_port = free_port(socket.SOCK_DGRAM)
    rules = broker.folder / "rules.toml"
    rules.write_text(RULES)
    broker.settings = [
        f"coap.tls_bind={HOST}:{broker.coaps_port}",
        "tls.client_certificate=required",
        f"tls.client_ca={broker.certificate('ca.crt')}",
        "identity.certificate.enabled=true",
        "identity.anonymous=nowhere",
        f"authorisation.file={rules}",
        "authorisation.otherwise=deny",
    ]
    await broker.start()
    for name in ("lamp", "chair"):
        make_certificate(broker.folder, "client", "--name", name)
    try:
        yield broker
    finally:
        await broker.stop()
        broker.remove()


def make_certificate(folder, kind, *words):
    command = [str(Althing.binary()), "cert", kind, str(folder), *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class SecureHouse(House):
    def __init__(self, broker, topic, tool):
        super().__init__(broker, topic)
        self.tool = tool

    def uri(self, path=None, query=""):
        return f"coaps://{NAME}:{self.broker.coaps_port}/{path or 't/' + self.topic}{query}"

    async def secure(self, method, *arguments, patience_s="20", uri=None):
        where = ["-m", method, "-B", patience_s]
        return (await self.call(self.tool, *arguments, uri or self.uri(), where=where)).decode().strip()

    def key(self, identity="kitchen", key=TYPED):
        return ["-u", identity, "-k", key]


@case("a pre-shared key: put, get, discovery")
async def _(house):
    expect(await house.secure("put", *house.key(), "-e", "kept"), "", "what a PUT prints")
    expect(await house.secure("get", *house.key()), "kept", "the value")
    links = await house.secure("get", *house.key(), uri=house.uri(".well-known/core"))
    expect("</t>" in links, True, f"the links, {links}")


@case("a pre-shared key: a value in many blocks")
async def _(house):
    value = "x" * 5000
    await house.secure("put", *house.key(), "-b", "256", "-e", value)
    expect(await house.secure("get", *house.key()), value, "the value")


@case("a wrong key and an unknown name get nothing")
async def _(house):
    for identity, key in [("kitchen", "wrong"), ("nobody", TYPED)]:
        said = await house.secure("get", *house.key(identity, key), patience_s=NOTHING_S, uri=house.uri(".well-known/core"))
        expect("</t>" in said, False, f"an answer for {identity} with {key}")
    links = await house.secure("get", *house.key(), uri=house.uri(".well-known/core"))
    expect("</t>" in links, True, f"the links for the right key, {links}")


@case("the server's certificate")
async def _(house):
    authority = ["-C", house.broker.certificate("ca.crt")]
    links = await house.secure("get", *authority, uri=house.uri(".well-known/core"))
    expect("</t>" in links, True, f"the links, {links}")


@case("certificates at both ends: who is named may, who is not named or unknown may not")
async def _(house):
    async with verifying() as broker:
        house = SecureHouse(broker, house.topic, house.tool)
        authority = ["-C", broker.certificate("ca.crt")]
        stranger = broker.folder / "stranger"
        stranger.mkdir()
        make_certificate(stranger, "ca")
        make_certificate(stranger, "client", "--name", "lamp")

        def showing(folder, name):
            return [*authority, "-c", f"{folder}/{name}.crt", "-j", f"{folder}/{name}.key"]

        lamp = showing(broker.folder, "lamp")
        expect(await house.secure("put", *lamp, "-e", "kept"), "", "what a PUT prints")
        expect(await house.secure("get", *lamp), "kept", "the value")
        said = await house.secure("get", *showing(broker.folder, "chair"))
        expect("kept" in said or not said.startswith("4.0"), False, f"what the other one hears, {said}")
        for nobody in (authority, showing(stranger, "lamp")):
            said = await house.secure("get", *nobody, patience_s=NOTHING_S)
            expect("kept" in said, False, f"a value for somebody unknown, {said}")


@case("new certificates are shown while associations stand, which hear goodbye at the end")
async def _(house):
    async with secured() as broker:
        house = SecureHouse(broker, house.topic, house.tool)
        authority = ["-C", broker.certificate("ca.crt")]
        observe = ["-m", "get", "-s", "60", "-B", "60", "-v", "6", "-w", *authority]
        observer = await house.start(f"stdbuf -o0 {house.tool}", *observe, house.uri(), where=[])

        async def hears(mark):
            await within(observer.stdout.readuntil(mark.encode()), f"{mark!r} from {house.tool}")

        await house.secure("put", *house.key(), "-e", "before")
        await hears("before")
        folder = broker.folder
        make_certificate(folder, "server", "--name", NAME, "--ip", HOST, "--force")
        broker.process.send_signal(signal.SIGHUP)
        while "TLS of coap-tls: read again" not in broker.log.read_text():
            await asyncio.sleep(0.02)
        links = await house.secure("get", *authority, uri=house.uri(".well-known/core"))
        expect("</t>" in links, True, f"the links, {links}")
        await house.secure("put", *house.key(), "-e", "after")
        await hears("after")
        await broker.stop()
        rest = await within(observer.stdout.read(), f"the end of {house.tool}")
        expect(b"5.03" in rest, True, f"a last notification, {rest[-500:]}")
        if "openssl" in house.tool:
            # GnuTLS says nothing about it.
            expect(b"alert read:warning:close notify" in rest, True, f"close_notify, {rest[-500:]}")


def column(tool):
    return column_at(TABLE, secured, lambda broker, topic, _, function: SecureHouse(broker, topic, tool).attempt(function))
