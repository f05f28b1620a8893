"""Packets written by hand: what no well-behaved client sends, and the answer that the specifications ask for.

Reason codes are MQTT 5's; where its text leaves a choice, the case takes every code that the text allows.
An earlier version has no words for most of this: there the connection just closes.
"""

import asyncio
import struct

from broker import HOST, PACKET_BYTES_MAX, SUBSCRIPTIONS_MAX, Althing
from report import Skip, case_of, expect, within

TABLE = []
case = case_of(TABLE)
BAD_INPUT = set()

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = (kind << 4 for kind in range(1, 8))
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = (kind << 4 for kind in range(8, 16))

MALFORMED_PACKET, PROTOCOL_ERROR = 0x81, 0x82


async def run(client, broker, report, wanted):
    for number, (name, function) in enumerate(TABLE):
        if wanted(name):
            house = House(broker, f"raw/{number}")
            deviates = broker.deviates_on_bad_input if name in BAD_INPUT else broker.deviates.get(name)
            await report.run(client, name, house.attempt(function), deviates)


# Writing packets.


def length(number):
    out = bytearray()
    while True:
        number, low = divmod(number, 128)
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)


def packet(first_byte, *parts):
    body = b"".join(parts)
    return bytes([first_byte]) + length(len(body)) + body


def text(value):
    value = value.encode() if isinstance(value, str) else value
    return struct.pack("!H", len(value)) + value


def u16(value):
    return struct.pack("!H", value)


def properties(*parts):
    body = b"".join(parts)
    return length(len(body)) + body


NONE = properties()


def connect(client_id="", version=5, flags=0x02, keep_alive_s=60, props=NONE, name=None, rest=b"", first_byte=CONNECT):
    name = name or ("MQIsdp" if version == 3 else "MQTT")
    return packet(
        first_byte,
        text(name),
        bytes([version, flags]),
        u16(keep_alive_s),
        props if version >= 5 else b"",
        text(client_id),
        rest,
    )


def publish(topic, payload=b"", qos=0, identifier=1, props=NONE, flags=0):
    return packet(PUBLISH | qos << 1 | flags, text(topic), u16(identifier) if qos else b"", props, payload)


def subscribe(*filters, identifier=1, props=NONE, first_byte=SUBSCRIBE | 2, options=0):
    return packet(first_byte, u16(identifier), props, *(text(wanted) + bytes([options]) for wanted in filters))


def codes_of(suback):
    """The codes of a version 5 SUBACK's body, behind its id and its properties."""
    size, shift, place = 0, 0, 2
    while True:
        byte = suback[place]
        size, shift, place = size | (byte & 0x7F) << shift, shift + 7, place + 1
        if byte < 0x80:
            return suback[place + size :]


class Connection:
    """A socket, and the packets that come out of it."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    def send(self, *packets):
        self.writer.write(b"".join(packets))

    async def packet(self):
        """The next packet as (first byte, body), or None at the end of the stream."""

        async def read():
            first = await self.reader.readexactly(1)
            size, shift = 0, 0
            while True:
                byte = (await self.reader.readexactly(1))[0]
                size |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    return first[0], await self.reader.readexactly(size)

        try:
            return await within(read(), "a packet or the close")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def expect_packet(self, first_byte, what):
        got = await self.packet()
        if got is None or got[0] != first_byte:
            raise AssertionError(f"{what}: expected a packet {first_byte:#04x}, got {told(got)}")
        return got[1]

    async def expect_end(self):
        got = await self.packet()
        expect(got, None, "after that, the close; instead a packet")

    async def expect_disconnect(self, *codes):
        """DISCONNECT with one of these codes, and the close."""
        body = await self.expect_packet(DISCONNECT, "DISCONNECT")
        code = body[0] if body else 0
        if code not in codes:
            raise AssertionError(
                f"DISCONNECT with {code:#04x}, expected {' or '.join(f'{wanted:#04x}' for wanted in codes)}"
            )
        await self.expect_end()

    async def expect_refusal(self, *codes):
        """CONNACK with one of these codes, and the close."""
        body = await self.expect_packet(CONNACK, "CONNACK")
        if body[1] not in codes:
            raise AssertionError(
                f"CONNACK with {body[1]:#04x}, expected {' or '.join(f'{wanted:#04x}' for wanted in codes)}"
            )
        await self.expect_end()

    async def expect_alive(self):
        """A PINGRESP and nothing before it."""
        self.send(packet(PINGREQ))
        await self.expect_packet(PINGRESP, "PINGRESP")

    def close(self):
        self.writer.close()


def told(got):
    return "the close" if got is None else f"{got[0]:#04x} {got[1][:40].hex()}"


class House:
    def __init__(self, broker, topic):
        self.broker, self.topic = broker, topic
        self.connections, self.brokers = [], []

    async def attempt(self, function):
        try:
            await function(self)
        finally:
            for connection in self.connections:
                connection.close()
            for broker in self.brokers:
                await broker.stop()
                broker.remove()

    async def another_broker(self, start=True, **options):
        """Moves this case to a broker of its own, to be mistreated; `start=False`: which the case itself starts."""
        self.only_althing("is judged by the cases above")
        self.broker = Althing(**options)
        self.brokers.append(self.broker)
        if start:
            await self.broker.start()

    async def open(self):
        connection = Connection(*await asyncio.open_connection(HOST, self.broker.port))
        self.connections.append(connection)
        return connection

    async def connected(self, version=5, **options):
        connection = await self.open()
        connection.send(connect(version=version, **options))
        body = await connection.expect_packet(CONNACK, "CONNACK")
        expect(body[1], 0, "CONNACK's code")
        connection.connack = connack_properties(body[2:]) if version == 5 else {}
        return connection

    async def subscribed(self, *filters, options=0, **given):
        connection = await self.connected(**given)
        connection.send(subscribe(*filters, options=options))
        await connection.expect_packet(SUBACK, "SUBACK")
        return connection

    def only_althing(self, why):
        if self.broker.name != "althing":
            raise Skip(f"{self.broker.name} {why}")


def connack_properties(block):
    """The fixed-size properties of CONNACK that cases ask for, by identifier."""
    sizes = {0x11: 4, 0x13: 2, 0x21: 2, 0x22: 2, 0x24: 1, 0x25: 1, 0x27: 4, 0x28: 1, 0x29: 1, 0x2A: 1}
    found, block = {}, block[1 : 1 + block[0]]
    while block:
        identifier, block = block[0], block[1:]
        if identifier in sizes:
            found[identifier], block = int.from_bytes(block[: sizes[identifier]], "big"), block[sizes[identifier] :]
        else:
            size = int.from_bytes(block[:2], "big")
            block = block[2 + size :]
            if identifier == 0x26:
                block = block[2 + int.from_bytes(block[:2], "big") :]
    return found


# Before CONNECT.


def _first(name, bytes_sent):
    @case(f"first packet: {name}")
    async def _(house):
        connection = await house.open()
        connection.send(bytes_sent)
        await connection.expect_end()
        await (await house.connected()).expect_alive()


_first("PUBLISH", publish("a", b"x"))
_first("PINGREQ", packet(PINGREQ))
_first("SUBSCRIBE", subscribe("a"))
_first("a web browser", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
_first("zeros", bytes(64))
_first("a length of five bytes", b"\x10\xff\xff\xff\xff\x01")


@case("256 MB claimed before CONNECT is read")
async def _(house):
    house.only_althing("waits for the rest")
    connection = await house.open()
    connection.send(b"\x10\xff\xff\xff\x7f", text("MQTT"), b"\x05\x02\0\x3c\0\0\0")
    got = await connection.packet()
    if got is not None:
        expect((got[0], got[1][1]), (CONNACK, 0x95), "CONNACK's code")
        await connection.expect_end()


@case("a CONNECT that never ends")
async def _(house):
    house.only_althing("has no limit for it but the keep alive")
    connection = await house.open()
    connection.send(connect("slow")[:7])
    await connection.expect_end()


@case("silence instead of CONNECT")
async def _(house):
    house.only_althing("waits for longer")
    await (await house.open()).expect_end()


@case("CONNECT byte by byte")
async def _(house):
    connection = await house.open()
    for byte in connect("dribble"):
        connection.send(bytes([byte]))
        await connection.writer.drain()
        await asyncio.sleep(0)
    expect((await connection.expect_packet(CONNACK, "CONNACK"))[1], 0, "CONNACK's code")
    await connection.expect_alive()


# Bad CONNECTs.


def _bad_connect(name, bytes_sent, *codes):
    BAD_INPUT.add(f"CONNECT: {name}")

    @case(f"CONNECT: {name}")
    async def _(house):
        connection = await house.open()
        connection.send(bytes_sent)
        await connection.expect_refusal(*codes)


_bad_connect("reserved flag", connect(flags=0x03), MALFORMED_PACKET)
_bad_connect("will QoS 3", connect(flags=0x1E, rest=NONE + text("w") + text("")), MALFORMED_PACKET, PROTOCOL_ERROR)
_bad_connect("will flags without a will", connect(flags=0x0A), MALFORMED_PACKET, PROTOCOL_ERROR)
_bad_connect(
    "will topic with a wildcard",
    connect(flags=0x06, rest=NONE + text("w/#") + text("")),
    0x90,
    MALFORMED_PACKET,
    PROTOCOL_ERROR,
)
_bad_connect("user name announced, not sent", connect(flags=0x82), MALFORMED_PACKET)
_bad_connect("bytes behind the end", connect(rest=b"more"), MALFORMED_PACKET, PROTOCOL_ERROR)
_bad_connect("client id not UTF-8", connect(b"\xff\xfe"), MALFORMED_PACKET, 0x85)
_bad_connect("client id with a null character", connect("a\0b"), MALFORMED_PACKET, 0x85)
_bad_connect("receive maximum 0", connect(props=properties(b"\x21\0\0")), PROTOCOL_ERROR)
_bad_connect("maximum packet size 0", connect(props=properties(b"\x27\0\0\0\0")), PROTOCOL_ERROR)
_bad_connect("a property twice", connect(props=properties(b"\x21\0\1\x21\0\1")), PROTOCOL_ERROR)
_bad_connect("a property of PUBLISH", connect(props=properties(b"\x23\0\1")), MALFORMED_PACKET, PROTOCOL_ERROR)
_bad_connect("an unknown property", connect(props=properties(b"\x7e\0")), MALFORMED_PACKET, PROTOCOL_ERROR)
_bad_connect("authentication data without a method", connect(props=properties(b"\x16", text("x"))), PROTOCOL_ERROR)
_bad_connect("an unknown authentication method", connect(props=properties(b"\x15", text("NO-SUCH"))), 0x8C)
_bad_connect("protocol version 6", connect(version=6), 0x84, 0x01)
_bad_connect("3.1.1: empty client id without clean session", connect(version=4, flags=0), 0x02)


@case("CONNECT: reserved bits in the fixed header")
async def _(house):
    connection = await house.open()
    connection.send(connect(first_byte=CONNECT | 1))
    got = await connection.packet()
    if got is not None:
        expect((got[0], got[1][1]), (CONNACK, MALFORMED_PACKET), "CONNACK's code")
        await connection.expect_end()


@case("CONNECT: another protocol's name")
async def _(house):
    connection = await house.open()
    connection.send(connect(name="MQTX"))
    got = await connection.packet()
    if got is not None:
        expect(got[0] == CONNACK and got[1][1] in (0x84, 0x81, 0x01), True, f"a refusal, was {told(got)}")
        await connection.expect_end()


@case("CONNECT twice")
async def _(house):
    connection = await house.connected()
    connection.send(connect())
    await connection.expect_disconnect(PROTOCOL_ERROR)


# Bad packets once connected: what is sent, and the codes that fit.


def _bad(name, bytes_sent, *codes):
    BAD_INPUT.add(name)

    @case(name)
    async def _(house):
        bystander = await house.subscribed(house.topic)
        connection = await house.connected()
        connection.send(bytes_sent)
        await connection.expect_disconnect(*codes)
        await bystander.expect_alive()


_EITHER = (MALFORMED_PACKET, PROTOCOL_ERROR)
_bad("packet type 0", b"\0\0", *_EITHER)
_bad("a length of five bytes once connected", b"\x30\xff\xff\xff\xff\x01", MALFORMED_PACKET)
_bad("PUBLISH: QoS 3", publish("a", qos=3), MALFORMED_PACKET)
_bad("PUBLISH: DUP with QoS 0", publish("a", flags=0x08), *_EITHER)
_bad("PUBLISH: wildcard +", publish("a/+"), 0x90, *_EITHER)
_bad("PUBLISH: wildcard #", publish("#"), 0x90, *_EITHER)
_bad("PUBLISH: no topic, no alias", publish(""), PROTOCOL_ERROR, 0x90)
_bad("PUBLISH: topic not UTF-8", publish(b"\xff"), MALFORMED_PACKET, 0x90)
_bad("PUBLISH: topic with a surrogate", publish(b"\xed\xa0\x80"), MALFORMED_PACKET, 0x90)
_bad("PUBLISH: topic with a null character", publish("a\0b"), MALFORMED_PACKET, 0x90)
_bad("PUBLISH: topic longer than the packet", packet(PUBLISH, b"\xff\xff", b"a"), MALFORMED_PACKET)
_bad("PUBLISH: packet id 0", publish("a", qos=1, identifier=0), *_EITHER)
_bad("PUBLISH: topic alias 0", publish("a", props=properties(b"\x23\0\0")), 0x94)
_bad("PUBLISH: topic alias above the maximum", publish("a", props=properties(b"\x23\xff\xff")), 0x94)
_bad("PUBLISH: a topic alias never set", publish("", props=properties(b"\x23\0\1")), PROTOCOL_ERROR, 0x94)
_bad("PUBLISH: a property twice", publish("a", props=properties(b"\1\0\1\0")), PROTOCOL_ERROR)
_bad("PUBLISH: a property of CONNECT", publish("a", props=properties(b"\x11\0\0\0\1")), *_EITHER)
_bad("PUBLISH: an unknown property", publish("a", props=properties(b"\x7f\0")), *_EITHER)
_bad("PUBLISH: properties longer than the packet", packet(PUBLISH, text("a"), b"\x40"), MALFORMED_PACKET)
_bad("PUBLISH: payload format 2", publish("a", props=properties(b"\1\2")), *_EITHER)
_bad("PUBLISH: response topic with a wildcard", publish("a", props=properties(b"\x08", text("r/#"))), 0x90, *_EITHER)
_bad("PUBLISH: a subscription identifier", publish("a", props=properties(b"\x0b\1")), *_EITHER)
_bad("SUBSCRIBE: flags", subscribe("a", first_byte=SUBSCRIBE), MALFORMED_PACKET)
_bad("SUBSCRIBE: no filter", subscribe(), *_EITHER)
_bad("SUBSCRIBE: packet id 0", subscribe("a", identifier=0), *_EITHER)
_bad("SUBSCRIBE: QoS 3", subscribe("a", options=3), *_EITHER)
_bad("SUBSCRIBE: retain handling 3", subscribe("a", options=0x30), *_EITHER)
_bad("SUBSCRIBE: reserved option bits", subscribe("a", options=0x40), *_EITHER)
_bad("SUBSCRIBE: subscription identifier 0", subscribe("a", props=properties(b"\x0b\0")), PROTOCOL_ERROR)
_bad("SUBSCRIBE: shared with no local", subscribe("$share/g/a", options=4), PROTOCOL_ERROR)
_bad("UNSUBSCRIBE: flags", packet(UNSUBSCRIBE, u16(1), NONE, text("a")), MALFORMED_PACKET)
_bad("UNSUBSCRIBE: no filter", packet(UNSUBSCRIBE | 2, u16(1), NONE), *_EITHER)
_bad("PUBREL: flags", packet(PUBREL, u16(1)), MALFORMED_PACKET)
_bad("PUBACK: too short", packet(PUBACK, b"\0"), MALFORMED_PACKET)
_bad("PINGREQ with a body", packet(PINGREQ, b"x"), MALFORMED_PACKET)
_bad("a server's packet: CONNACK", packet(CONNACK, b"\0\0\0"), PROTOCOL_ERROR)
_bad("a server's packet: SUBACK", packet(SUBACK, u16(1), NONE, b"\0"), PROTOCOL_ERROR)
_bad("a server's packet: UNSUBACK", packet(UNSUBACK, u16(1), NONE, b"\0"), PROTOCOL_ERROR)
_bad("a server's packet: PINGRESP", packet(PINGRESP), PROTOCOL_ERROR)
_bad("AUTH without a method", packet(AUTH, b"\x18\0"), PROTOCOL_ERROR)
_bad(
    "DISCONNECT: a session expiry where CONNECT had none",
    packet(DISCONNECT, b"\0", properties(b"\x11\0\0\0\x0a")),
    PROTOCOL_ERROR,
)


def _bad_filter(wanted):
    BAD_INPUT.add(f"SUBSCRIBE: the filter {wanted}")

    @case(f"SUBSCRIBE: the filter {wanted}")
    async def _(house):
        connection = await house.connected()
        connection.send(subscribe(wanted))
        got = await connection.packet()
        # Refused alone, or with the whole connection: [MQTT-4.7.1-1] and 3.9.3 allow both.
        if got and got[0] == SUBACK:
            expect(codes_of(got[1])[0], 0x8F, "SUBACK's code")
            await connection.expect_alive()
        else:
            expect(
                got is not None and got[0] == DISCONNECT and got[1][0] in (0x8F, *_EITHER),
                True,
                f"a refusal, was {told(got)}",
            )


for _wanted in ("a/#/b", "a#", "a+/b", "$share/g", "$share//a", "$share/g+/a", "$share/g/"):
    _bad_filter(_wanted)


@case("one bad filter does not spoil the others")
async def _(house):
    house.only_althing("closes the connection")
    connection = await house.connected()
    connection.send(subscribe("a/b", "a/#/b", "a/#"))
    body = await connection.expect_packet(SUBACK, "SUBACK")
    expect(list(codes_of(body)), [0, 0x8F, 0], "SUBACK's codes")


@case("MQTT 3.1.1: bad packets close the connection without a word")
async def _(house):
    for bad in (
        packet(PUBLISH | 6, text("a"), u16(1)),
        packet(PUBLISH, text("a/#")),
        packet(SUBSCRIBE, u16(1), text("a"), b"\0"),
        packet(CONNACK, b"\0\0"),
        packet(AUTH, b""),
        packet(PINGREQ, b"x"),
        b"\0\0",
    ):
        connection = await house.connected(version=4)
        connection.send(bad)
        await connection.expect_end()


# Limits.


@case("a PUBLISH above the maximum packet size")
async def _(house):
    connection = await house.connected()
    expect(connection.connack.get(0x27), PACKET_BYTES_MAX, "the maximum packet size in CONNACK")
    connection.send(bytes([PUBLISH]) + length(PACKET_BYTES_MAX + 1), text("a"))
    await connection.expect_disconnect(0x95)


@case("more than receive maximum unacknowledged")
async def _(house):
    connection = await house.connected()
    maximum = connection.connack.get(0x21, 65_535)
    connection.send(*(publish(house.topic, qos=2, identifier=number) for number in range(1, maximum + 2)))
    for _ in range(maximum):
        await connection.expect_packet(PUBREC, "PUBREC")
    await connection.expect_disconnect(0x93)


@case("receive maximum of the client is kept")
async def _(house):
    reader = await house.subscribed(house.topic, options=1, props=properties(b"\x21\0\2"))
    writer = await house.connected()
    for number in range(1, 6):
        writer.send(publish(house.topic, b"%d" % number, qos=1, identifier=number))
        await writer.expect_packet(PUBACK, "PUBACK")
    held = [await reader.expect_packet(PUBLISH | 2, "PUBLISH") for _ in range(2)]
    await reader.expect_alive()
    size = 2 + len(house.topic)
    for number in range(3, 6):
        reader.send(packet(PUBACK, held.pop(0)[size : size + 2]))
        held.append(await reader.expect_packet(PUBLISH | 2, "PUBLISH"))
        expect(held[-1][-1:], b"%d" % number, "the next payload")
        await reader.expect_alive()


@case("topic aliases from the broker are set before they are used")
async def _(house):
    reader = await house.subscribed(f"{house.topic}/#", props=properties(b"\x22\0\2"))
    writer = await house.connected()
    aliases = {}
    names = [f"{house.topic}/{name}" for name in "abcabcaabb"]
    for name in names:
        writer.send(publish(name, b"x"))
        body = await reader.expect_packet(PUBLISH, "PUBLISH")
        size = int.from_bytes(body[:2], "big")
        topic, props = body[2 : 2 + size].decode(), body[2 + size :]
        alias = int.from_bytes(props[2:4], "big") if props[0] and props[1] == 0x23 else None
        expect(alias is None or 1 <= alias <= 2, True, f"an alias within the maximum, was {alias}")
        if topic and alias:
            aliases[alias] = topic
        expect(topic or aliases.get(alias), name, "the topic")


@case("keep alive: silence ends it")
async def _(house):
    connection = await house.connected(keep_alive_s=1)
    await connection.expect_disconnect(0x8D)


@case("half a PUBLISH, then silence")
async def _(house):
    reader = await house.subscribed(house.topic)
    connection = await house.connected(keep_alive_s=1)
    connection.send(publish(house.topic, b"x" * 1000)[:500])
    got = await connection.packet()
    if got is not None:
        expect(got[0], DISCONNECT, "the packet before the close")
        await connection.expect_end()
    await reader.expect_alive()


@case("a topic of 32,000 levels")
async def _(house):
    connection = await house.connected()
    connection.send(publish("/" * 32_000, qos=1))
    got = await connection.packet()
    expect(got is not None and got[0] in (PUBACK, DISCONNECT), True, f"an answer, was {told(got)}")
    if house.broker.name == "althing":
        code = got[1][2] if got[0] == PUBACK else got[1][0]
        expect(code, 0x90, "the code")
    await (await house.connected()).expect_alive()


@case("a filter of 128 levels of +")
async def _(house):
    reader, writer = await house.connected(), await house.connected()
    reader.send(subscribe("/".join("+" * 128)))
    await reader.expect_packet(SUBACK, "SUBACK")
    writer.send(publish("/".join("a" * 128), b"deep", qos=1))
    await writer.expect_packet(PUBACK, "PUBACK")
    expect((await reader.expect_packet(PUBLISH, "PUBLISH"))[-4:], b"deep", "the payload")


# What is unusual and right.


@case("a QoS 2 PUBLISH sent twice is delivered once")
async def _(house):
    reader, writer = await house.subscribed(house.topic, options=2), await house.connected()
    for flags in (0, 8):
        writer.send(publish(house.topic, b"once", qos=2, identifier=9, flags=flags))
        await writer.expect_packet(PUBREC, "PUBREC")
    writer.send(packet(PUBREL | 2, u16(9)))
    await writer.expect_packet(PUBCOMP, "PUBCOMP")
    writer.send(publish(house.topic, b"fence", qos=2, identifier=9))
    await writer.expect_packet(PUBREC, "PUBREC")
    writer.send(packet(PUBREL | 2, u16(9)))
    await writer.expect_packet(PUBCOMP, "PUBCOMP")
    size = 2 + len(house.topic)
    for wanted in (b"once", b"fence"):
        expect((await reader.expect_packet(PUBLISH | 4, "PUBLISH"))[size + 3 :], wanted, "the payload")


@case("an unacknowledged message comes again, with DUP and its id")
async def _(house):
    size = 2 + len(house.topic)
    resumable = {"client_id": "raw-again", "props": properties(b"\x11\0\0\1\0")}
    first = await house.subscribed(house.topic, options=1, **resumable)
    writer = await house.connected()
    writer.send(publish(house.topic, b"x", qos=1))
    held = await first.expect_packet(PUBLISH | 2, "PUBLISH")
    first.close()
    again = await house.open()
    again.send(connect(flags=0, **resumable))
    expect((await again.expect_packet(CONNACK, "CONNACK"))[0], 1, "session present")
    body = await again.expect_packet(PUBLISH | 0x0A, "PUBLISH with DUP")
    expect(body[size : size + 2], held[size : size + 2], "the packet id")


@case("PUBREL for an unknown id")
async def _(house):
    connection = await house.connected()
    connection.send(packet(PUBREL | 2, u16(77)))
    body = await connection.expect_packet(PUBCOMP, "PUBCOMP")
    expect((body[:2], body[2:3]), (u16(77), b"\x92"), "the id and the code")


@case("many packets in one write, before CONNACK")
async def _(house):
    connection = await house.open()
    connection.send(
        connect(),
        subscribe(house.topic),
        publish(house.topic, b"1"),
        publish(house.topic, b"2", qos=1, identifier=2),
        packet(PINGREQ),
    )
    await connection.expect_packet(CONNACK, "CONNACK")
    kinds = []
    for _ in range(5):
        got = await connection.packet()
        expect(got is not None, True, f"more packets after {kinds}")
        kinds.append(got[0] & 0xF0)
    expect(sorted(kinds), sorted([SUBACK, PUBLISH, PUBLISH, PUBACK, PINGRESP]), "the answers")


@case("a PUBLISH byte by byte")
async def _(house):
    reader, writer = await house.subscribed(house.topic), await house.connected()
    for byte in publish(house.topic, b"slowly", props=properties(b"\x26", text("k"), text("v"))):
        writer.send(bytes([byte]))
        await writer.writer.drain()
        await asyncio.sleep(0)
    body = await reader.expect_packet(PUBLISH, "PUBLISH")
    expect(
        body[2 + len(house.topic) :], properties(b"\x26", text("k"), text("v")) + b"slowly", "properties and payload"
    )


@case("two connections fight for one client id")
async def _(house):
    for _ in range(20):
        connection = await house.connected(client_id="raw-fight")
    await connection.expect_alive()


@case("5000 silent connections do not keep a good client out")
async def _(house):
    for _ in range(50):
        await asyncio.gather(*(house.open() for _ in range(100)))
    await (await house.connected()).expect_alive()


@case("more subscriptions than a session may have")
async def _(house):
    house.only_althing("has no such limit")
    connection = await house.connected()
    wanted, codes = [f"{house.topic}/{number}" for number in range(SUBSCRIPTIONS_MAX + 1000)], []
    for start in range(0, len(wanted), 500):
        connection.send(subscribe(*wanted[start : start + 500]))
        codes += codes_of(await connection.expect_packet(SUBACK, "SUBACK"))
    expect((codes.count(0), codes.count(0x97)), (SUBSCRIPTIONS_MAX, 1000), "granted and refused")
    await connection.expect_alive()


@case("a subscriber that stops reading while another is fed")
async def _(house):
    house.only_althing("drops for both")
    # Its reader holds 64 KiB and then leaves the rest to the kernel, which fills up too.
    await house.subscribed(house.topic)
    reader, writer = await house.subscribed(house.topic), await house.connected()
    count, body = 2000, bytes(16 << 10)

    async def write():
        for number in range(count):
            writer.send(publish(house.topic, number.to_bytes(4, "big") + body))
            await writer.writer.drain()
        await writer.expect_alive()

    writing = asyncio.ensure_future(write())
    try:
        start = 2 + len(house.topic) + 1
        for number in range(count):
            got = await reader.expect_packet(PUBLISH, "PUBLISH")
            expect(int.from_bytes(got[start : start + 4], "big"), number, "the next message")
        await within(writing, "the publisher to be let go on")
    finally:
        writing.cancel()


@case("file descriptors run out, and accepting recovers")
async def _(house):
    await house.another_broker(files_max=64)
    early = await house.connected()
    silent = [await house.open() for _ in range(100)]
    await early.expect_alive()
    for connection in silent:
        connection.close()

    async def get_in():
        while True:
            late = await house.open()
            late.send(connect())
            # The broker may close what it has no descriptor for, until it has noticed what is free again.
            if await late.packet():
                return late

    await (await within(get_in(), "a connection that is let in")).expect_alive()
    await early.expect_alive()


@case("SIGTERM: MQTT 5 clients hear why, the others see the close")
async def _(house):
    await house.another_broker()
    new, old = await house.connected(), await house.connected(version=4)
    stopping = asyncio.ensure_future(house.broker.stop())
    await new.expect_disconnect(0x8B)
    await old.expect_end()
    expect(await stopping, 0, "the exit code")
