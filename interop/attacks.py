"""Attacks on a broker of their own, each bounded, while an ordinary client is served.

Nothing here is judged by the clock: the ordinary client has to be served at all times, attackers have to be let go, and
the memory that they cost has to stay within what docs/security.md promises.
"""

import asyncio
import contextlib
import functools
import resource

from broker import HOST
from raw import (
    CONNACK,
    DISCONNECT,
    PUBACK,
    PUBLISH,
    SUBACK,
    House,
    codes_of,
    connect,
    packet,
    properties,
    publish,
    subscribe,
    text,
)
from report import expect, within

# Shorter than the defaults, so that the deadlines come while the case runs.
DEADLINES = ["limits.connect_timeout_ms=1500", "limits.packet_timeout_ms=1500"]

# What one connection of a stranger may cost, in KiB.
STRANGER_KIB_MAX = 64


def case_of(table):
    """`case` for a module with one table: a name, and what its broker is told besides."""

    def case(name, *settings, **given):
        def add(function):
            table.append((name, {"settings": [*DEADLINES, *settings], **given}, function))
            return function

        return add

    return case


def column(table):
    async def run(client, broker, report, wanted):
        for number, (name, given, function) in enumerate(table):
            if wanted(name):
                attacked = Attacked(broker, f"{client.replace(' ', '-')}/{number}")
                act = functools.partial(attacked.under_attack, function, given)
                await report.run(client, name, attacked.attempt(act), broker.deviates.get(name))

    return run


TABLE = []
case = case_of(TABLE)


class Attacked(House):
    """A house with a broker of its own, in which an ordinary client publishes and hears itself all the time."""

    async def under_attack(self, function, given, _):
        await self.another_broker(**given)
        self.served, self.is_over = 0, False
        ordinary = asyncio.ensure_future(self.ordinary_life())
        try:
            await self.is_served()
            attack = asyncio.ensure_future(function(self))
            await asyncio.wait({attack, ordinary}, return_when=asyncio.FIRST_COMPLETED)
            if ordinary.done():
                attack.cancel()
                raise AssertionError(f"the ordinary client was not served: {ordinary.exception()}")
            attack.result()
            await self.is_served()
            expect(self.broker.running and not self.broker.panics(), True, "the broker runs, without a panic")
        finally:
            # Cancelling could be swallowed by a deadline that is met at the same moment.
            self.is_over = True
            with contextlib.suppress(Exception):
                await ordinary

    async def ordinary_life(self):
        """Comes, subscribes, hears what it publishes, and goes, over and over."""
        while not self.is_over:
            connection = await self.subscribed("ordinary", options=1)
            for number in range(20):
                payload = b"%d" % number
                connection.send(publish("ordinary", payload, qos=1))
                kinds = sorted([(await self.next_of(connection))[0] & 0xF0 for _ in range(2)])
                expect(kinds, [PUBLISH, PUBACK], "the message and its acknowledgement")
                connection.send(packet(PUBACK, (number + 1).to_bytes(2, "big")))
                self.served += 1
            connection.close()
            self.connections.remove(connection)

    async def next_of(self, connection):
        got = await connection.packet()
        if got is None:
            raise AssertionError("the ordinary client was thrown out")
        return got

    async def is_served(self):
        """Waits until the ordinary client has been served anew."""
        before = self.served

        async def more():
            while self.served < before + 25:
                await asyncio.sleep(0.01)

        await within(more(), "the ordinary client is served")

    def memory_kib(self):
        with open(f"/proc/{self.broker.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))

    async def strangers(self, count, *said):
        """Connections that say only this; fewer where the system gives us no more."""
        count = min(count, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 100)
        return [await self.stranger(*said) for _ in range(count)]

    async def stranger(self, *said, port=None):
        reader, writer = await asyncio.open_connection(HOST, port or self.broker.port, limit=4096)
        writer.write(b"".join(said))
        return reader, writer

    async def are_let_go(self, strangers):
        """Every one of them is closed by the broker."""

        async def end(reader):
            with contextlib.suppress(ConnectionError):
                while await reader.read(4096):
                    pass

        await within(asyncio.gather(*(end(reader) for reader, _ in strangers)), "the end of every stranger", 60)
        for _, writer in strangers:
            writer.close()

    async def costs_little(self, strangers, act):
        """What `act` makes the broker keep for so many strangers stays within the promise."""
        before = self.memory_kib()
        await act
        grown = self.memory_kib() - before
        expect(grown <= STRANGER_KIB_MAX * len(strangers) + 8_192, True, f"{grown} KiB for {len(strangers)} strangers")


CLAIMS = {
    "CONNECT": b"\x10\xff\xff\xff\x7f" + text("MQTT") + b"\x05\x02\0\x3c",
    "PUBLISH": b"\x30\xff\xff\xff\x7f\0\x01a",
    "SUBSCRIBE": b"\x82\xff\xff\xff\x7f\0\x01",
    "a type of its own": b"\x00\xff\xff\xff\x7f",
}


@case("a thousand first packets that claim 256 MB")
async def _(house):
    for said in CLAIMS.values():
        strangers = await house.strangers(250, said, b"x" * 3_000)
        await house.costs_little(strangers, house.are_let_go(strangers))


@case("a STOMP frame that claims a terabyte")
async def _(house):
    said = b"SEND\ndestination:/topic/a\ncontent-length:1099511627776\n\n" + b"x" * 3_000
    strangers = [await house.stranger(said, port=house.broker.stomp_port) for _ in range(250)]
    await house.costs_little(strangers, house.are_let_go(strangers))


@case("STOMP headers without end")
async def _(house):
    said = b"CONNECT\n" + b"".join(b"name%d:value\n" % number for number in range(20_000))
    strangers = [await house.stranger(said, port=house.broker.stomp_port) for _ in range(20)]
    await house.costs_little(strangers, house.are_let_go(strangers))


@case("thousands who say nothing")
async def _(house):
    strangers = await house.strangers(3_000)
    await house.costs_little(strangers, house.is_served())
    await house.are_let_go(strangers)


@case("hundreds who say it byte by byte")
async def _(house):
    said = connect("slow")
    strangers = await house.strangers(300)

    async def dribble():
        for byte in said[:-1]:
            for _, writer in strangers:
                writer.write(bytes([byte]))
            await asyncio.sleep(0.3)

    dribbling = asyncio.ensure_future(dribble())
    await house.are_let_go(strangers)
    dribbling.cancel()


@case("hundreds who stop within a PUBLISH")
async def _(house):
    slow = [await house.connected(keep_alive_s=65_535) for _ in range(300)]
    for connection in slow:
        connection.send(publish("half", b"x" * 4_000)[:2_000])
    for connection in slow:
        got = await connection.packet()
        expect(got is None or got[0] == DISCONNECT, True, "the end, with or without a word")


@case("subscribers that never read", "limits.stall_ms=500", "limits.queue_bytes_max=262144")
async def _(house):
    deaf = []
    for number in range(100):
        connection = await house.subscribed("flood", options=number % 2)
        connection.reader._transport.pause_reading()
        deaf.append(connection)
    writer = await house.connected()
    before = house.memory_kib()
    for _ in range(30):
        writer.send(*(publish("flood", b"x" * 1_000) for _ in range(1_000)))
        await within(writer.writer.drain(), "the publisher may go on", 60)
    await writer.expect_alive()
    # What a socket's buffer, its own buffer and its queue may hold, for each.
    grown = house.memory_kib() - before
    expect(grown <= 100 * (1_024 + 512 + 256), True, f"{grown} KiB for 100 that never read")


@case("a bomb of subscriptions", "limits.subscriptions_per_session_max=20000")
async def _(house):
    bomber = await house.connected()
    granted = 0
    for start in range(0, 30_000, 1_000):
        filters = [f"+/bomb/{number}/+/#" for number in range(start, start + 1_000)]
        bomber.send(subscribe(*filters))
        body = await bomber.expect_packet(SUBACK, "SUBACK")
        granted += sum(code < 0x80 for code in codes_of(body))
    expect(granted, 20_000, "subscriptions that were granted")
    bomber.send(publish("a/bomb/7/b", qos=1, identifier=1))
    kinds = {(await house.next_of(bomber))[0] & 0xF0 for _ in range(2)}
    expect(kinds, {PUBLISH, PUBACK}, "what a publish into them leads to")


@case("a hundred thousand topics")
async def _(house):
    writer = await house.connected()
    before = house.memory_kib()
    for start in range(0, 100_000, 1_000):
        writer.send(*(publish(f"once/{number}/only", b"x") for number in range(start, start + 1_000)))
        await within(writer.writer.drain(), "the publisher may go on")
    await writer.expect_alive()
    grown = house.memory_kib() - before
    expect(grown <= 8_192, True, f"{grown} KiB for topics that nobody wants")


@case("last values without end", "limits.retained_messages_max=1000")
async def _(house):
    writer = await house.connected()
    refused = 0
    for number in range(1_100):
        writer.send(publish(f"kept/{number}", b"x", qos=1, flags=1))
        body = await writer.expect_packet(PUBACK, "PUBACK")
        refused += body[2:3] >= b"\x80"
    expect(100 <= refused <= 200, True, f"{refused} of 1100 refused, with room for 1000")


@case("come and go, five thousand times")
async def _(house):
    before = house.memory_kib()
    for _ in range(50):
        some = [await house.stranger(connect("")) for _ in range(100)]
        for number, (_, writer) in enumerate(some):
            if number % 2:
                writer.transport.abort()
            else:
                writer.close()
    await house.is_served()
    grown = house.memory_kib() - before
    expect(grown <= 32_768, True, f"{grown} KiB after everyone has gone")


@case("two fight for one id")
async def _(house):
    takeovers = 0
    for _ in range(200):
        fighters = [await house.open() for _ in range(2)]
        for fighter in fighters:
            fighter.send(connect("prize", flags=0, props=properties(b"\x11\0\0\0\x3c")))
        for fighter in fighters:
            got = await fighter.packet()
            takeovers += got is not None and got[0] == CONNACK and got[1][1] == 0
            fighter.close()
            house.connections.remove(fighter)
    expect(takeovers > 0, True, "somebody has had it")
