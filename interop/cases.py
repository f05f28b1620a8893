"""What every client library must find: one table, run once for each library and protocol version.

A case gets a `House`: the broker as one library sees it, with topics and client ids of its own. To show that
something does *not* arrive, a case sends a fence after it, on the same way, and expects the fence first.
"""

import asyncio
import hashlib
import itertools
import random
import time
from dataclasses import replace

from broker import HOST, KEEP_ALIVE_S_MAX
from peers import Options, Will
from report import Skip, expect, within

TABLE = []
RESUMABLE_S = 300
WINDOW = 16


def case(name, since=3, needs=()):
    """Puts a function into the table. `since` is the first protocol version that has what it needs."""

    def add(function):
        TABLE.append((name, since, frozenset(needs), function))
        return function

    return add


def column(library, version):
    """The coroutine function that runs the table with one library in one protocol version."""

    async def run(client, broker, report, wanted):
        for number, (name, since, needs, function) in enumerate(TABLE):
            if version >= since and wanted(name):
                house = House(broker, library, version, f"{client.replace(' ', '-')}/{number}")
                await report.run(client, name, house.attempt(function, needs), broker.deviates.get(name))

    return run


class House:
    def __init__(self, broker, library, version, prefix):
        self.broker, self.library, self.version, self.prefix = broker, library, version, prefix
        self.peers, self.numbers = [], itertools.count()

    async def attempt(self, function, needs):
        if lacking := needs & self.library.lacks:
            raise Skip(f"the library lacks {', '.join(lacking)}")
        try:
            await function(self)
        finally:
            await asyncio.gather(
                *(peer.drop() for peer in self.peers if not peer.closed.done()), return_exceptions=True
            )

    def topic(self, name=""):
        return f"{self.prefix}/{name}" if name else self.prefix

    async def peer(self, name=None, resumable=False, **options):
        """A connected peer. `resumable`: its session outlives the connection, and it takes up what it left."""
        name = f"{self.prefix}-{name or next(self.numbers)}" if name != "" else ""
        if resumable:
            options.setdefault("clean", False)
            options.setdefault("expiry_s", RESUMABLE_S)
        host, port, ca = self.library.where(self.broker)
        peer = self.library(host, port, self.version, Options(name, **options), ca=ca)
        self.peers.append(peer)
        await peer.connect()
        return peer


async def publish_in_order(peer, topic, payloads, qos):
    """Never more than a window unacknowledged: brokers may offer a small receive maximum."""
    for start in range(0, len(payloads), WINDOW):
        await asyncio.gather(*(peer.publish(topic, payload, qos) for payload in payloads[start : start + WINDOW]))


async def take(peer, count):
    return [await peer.next() for _ in range(count)]


def payloads(messages):
    return [message.payload for message in messages]


async def retained(house, topic_filter, fence="fence"):
    """What a new subscriber finds: everything before a fence."""
    peer = await house.peer()
    await peer.subscribe(topic_filter)
    await peer.subscribe(house.topic(fence))
    await peer.publish(house.topic(fence), b"fence")
    found = {}
    while (message := await peer.next()).payload != b"fence":
        expect(message.retain, True, f"the retain flag of {message.topic}")
        found[message.topic] = message.payload
    return found


# Connecting.


@case("connect")
async def _(house):
    peer = await house.peer()
    expect(peer.session_present, False, "session present")
    await peer.disconnect()


@case("assigned client id", needs=["an empty client id"])
async def _(house):
    if house.version == 3:
        raise Skip("MQTT 3.1 has none")
    first, second = await house.peer(""), await house.peer("")
    if house.version == 5:
        ids = [peer.connack.get("assigned_client_id") for peer in (first, second)]
        expect(all(ids), True, f"ids in CONNACK, {ids}")
        expect(ids[0] != ids[1], True, "two peers have two ids")
    await second.subscribe(house.topic())
    await first.publish(house.topic(), b"both live", 1)
    expect((await second.next()).payload, b"both live", "the payload")


@case("server keep alive", since=5)
async def _(house):
    bold = await house.peer(keep_alive_s=KEEP_ALIVE_S_MAX * 2)
    expect(bold.connack.get("server_keep_alive_s"), KEEP_ALIVE_S_MAX, "server keep alive")
    modest = await house.peer(keep_alive_s=KEEP_ALIVE_S_MAX // 2)
    expect(modest.connack.get("server_keep_alive_s") in (None, KEEP_ALIVE_S_MAX // 2), True, "left alone")


# Publishing and subscribing.


def _each_qos(qos):
    @case(f"publish and subscribe, QoS {qos}")
    async def _(house):
        reader, writer = await house.peer(), await house.peer()
        expect(await reader.subscribe(house.topic(), qos), qos, "the granted QoS")
        await writer.publish(house.topic(), b"hi", qos)
        message = await reader.next()
        expect(
            (message.topic, message.payload, message.qos, message.retain),
            (house.topic(), b"hi", qos, False),
            "the message",
        )


for _qos in (0, 1, 2):
    _each_qos(_qos)


@case("the lower QoS of the two counts")
async def _(house):
    reader, writer = await house.peer(), await house.peer()
    for granted in (0, 1, 2):
        await reader.subscribe(house.topic(str(granted)), granted)
        for sent in (0, 1, 2):
            await writer.publish(house.topic(str(granted)), b"", sent)
            expect((await reader.next()).qos, min(sent, granted), f"sent with {sent}, subscribed with {granted}")


@case("wildcards")
async def _(house):
    filters = {
        "+/b": {"a/b", "x/b"},
        "a/+": {"a/b", "a/"},
        "a/#": {"a", "a/b", "a/b/c", "a/"},
        "+/+/c": {"a/b/c"},
        "+": {"a"},
        "#": {"a", "a/b", "a/b/c", "x/b", "a/"},
    }
    writer = await house.peer()
    readers = {}
    for wanted in filters:
        readers[wanted] = await house.peer()
        await readers[wanted].subscribe(house.topic(wanted), 1)
        await readers[wanted].subscribe(house.topic("z/z/z/fence"), 1)
    for name in ("a", "a/b", "a/b/c", "x/b", "a/", "z/z/z/fence"):
        await writer.publish(house.topic(name), name.encode(), 1)
    for wanted, names in filters.items():
        seen = []
        while (message := await readers[wanted].next()).payload != b"z/z/z/fence":
            seen.append(message.payload.decode())
        expect(sorted(seen), sorted(names), f"what {wanted} matched")


@case("unsubscribe")
async def _(house):
    peer = await house.peer()
    await peer.subscribe(house.topic("a"), 1)
    await peer.subscribe(house.topic("fence"), 1)
    await peer.unsubscribe(house.topic("a"))
    await peer.publish(house.topic("a"), b"gone", 1)
    await peer.publish(house.topic("fence"), b"fence", 1)
    expect((await peer.next()).payload, b"fence", "the first message")


@case("awkward topics")
async def _(house):
    reader, writer = await house.peer(), await house.peer()
    await reader.subscribe(house.topic("#"), 1)
    for name in (
        "/leading",
        "trailing/",
        "empty//level",
        " spaces around ",
        "ünïcødé/☃/𐍈",
        "a b",
        "$dollar",
        "%2F",
        "x" * 1000,
        "/".join("d" * 60),
    ):
        await writer.publish(house.topic(name), b"", 1)
        expect((await reader.next()).topic, house.topic(name), "the topic")
    await reader.subscribe("/" + house.topic())
    await writer.publish("/" + house.topic(), b"")
    expect((await reader.next()).topic, "/" + house.topic(), "the topic")


@case("any byte in a payload, and none")
async def _(house):
    peer = await house.peer()
    await peer.subscribe(house.topic(), 1)
    for payload in (bytes(range(256)), b"", b"\0"):
        await peer.publish(house.topic(), payload, 1)
        expect((await peer.next()).payload, payload, "the payload")


@case("a payload of 1 MiB")
async def _(house):
    reader, writer = await house.peer(), await house.peer()
    await reader.subscribe(house.topic(), 2)
    payload = random.Random(1).randbytes(1 << 20)
    for qos in (0, 1, 2):
        await writer.publish(house.topic(), payload, qos)
        message = await reader.next()
        expect(
            (message.qos, len(message.payload), hashlib.sha256(message.payload).digest()),
            (qos, 1 << 20, hashlib.sha256(payload).digest()),
            "QoS, length and hash",
        )


def _in_order(qos):
    @case(f"1000 messages in order, QoS {qos}")
    async def _(house):
        reader, writer = await house.peer(), await house.peer()
        await reader.subscribe(house.topic(), qos)
        sent = [str(number).encode() for number in range(1000)]
        await publish_in_order(writer, house.topic(), sent, qos)
        expect(payloads(await take(reader, 1000)), sent, "the payloads")
        await writer.publish(house.topic(), b"fence", qos)
        expect((await reader.next()).payload, b"fence", "nothing twice")


for _qos in (0, 1, 2):
    _in_order(_qos)


# Retained messages.


@case("retained: set, replaced, cleared")
async def _(house):
    writer, live = await house.peer(), await house.peer()
    await live.subscribe(house.topic("a"), 1)
    await writer.publish(house.topic("a"), b"one", 1, retain=True)
    expect((await live.next()).retain, False, "the retain flag for one who was there")
    await writer.publish(house.topic("a"), b"two", 1, retain=True)
    expect(await retained(house, house.topic("a")), {house.topic("a"): b"two"}, "retained")
    await writer.publish(house.topic("a"), b"not retained", 1)
    expect(await retained(house, house.topic("a")), {house.topic("a"): b"two"}, "retained")
    await writer.publish(house.topic("a"), b"", 1, retain=True)
    expect(await retained(house, house.topic("a")), {}, "retained")


@case("retained: found by wildcards")
async def _(house):
    writer = await house.peer()
    for name in ("r/a", "r/b", "r/b/c", "q/a"):
        await writer.publish(house.topic(name), name.encode(), 1, retain=True)
    for wanted, names in {
        "r/+": ["r/a", "r/b"],
        "r/#": ["r/a", "r/b", "r/b/c"],
        "+/a": ["r/a", "q/a"],
        "+/+/c": ["r/b/c"],
    }.items():
        expect(await retained(house, house.topic(wanted)), {house.topic(name): name.encode() for name in names}, wanted)
    for name in ("r/a", "r/b", "r/b/c", "q/a"):
        await writer.publish(house.topic(name), b"", 1, retain=True)


# Wills.


async def _mourner(house):
    reader = await house.peer()
    await reader.subscribe(house.topic("will"), 1)
    await reader.subscribe(house.topic("fence"), 1)
    return reader


@case("will on an abrupt close")
async def _(house):
    reader = await _mourner(house)
    mortal = await house.peer(will=Will(house.topic("will"), b"dead", 1))
    await mortal.drop()
    message = await reader.next()
    expect(
        (message.topic, message.payload, message.qos, message.retain),
        (house.topic("will"), b"dead", 1, False),
        "the will",
    )


@case("no will after DISCONNECT")
async def _(house):
    reader = await _mourner(house)
    mortal = await house.peer(will=Will(house.topic("will"), b"dead", 1))
    await mortal.disconnect()
    # A will that leaves wrongly leaves before the id can connect again.
    again = await house.peer(mortal.options.client_id.removeprefix(house.prefix + "-"))
    await again.publish(house.topic("fence"), b"fence", 1)
    expect((await reader.next()).payload, b"fence", "the first message")


@case("a retained will")
async def _(house):
    reader = await _mourner(house)
    mortal = await house.peer(will=Will(house.topic("will"), b"dead", 1, True))
    await mortal.drop()
    await reader.next()
    expect(await retained(house, house.topic("will"), "other"), {house.topic("will"): b"dead"}, "retained")
    await reader.publish(house.topic("will"), b"", 1, retain=True)


@case("DISCONNECT with will", since=5, needs=["disconnect with will"])
async def _(house):
    reader = await _mourner(house)
    mortal = await house.peer(will=Will(house.topic("will"), b"dead", 1))
    await mortal.disconnect(with_will=True)
    expect((await reader.next()).payload, b"dead", "the will")


@case("will properties", since=5)
async def _(house):
    reader = await _mourner(house)
    properties = {
        "content_type": "text/plain",
        "user": [("a", "1"), ("a", "2")],
        "response_topic": "r",
        "correlation_data": b"\0\1",
    }
    mortal = await house.peer(will=Will(house.topic("will"), b"dead", 1, properties=properties))
    await mortal.drop()
    message = await reader.next()
    expect({name: message.properties.get(name) for name in properties}, properties, "the properties")


@case("will delay", since=5)
async def _(house):
    reader = await _mourner(house)
    mortal = await house.peer(will=Will(house.topic("will"), b"dead", 1, delay_s=1), expiry_s=60)
    closed = time.monotonic()
    await mortal.drop()
    expect((await reader.next()).payload, b"dead", "the will")
    # A lower bound holds on the slowest machine; brokers may count in whole seconds.
    expect(time.monotonic() - closed > 0.5, True, f"a delay of 1 s, was {time.monotonic() - closed:.3f} s")


@case("will delay: a return cancels it", since=5)
async def _(house):
    reader = await _mourner(house)
    will = Will(house.topic("will"), b"dead", 1, delay_s=2)
    mortal = await house.peer("mortal", will=will, expiry_s=60)
    await mortal.drop()
    back = await house.peer("mortal", clean=False, expiry_s=60)
    expect(back.session_present, True, "session present")
    # A will of the same delay that nobody cancels tells when the first would have come.
    clock = await house.peer(will=replace(will, topic=house.topic("fence"), payload=b"fence"), expiry_s=60)
    await clock.drop()
    expect((await reader.next()).payload, b"fence", "the first message")


@case("the end of the session ends the delay", since=5)
async def _(house):
    reader = await _mourner(house)
    mortal = await house.peer("mortal", will=Will(house.topic("will"), b"dead", 1, delay_s=3600), expiry_s=3600)
    await mortal.drop()
    await house.peer("mortal", clean=True)
    expect((await reader.next()).payload, b"dead", "the will")


# Sessions.


@case("session: queued messages wait, in order")
async def _(house):
    sleeper = await house.peer("sleeper", resumable=True)
    await sleeper.subscribe(house.topic("1"), 1)
    await sleeper.subscribe(house.topic("2"), 2)
    await sleeper.disconnect()
    writer = await house.peer()
    for number in range(20):
        await writer.publish(house.topic("12"[number % 2]), str(number).encode(), 2)
    back = await house.peer("sleeper", resumable=True)
    expect(house.version == 3 or back.session_present, True, "session present")
    messages = await take(back, 20)
    # Among two topics and two levels of QoS the order is the broker's own affair.
    for qos in (1, 2):
        expect(
            [message.payload for message in messages if message.qos == qos],
            [str(number).encode() for number in range(20) if 1 + number % 2 == qos],
            f"the payloads with QoS {qos}",
        )
    await writer.publish(house.topic("1"), b"fence", 1)
    expect((await back.next()).payload, b"fence", "nothing twice")


@case("session: survives an abrupt close")
async def _(house):
    sleeper = await house.peer("sleeper", resumable=True)
    await sleeper.subscribe(house.topic(), 1)
    await sleeper.drop()
    writer = await house.peer()
    await writer.publish(house.topic(), b"waited", 1)
    back = await house.peer("sleeper", resumable=True)
    expect((await back.next()).payload, b"waited", "the payload")


@case("session: a clean start forgets it")
async def _(house):
    sleeper = await house.peer("sleeper", resumable=True)
    await sleeper.subscribe(house.topic("a"), 1)
    await sleeper.disconnect()
    writer = await house.peer()
    await writer.publish(house.topic("a"), b"forgotten", 1)
    clean = await house.peer("sleeper", clean=True)
    expect(clean.session_present, False, "session present")
    await clean.subscribe(house.topic("fence"), 1)
    await writer.publish(house.topic("a"), b"forgotten", 1)
    await writer.publish(house.topic("fence"), b"fence", 1)
    expect((await clean.next()).payload, b"fence", "the first message")


@case("session: expires", since=5)
async def _(house):
    brief = await house.peer("brief", clean=False, expiry_s=1)
    await brief.subscribe(house.topic(), 1)
    await brief.disconnect()
    # Its end is seen from outside: from some attempt on, the session is not there any more.
    deadline = time.monotonic() + 15
    while True:
        await asyncio.sleep(1.5)  # the attempts themselves must lie further apart than the expiry
        back = await house.peer("brief", clean=False, expiry_s=1)
        if not back.session_present:
            return
        await back.disconnect()
        expect(time.monotonic() < deadline, True, "the session is gone after its expiry")


@case("session: expiry 0 ends it with the connection", since=5)
async def _(house):
    brief = await house.peer("brief", clean=False)
    await brief.subscribe(house.topic(), 1)
    await brief.disconnect()
    expect((await house.peer("brief", clean=False)).session_present, False, "session present")


@case("takeover")
async def _(house):
    first = await house.peer("twin")
    second = await house.peer("twin")
    code = await within(first.closed, "the close of the first connection")
    if house.version == 5 and "the reason of a DISCONNECT" not in house.library.lacks:
        expect(code, 0x8E, "the reason code of the first's DISCONNECT")
    await second.subscribe(house.topic())
    await second.publish(house.topic(), b"mine")
    expect((await second.next()).payload, b"mine", "the payload")


@case("takeover keeps the session")
async def _(house):
    first = await house.peer("twin", resumable=True)
    await first.subscribe(house.topic(), 1)
    second = await house.peer("twin", resumable=True)
    expect(house.version == 3 or second.session_present, True, "session present")
    writer = await house.peer()
    await writer.publish(house.topic(), b"mine", 1)
    expect((await second.next()).payload, b"mine", "the payload")


# Shared subscriptions.


@case("shared: each message to one member")
async def _(house):
    members = [await house.peer() for _ in range(3)]
    for member in members:
        await member.subscribe(f"$share/group/{house.topic('a')}", 1)
    writer = await house.peer()
    sent = [str(number).encode() for number in range(60)]
    await publish_in_order(writer, house.topic("a"), sent, 1)
    shares = [[] for _ in members]
    async with asyncio.timeout(20):
        while sum(map(len, shares)) < len(sent):
            waiting = [asyncio.ensure_future(member.messages.get()) for member in members]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for share, got in zip(shares, waiting):
                if got.done():
                    share.append(got.result().payload)
                else:
                    got.cancel()
    expect(sorted(payload for share in shares for payload in share), sorted(sent), "all shares together")
    expect(all(shares), True, f"everyone has a share: {[len(share) for share in shares]}")


@case("shared: groups and others each get their own")
async def _(house):
    alone, one, other, writer = [await house.peer() for _ in range(4)]
    await alone.subscribe(house.topic("a"), 1)
    await one.subscribe(f"$share/one/{house.topic('a')}", 1)
    await other.subscribe(f"$share/other/{house.topic('+')}", 1)
    await writer.publish(house.topic("a"), b"for all", 1)
    for peer in (alone, one, other):
        expect((await peer.next()).payload, b"for all", "the payload")


@case("shared: no retained messages")
async def _(house):
    writer, member = await house.peer(), await house.peer()
    await writer.publish(house.topic("a"), b"old", 1, retain=True)
    await member.subscribe(f"$share/group/{house.topic('a')}", 1)
    await writer.publish(house.topic("a"), b"new", 1)
    expect((await member.next()).payload, b"new", "the first message")
    await writer.publish(house.topic("a"), b"", 1, retain=True)


# Subscription options.


@case("no local", since=5)
async def _(house):
    peer, other = await house.peer(), await house.peer()
    await peer.subscribe(house.topic("a"), 1, no_local=True)
    await peer.publish(house.topic("a"), b"mine", 1)
    await other.publish(house.topic("a"), b"theirs", 1)
    expect((await peer.next()).payload, b"theirs", "the first message")


@case("retain as published", since=5)
async def _(house):
    keeps, clears, writer = [await house.peer() for _ in range(3)]
    await keeps.subscribe(house.topic(), 1, retain_as_published=True)
    await clears.subscribe(house.topic(), 1)
    for retain in (True, False):
        await writer.publish(house.topic(), b"x", 1, retain=retain)
        expect((await keeps.next()).retain, retain, f"published with {retain}, as published")
        expect((await clears.next()).retain, False, f"published with {retain}")
    await writer.publish(house.topic(), b"", 1, retain=True)


@case("retain handling", since=5)
async def _(house):
    writer = await house.peer()
    await writer.publish(house.topic("a"), b"old", 1, retain=True)
    for handling, first, again in ((0, True, True), (1, True, False), (2, False, False)):
        peer = await house.peer()
        await peer.subscribe(house.topic("fence"), 1)
        for wanted in (first, again):
            await peer.subscribe(house.topic("a"), 1, retain_handling=handling)
            await peer.publish(house.topic("fence"), b"fence", 1)
            seen = (await peer.next()).payload
            expect(
                seen == b"old",
                wanted,
                f"handling {handling}, a retained message at the {'first' if wanted is first else 'next'} time",
            )
            if wanted:
                expect((await peer.next()).payload, b"fence", "the next message")
    await writer.publish(house.topic("a"), b"", 1, retain=True)


@case("subscription identifiers", since=5)
async def _(house):
    peer = await house.peer()
    await peer.subscribe(house.topic("a"), 1, identifier=7)
    await peer.subscribe(house.topic("b"), 1, identifier=268_435_455)
    await peer.subscribe(house.topic("c"), 1)
    for name, identifiers in (("a", [7]), ("b", [268_435_455]), ("c", [])):
        await peer.publish(house.topic(name), b"", 1)
        expect((await peer.next()).properties.get("identifiers", []), identifiers, f"the identifiers of {name}")


@case("overlapping subscriptions: one copy, highest QoS, all identifiers", since=5)
async def _(house):
    peer = await house.peer()
    await peer.subscribe(house.topic("a/#"), 0, identifier=1)
    await peer.subscribe(house.topic("a/b"), 2, identifier=2)
    await peer.subscribe(house.topic("+/b"), 1, identifier=3)
    await peer.publish(house.topic("a/b"), b"one", 2)
    await peer.publish(house.topic("a/fence"), b"fence", 2)
    message = await peer.next()
    expect(
        (message.payload, message.qos, sorted(message.properties.get("identifiers", []))),
        (b"one", 2, [1, 2, 3]),
        "the copy",
    )
    expect((await peer.next()).payload, b"fence", "the next message")


# Message properties.


@case("user properties: order and duplicates", since=5)
async def _(house):
    peer = await house.peer()
    await peer.subscribe(house.topic(), 1)
    user = [("b", "1"), ("b", "2"), ("b", "1"), ("a", "ü"), ("", "")]
    await peer.publish(house.topic(), b"", 1, user=user)
    expect([tuple(pair) for pair in (await peer.next()).properties.get("user", [])], user, "the user properties")


@case("user properties: interleaved names", since=5, needs=["interleaved user properties"])
async def _(house):
    peer = await house.peer()
    await peer.subscribe(house.topic(), 1)
    user = [("b", "1"), ("a", "2"), ("b", "3"), ("a", "2")]
    await peer.publish(house.topic(), b"", 1, user=user)
    expect([tuple(pair) for pair in (await peer.next()).properties.get("user", [])], user, "the user properties")


@case("content type, payload format, response topic, correlation data", since=5)
async def _(house):
    peer = await house.peer()
    await peer.subscribe(house.topic(), 1)
    properties = {
        "content_type": "application/json",
        "payload_format": 1,
        "response_topic": house.topic("answer"),
        "correlation_data": bytes(range(256)),
    }
    await peer.publish(house.topic(), b"{}", 1, **properties)
    message = await peer.next()
    expect({name: message.properties.get(name) for name in properties}, properties, "the properties")


@case("properties are retained and queued too", since=5)
async def _(house):
    properties = {"content_type": "text/plain", "user": [("k", "v"), ("k", "w")], "correlation_data": b"\xff"}
    sleeper = await house.peer("sleeper", resumable=True)
    await sleeper.subscribe(house.topic("queued"), 1)
    await sleeper.disconnect()
    writer, reader = await house.peer(), await house.peer()
    await writer.publish(house.topic("queued"), b"x", 1, **properties)
    await writer.publish(house.topic("kept"), b"x", 1, retain=True, **properties)
    await reader.subscribe(house.topic("kept"), 1)
    for peer in (await house.peer("sleeper", resumable=True), reader):
        message = await peer.next()
        expect(
            {name: message.properties.get(name) for name in properties},
            properties,
            f"the properties of {message.topic}",
        )
    await writer.publish(house.topic("kept"), b"", 1, retain=True)


@case("request and response", since=5)
async def _(house):
    service, caller = await house.peer(), await house.peer()
    await service.subscribe(house.topic("ask"), 1)
    await caller.subscribe(house.topic("answers"), 1)
    await caller.publish(house.topic("ask"), b"2+2", 1, response_topic=house.topic("answers"), correlation_data=b"id-1")
    question = await service.next()
    await service.publish(
        question.properties["response_topic"], b"4", 1, correlation_data=question.properties["correlation_data"]
    )
    answer = await caller.next()
    expect((answer.payload, answer.properties.get("correlation_data")), (b"4", b"id-1"), "the answer")


@case("message expiry: the rest is told", since=5)
async def _(house):
    peer = await house.peer()
    await peer.publish(house.topic(), b"", 1)
    await peer.publish(house.topic(), b"x", 1, retain=True, expiry_s=1000)
    await peer.subscribe(house.topic(), 1)
    rest = (await peer.next()).properties.get("expiry_s")
    expect(rest is not None and 900 < rest <= 1000, True, f"the rest of 1000 s, was {rest}")
    await peer.publish(house.topic(), b"", 1, retain=True)


@case("message expiry: retained and queued messages end", since=5)
async def _(house):
    sleeper = await house.peer("sleeper", resumable=True)
    await sleeper.subscribe(house.topic("queued"), 1)
    await sleeper.disconnect()
    writer = await house.peer()
    await writer.publish(house.topic("queued"), b"stale", 1, expiry_s=1)
    await writer.publish(house.topic("queued"), b"fresh", 1, expiry_s=600)
    # A retained message that lives longer tells when the queued one must be over.
    await writer.publish(house.topic("kept"), b"stale", 1, retain=True, expiry_s=2)
    deadline, attempt = time.monotonic() + 15, itertools.count()
    while await retained(house, house.topic("kept"), f"fence{next(attempt)}"):
        expect(time.monotonic() < deadline, True, "the retained message is gone after its expiry")
        await asyncio.sleep(0.2)
    back = await house.peer("sleeper", resumable=True)
    expect((await back.next()).payload, b"fresh", "the first message")


# Limits and windows.


@case("topic aliases towards the broker", since=5)
async def _(house):
    reader, writer = await house.peer(), await house.peer()
    expect((writer.connack.get("topic_alias_maximum") or 0) >= 2, True, "the broker offers two aliases at least")
    await reader.subscribe(house.topic("#"), 1)
    for name, alias in (("a", 1), ("b", 2), ("", 1), ("", 2), ("c", 1), ("", 1)):
        await writer.publish(house.topic(name) if name else "", b"", 1, topic_alias=alias)
    seen = [(await reader.next()).topic for _ in range(6)]
    expect(seen, [house.topic(name) for name in "ababcc"], "the topics")


@case("topic aliases from the broker", since=5, needs=["incoming topic aliases"])
async def _(house):
    reader, writer = await house.peer(topic_alias_maximum=3), await house.peer()
    await reader.subscribe(house.topic("#"), 1)
    names = list("abcdeabcdeaaabbb")
    for name in names:
        await writer.publish(house.topic(name), b"", 1)
    expect(
        [message.topic for message in await take(reader, len(names))],
        [house.topic(name) for name in names],
        "the topics",
    )


@case("receive maximum of one", since=5)
async def _(house):
    reader, writer = await house.peer(receive_maximum=1), await house.peer()
    await reader.subscribe(house.topic(), 2)
    sent = [str(number).encode() for number in range(50)]
    for number, payload in enumerate(sent):
        await writer.publish(house.topic(), payload, 1 + number % 2)
    expect(payloads(await take(reader, 50)), sent, "the payloads")


@case("maximum packet size of the client", since=5)
async def _(house):
    reader, writer = await house.peer(maximum_packet_size=500), await house.peer()
    await reader.subscribe(house.topic(), 1)
    await writer.publish(house.topic(), b"x" * 1000, 1)
    await writer.publish(house.topic(), b"small", 1)
    expect((await reader.next()).payload, b"small", "the first message")


@case("$SYS")
async def _(house):
    peer = await house.peer()
    for name in ("version", "uptime", "clients/connected", "messages/received"):
        await peer.subscribe(f"$SYS/broker/{name}")
        message = await peer.next()
        expect(message.topic, f"$SYS/broker/{name}", "the topic")
        expect(len(message.payload) > 0, True, "it says something")


@case("$SYS is not in #")
async def _(house):
    peer = await house.peer()
    await peer.subscribe("$SYS/broker/uptime")
    await peer.next()
    await peer.unsubscribe("$SYS/broker/uptime")
    await peer.subscribe("#")
    await peer.publish(house.topic(), b"fence", 1)
    while (message := await peer.next()).payload != b"fence":
        expect(message.topic.startswith("$"), False, f"{message.topic} arrives for #")
