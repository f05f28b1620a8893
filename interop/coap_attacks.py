"""Attacks by CoAP, as datagrams and bytes written by hand, on a broker of their own while an ordinary client is served
(attacks.py).

Datagrams get lost where they come too fast: whoever needs to know that they were read asks for an answer behind them.
"""

import asyncio
import contextlib
import os
import socket
from dataclasses import dataclass

from attacks import STRANGER_KIB_MAX, case_of
from broker import HOST, free_port
from raw import PUBACK, publish
from report import expect, within

TABLE = []
case = case_of(TABLE)

CON, NON, ACK, RST = range(4)
EMPTY, GET, POST, PUT = range(4)
IF_MATCH, OBSERVE, URI_PATH, MAX_AGE, URI_QUERY, BLOCK2, BLOCK1, ECHO, UNKNOWN = 1, 6, 11, 14, 15, 23, 27, 252, 65_000
CHANGED, CONTENT, CONTINUE = 0x44, 0x45, 0x5F
BAD_REQUEST, UNAUTHORIZED, BAD_OPTION, UNAVAILABLE = 0x80, 0x81, 0x82, 0xA3

# What an address that has not proven itself is sent for nothing (docs/security.md).
UNPROVEN_BYTES = 136


@dataclass
class Heard:
    kind: int
    code: int
    id: int
    token: bytes
    options: list
    payload: bytes

    def option(self, number):
        return next((value for other, value in self.options if other == number), None)


def extended(number):
    """The nibble of a delta or length, and the bytes that belong to it."""
    if number < 13:
        return number, b""
    return (13, bytes([number - 13])) if number < 269 else (14, (number - 269).to_bytes(2, "big"))


def options_of(pairs):
    out, before = b"", 0
    for number, value in sorted(pairs, key=lambda pair: pair[0]):
        (delta, more), (length, still_more) = extended(number - before), extended(len(value))
        out += bytes([delta << 4 | length]) + more + still_more + value
        before = number
    return out


def message(kind, code, id, path=(), options=(), payload=b"", token=b""):
    pairs = [*((URI_PATH, segment) for segment in path), *options]
    head = bytes([0x40 | kind << 4 | len(token), code]) + id.to_bytes(2, "big") + token
    return head + options_of(pairs) + (b"\xff" + payload if payload else b"")


def read(datagram):
    token_end = 4 + (datagram[0] & 15)
    options, number, rest = [], 0, datagram[token_end:]

    def number_of(nibble):
        nonlocal rest
        size = {13: 1, 14: 2}.get(nibble, 0)
        more, rest = int.from_bytes(rest[:size], "big"), rest[size:]
        return nibble + more if size < 2 else 269 + more

    while rest and rest[0] != 0xFF:
        first, rest = rest[0], rest[1:]
        number += number_of(first >> 4)
        length = number_of(first & 15)
        options, rest = [*options, (number, rest[:length])], rest[length:]
    kind, id, token = datagram[0] >> 4 & 3, int.from_bytes(datagram[2:4], "big"), datagram[4:token_end]
    return Heard(kind, datagram[1], id, token, options, rest[1:])


class Endpoint:
    """One address that datagrams come from, and what has been sent to it."""

    def __init__(self, port):
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.bind((HOST, 0))
        self.socket.connect((HOST, port))
        self.socket.setblocking(False)
        self.said_bytes = self.heard_bytes = 0

    async def say(self, *datagrams):
        for datagram in datagrams:
            self.said_bytes += len(datagram)
            with contextlib.suppress(ConnectionRefusedError):
                await asyncio.get_running_loop().sock_sendall(self.socket, datagram)

    async def datagram(self):
        datagram = await asyncio.get_running_loop().sock_recv(self.socket, 65_536)
        self.heard_bytes += len(datagram)
        return datagram

    async def hear(self, is_wanted=lambda heard: True):
        """The next message that is wanted."""
        while True:
            heard = read(await self.datagram())
            if is_wanted(heard):
                return heard

    async def ask(self, datagram):
        """The response to a request, which is repeated until it comes."""
        id = int.from_bytes(datagram[2:4], "big")
        return await self.repeat(datagram, lambda heard: heard.id == id and heard.kind in (ACK, RST))

    async def repeat(self, datagram, is_wanted):
        async def repeated():
            while True:
                await self.say(datagram)
                with contextlib.suppress(asyncio.TimeoutError):
                    return await asyncio.wait_for(self.hear(is_wanted), 0.5)

        return await within(repeated(), "an answer", 60)

    async def was_read(self, id=0xFFFF):
        """Everything that was said before has been read: the broker answers a ping behind it."""
        expect((await self.ask(message(CON, EMPTY, id))).kind, RST, "the answer to a ping")

    def close(self):
        self.socket.close()


@contextlib.contextmanager
def endpoints(house, count):
    some = [Endpoint(house.broker.coap_port) for _ in range(count)]
    try:
        yield some
    finally:
        for endpoint in some:
            endpoint.close()


async def publish_by_mqtt(house, topic, payload, **given):
    writer = await house.connected()
    writer.send(publish(topic, payload, qos=1, **given))
    await writer.expect_packet(PUBACK, "PUBACK")
    return writer


@case("CoAP: addresses that nobody has proven", "coap.address_proof=always")
async def _(house):
    await publish_by_mqtt(house, "large", b"x" * 4_000, flags=1)
    requests = [
        ((b"t", b"large"), ()),
        ((b"t", b"large"), ((OBSERVE, b""),)),
        ((b"t", b"large"), ((BLOCK2, b"\x06"),)),
        ((b".well-known", b"core"), ()),
        ((b"time",), ((OBSERVE, b""),)),
        ((b"other", b"block"), ()),
        ((b"ps",), ()),
        ((b"nowhere",), ()),
    ]
    with endpoints(house, 100) as strangers:
        for stranger in strangers:
            for id, (path, options) in enumerate(requests):
                datagram = message(CON, GET, id, path, options)
                before = stranger.heard_bytes
                await within(stranger.say(datagram), "the request leaves")
                heard = await within(stranger.hear(lambda heard: heard.id == id), "an answer")
                out = stranger.heard_bytes - before
                expect(out <= max(3 * len(datagram), UNPROVEN_BYTES), True, f"{out} bytes for {len(datagram)}")
        for _ in range(10):
            await publish_by_mqtt(house, "large", b"x" * 4_000, flags=1)
        for stranger in strangers:
            before = stranger.heard_bytes
            await stranger.was_read()
            expect(stranger.heard_bytes - before, 4, "bytes of an observation that nobody has proven")
        # Whoever can read there gets it all.
        stranger = strangers[0]
        challenge = await stranger.ask(message(CON, GET, 100, (b"t", b"large")))
        expect(challenge.code, UNAUTHORIZED, "what asks for a proof")
        proof = (ECHO, challenge.option(ECHO))
        heard = await stranger.ask(message(CON, GET, 101, (b"t", b"large"), [proof]))
        expect((heard.code, len(heard.payload)), (CONTENT, 1_024), "the first block")
        heard = await strangers[1].ask(message(CON, GET, 101, (b"t", b"large"), [proof]))
        expect(heard.code, UNAUTHORIZED, "somebody else with the same proof")


@case("CoAP: bodies in blocks that never end", "coap.transfer_bytes_max=1048576")
async def _(house):
    before, refused = house.memory_kib(), 0
    with endpoints(house, 300) as strangers:
        for stranger in strangers:
            for id in range(8):
                path = (b"t", b"flood", b"%d" % id)
                heard = await stranger.ask(message(CON, PUT, id, path, [(BLOCK1, b"\x0e")], b"x" * 1_024))
                expect(heard.code in (CONTINUE, UNAVAILABLE), True, f"code {heard.code:#x}")
                if heard.code == UNAVAILABLE:
                    refused += 1
                    expect(heard.option(MAX_AGE) is not None, True, "when to come again")
        expect(refused > 0, True, "some were refused")
        grown = house.memory_kib() - before
        expect(grown <= 1_024 + 300 * STRANGER_KIB_MAX + 8_192, True, f"{grown} KiB for bodies that never end")
        heard = await strangers[0].ask(message(CON, PUT, 100, (b"t", b"whole"), payload=b"x"))
        expect(heard.code, CHANGED, "a body of one datagram")


def bombs():
    """Datagrams of 60,000 bytes that are made of one thing, and what answers them."""
    many = 20_000
    yield "a token of 60,000 bytes", b"\x4e\x01\x00\x01" + (60_000 - 269).to_bytes(2, "big") + bytes(60_000), {(RST, 0)}
    yield "a token that claims 65,804 bytes", b"\x4e\x01\x00\x01\xff\xff", {(RST, 0)}
    yield "empty elective options", message(CON, GET, 1, (), [(UNKNOWN, b"")] * many), None
    yield "empty segments", message(CON, GET, 1, [b"t"] + [b""] * many), None
    yield "segments", message(CON, GET, 1, [b"t"] + [b"ab"] * many), None
    yield "queries", message(CON, GET, 1, (b"t", b"a"), [(URI_QUERY, b"a=")] * many), None
    yield "conditions", message(CON, PUT, 1, (b"t", b"a"), [(IF_MATCH, b"12345678")] * 6_000, b"x"), None
    yield "an option of 60,000 bytes", message(CON, GET, 1, (), [(UNKNOWN, bytes(60_000))]), None
    yield "an option that claims 65,804 bytes", b"\x40\x01\x00\x01\xbe\xff\xff", {(RST, 0)}
    yield "deltas beyond the last number", b"\x40\x01\x00\x01" + b"\xe0\xff\xff" * many, {(RST, 0)}


@case("CoAP: token and option bombs")
async def _(house):
    before = house.memory_kib()
    with endpoints(house, 20) as strangers:
        for what, datagram, answers in bombs():
            for stranger in strangers:
                heard = await stranger.ask(datagram[:65_000])
                is_answer = (heard.kind, heard.code) in answers if answers else heard.code >> 5 in (2, 4)
                expect(is_answer, True, f"{what}: kind {heard.kind}, code {heard.code:#x}")
        await strangers[0].was_read()
    grown = house.memory_kib() - before
    expect(grown <= 20 * STRANGER_KIB_MAX + 16_384, True, f"{grown} KiB for bombs")


@case(
    "CoAP: observers that vanish", "coap.ack_timeout_ms=100", "coap.max_retransmit=1", "coap.observations_max=300"
)
async def _(house):
    observe = message(CON, GET, 1, (b"t", b"state"), [(OBSERVE, b"")], token=b"o")
    with endpoints(house, 300) as strangers:
        for stranger in strangers:
            heard = await stranger.ask(observe)
            expect(heard.option(OBSERVE) is not None, True, "an observation")
    with endpoints(house, 1) as [honest]:
        heard = await honest.ask(message(CON, GET, 1, (b"t", b"state"), [(OBSERVE, b"")], token=b"o"))
        expect(heard.option(OBSERVE), None, "an observation beyond the bound")
        await publish_by_mqtt(house, "state", b"anybody?")

        async def has_a_place():
            for id in range(2, 60_000):
                heard = await honest.ask(message(CON, GET, id, (b"t", b"state"), [(OBSERVE, b"")], token=b"o"))
                if heard.option(OBSERVE) is not None:
                    return
                await asyncio.sleep(0.05)

        await within(has_a_place(), "places of those who do not answer are free again", 60)
        await publish_by_mqtt(house, "state", b"you!")
        told = await within(honest.hear(lambda heard: heard.payload == b"you!"), "a notification")
        expect(told.token, b"o", "the token of a notification")


@case("CoAP: acknowledgements and resets from elsewhere")
async def _(house):
    with endpoints(house, 2) as (honest, forger):
        await honest.ask(message(CON, GET, 1, (b"t", b"state"), [(OBSERVE, b"")], token=b"o"))
        for number in range(3):
            await publish_by_mqtt(house, "state", b"%d" % number)
            told = await within(honest.hear(lambda heard: heard.payload == b"%d" % number), "a notification")
            await forger.say(*(message(kind, EMPTY, told.id) for kind in (ACK, RST)))
            await forger.was_read()
            # It is still owed: it comes again, under its id.
            again = await within(honest.hear(lambda heard: heard.id == told.id), "the notification again", 10)
            expect(again.payload, told.payload, "what comes again")
            await honest.say(message(ACK, EMPTY, told.id))


@case("CoAP: one datagram a thousand times, and all message ids", "coap.exchanges_max=1000")
async def _(house):
    listener = await house.subscribed("orders")
    post = message(CON, POST, 7, (b"t", b"orders"), payload=b"once")
    with endpoints(house, 2) as (one, other):
        answers = set()
        for _ in range(1_000):
            await one.say(post)
            answers.add(await within(one.datagram(), "the same answer"))
        expect(len(answers), 1, "different answers")
        await one.ask(message(CON, POST, 8, (b"t", b"orders"), payload=b"twice"))
        got = [await house.next_of(listener) for _ in range(2)]
        expect([body[-5:].lstrip(b"s\0") for _, body in got], [b"once", b"twice"], "what was carried out")
        before = house.memory_kib()
        for id in range(0x10000):
            await other.say(message(NON, POST, id, (b"t", b"ids"), payload=b"x"))
            if id % 100 == 99:
                await other.was_read(id)
        grown = house.memory_kib() - before
        expect(grown <= 8_192, True, f"{grown} KiB for all message ids of one address")
        heard = await other.ask(message(CON, PUT, 0, (b"t", b"ids"), payload=b"last"))
        expect(heard.code, CHANGED, "an id that comes anew")


@case("CoAP: segments that are no level of a topic")
async def _(house):
    listener = await house.subscribed("#")
    bad = [b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"a\0b", b"+", b"#", b"a+", b"a/b", b"/", b"x" * 256]
    with endpoints(house, 1) as [stranger]:
        id = 0
        for segment in bad:
            for path in ((b"t", segment), (b"t", b"a", segment, b"b")):
                for code, options in ((PUT, ()), (POST, ()), (4, ()), (GET, ()), (GET, ((OBSERVE, b""),))):
                    id += 1
                    heard = await stranger.ask(message(CON, code, id, path, options, b"x" if code != GET else b""))
                    expect(heard.code in (BAD_REQUEST, BAD_OPTION), True, f"{segment[:9]}: code {heard.code:#x}")
        # What looks like an escape or a way up is a name.
        for level in (b"%2F", b"%00", b"..", b"."):
            id += 1
            heard = await stranger.ask(message(CON, PUT, id, (b"t", b"odd", level), payload=b"x"))
            expect(heard.code, CHANGED, f"{level}")
            while (topic := (await house.next_of(listener))[1][2:].split(b"\0")[0]).startswith(b"ordinary"):
                pass
            expect(topic.startswith(b"odd/" + level), True, f"the topic of {level}: {topic}")


DTLS_PORT = free_port(socket.SOCK_DGRAM)


def client_hello(session=b"", cookie=b""):
    """RFC 6347 §4.2.2: one suite, TLS_PSK_WITH_AES_128_CCM_8."""
    body = b"\xfe\xfd" + os.urandom(32) + bytes([len(session)]) + session + bytes([len(cookie)]) + cookie
    body += b"\0\x02\xc0\xa8" + b"\x01\0" + b"\0\0"
    size = len(body).to_bytes(3, "big")
    handshake = b"\x01" + size + b"\0\0" + b"\0\0\0" + size + body
    return b"\x16\xfe\xfd" + bytes(8) + len(handshake).to_bytes(2, "big") + handshake


@case("DTLS: a flood of ClientHellos", f"coap.tls_bind={HOST}:{DTLS_PORT}", is_secure=True)
async def _(house):
    before = house.memory_kib()
    for _ in range(10):
        strangers = [Endpoint(DTLS_PORT) for _ in range(200)]
        for stranger in strangers:
            hello = client_hello(cookie=os.urandom(32) if stranger is strangers[0] else b"")
            await stranger.say(os.urandom(60), hello[:30], hello)
            answer = await within(stranger.datagram(), "an answer")
            expect((answer[0], answer[13]), (22, 3), "HelloVerifyRequest")
            expect(len(answer) <= len(hello), True, f"{len(answer)} bytes for {len(hello)}")
        for stranger in strangers:
            stranger.close()
    grown = house.memory_kib() - before
    expect(grown <= 4_096, True, f"{grown} KiB for 2,000 that have shown no cookie")


@case("CoAP over TCP: silence, claims and bombs before the CSM")
async def _(house):
    said = [
        b"",
        b"\xf0\xff\xff\xff\xff",
        b"\xf0\xff\xff\xff\xff\x01" + b"x" * 3_000,
        b"\x0e\xff\xff\xe1",
        b"\xe0\x10\x00\xe1" + b"\x10" * 3_000,
        b"\0\0" * 1_000,
    ]
    for first in said:
        strangers = [await house.stranger(first, port=house.broker.coap_tcp_port) for _ in range(100)]
        await house.costs_little(strangers, house.are_let_go(strangers))


@case("CoAP over TCP: requests that nobody waits for")
async def _(house):
    csm, put = b"\x00\xe1", b"\x61\x03t\xb1t\x01a\xffx"
    strangers = [await house.stranger(csm, put * 2_000, port=house.broker.coap_tcp_port) for _ in range(50)]
    for number, (_, writer) in enumerate(strangers):
        await writer.drain()
        if number % 2:
            writer.transport.abort()
    for reader, writer in strangers[::2]:
        heard = b""
        while heard.count(b"\x44t") < 2_000:
            more = await within(reader.read(65_536), "an answer to each")
            expect(bool(more), True, "the connection stands")
            heard += more
        writer.close()
