"""CoAP inside DTLS: libcoap's clients, with OpenSSL and with GnuTLS. They are judged by their output."""

import contextlib
import socket

from broker import HOST, NAME, Althing, free_port
from coap import House, column_at
from report import case_of, expect

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


def column(tool):
    return column_at(TABLE, secured, lambda broker, topic, _, function: SecureHouse(broker, topic, tool).attempt(function))
