"""What every STOMP client library must find, and what STOMP and MQTT hear of each other."""

import asyncio

from broker import HOST
from peers import Options
from peers_paho import PahoPeer
from report import Skip, expect, within

TABLE = []


def case(name, needs=()):
    """Puts a function into the table."""
    def add(function):
        TABLE.append((name, frozenset(needs), function))
        return function
    return add


def column(library):
    """The coroutine function that runs the table with one library."""
    async def run(client, broker, report, wanted):
        for number, (name, needs, function) in enumerate(TABLE):
            if broker.stomp_port and wanted(name):
                house = House(broker, library, f"{client}/{number}")
                await report.run(client, name, house.attempt(function, needs), broker.deviates.get(name))
    return run


class House:
    """The broker as one library sees it, with destinations of its own."""

    def __init__(self, broker, library, prefix):
        self.broker, self.library, self.prefix = broker, library, prefix
        self.peers = []

    async def attempt(self, function, needs):
        if lacking := needs & self.library.lacks:
            raise Skip(f"the library lacks {', '.join(lacking)}")
        try:
            await function(self)
        finally:
            await asyncio.gather(*(peer.drop() for peer in self.peers if not peer.closed.done()), return_exceptions=True)

    def topic(self, name="t"):
        return f"/topic/{self.prefix}/{name}"

    def queue(self, name="q"):
        return f"/queue/{self.prefix}/{name}"

    async def peer(self, **options):
        """A connected peer."""
        return await self._connect(self.library(HOST, self.library.port_of(self.broker), **options))

    async def mqtt(self):
        """A connected peer that speaks MQTT 5."""
        return await self._connect(PahoPeer(HOST, self.broker.port, 5, Options(f"{self.prefix}/{len(self.peers)}")))

    async def _connect(self, peer):
        self.peers.append(peer)
        await within(peer.connect(), "a connection")
        return peer


def bodies(messages):
    return [message.body for message in messages]


@case("STOMP: CONNECTED names version, session and server")
async def connected(house):
    peer = await house.peer()
    expect(peer.connected["version"], "1.2", "version")
    expect(peer.connected["server"].startswith("althing/") and bool(peer.connected["session"]), True, "server and session")
    await peer.disconnect()


@case("STOMP: headers come back as they were written")
async def headers(house):
    reader, writer = await house.peer(), await house.peer()
    subscription = await reader.subscribe(house.topic())
    sent = {"plain": "value", "empty": "", "odd": "a:b\\\nd ü", "content-type": "text/plain;charset=utf-8",
            "correlation-id": "100%", "reply-to": house.queue("answers"), "priority": "7"}
    await writer.send(house.topic(), "körper".encode(), sent)
    message = await reader.next()
    expect((message.subscription, message.destination, message.body), (subscription, house.topic(), "körper".encode()), "message")
    expect({name: message.headers.get(name) for name in sent}, sent, "headers")


@case("STOMP: an escaped backslash before a letter is no escape", needs=["escapes in order"])
async def backslashes(house):
    reader = await house.peer()
    await reader.subscribe(house.topic())
    await reader.send(house.topic(), b"", {"path": "C:\\new\\rest\\c"})
    expect((await reader.next()).headers.get("path"), "C:\\new\\rest\\c", "header")


@case("STOMP: a body of any bytes")
async def binary(house):
    reader = await house.peer()
    await reader.subscribe(house.topic())
    body = bytes(range(256)) * 500
    await reader.send(house.topic(), body)
    expect((await reader.next()).body == body, True, "the same body")


@case("STOMP: wildcards, and a delivery for each subscription")
async def wildcards(house):
    reader = await house.peer()
    wanted = {await reader.subscribe(house.topic(pattern)) for pattern in ("a/b", "a/+", "#")}
    await reader.subscribe(house.topic("a/c"))
    await reader.send(house.topic("a/b"), b"x")
    expect({message.subscription for message in await reader.take(3)}, wanted, "subscriptions")


@case("STOMP: unsubscribed is unsubscribed")
async def unsubscribed(house):
    reader = await house.peer()
    one, other = await reader.subscribe(house.topic("one")), await reader.subscribe(house.topic("other"))
    await reader.unsubscribe(one)
    await reader.send(house.topic("one"), b"not wanted")
    await reader.send(house.topic("other"), b"fence")
    expect((await reader.next()).subscription, other, "subscription")


@case("STOMP: a queue waits for its consumer, in order")
async def queue_waits(house):
    writer = await house.peer()
    sent = [b"%d" % number for number in range(20)]
    for body in sent:
        await writer.send(house.queue(), body, receipt=False)
    await writer.disconnect()
    reader = await house.peer()
    await reader.subscribe(house.queue())
    expect(bodies(await reader.take(20)), sent, "bodies")


@case("STOMP: consumers of a queue compete")
async def compete(house):
    one, other, writer = await house.peer(), await house.peer(), await house.peer()
    await one.subscribe(house.queue(), "client-individual")
    await other.subscribe(house.queue(), "client-individual")
    sent = [b"%d" % number for number in range(10)]
    for body in sent:
        await writer.send(house.queue(), body)
    expect(sorted(bodies(await one.take(5) + await other.take(5))), sent, "bodies")


@case("STOMP: ack:client counts for all before it")
async def cumulative(house):
    reader, writer = await house.peer(), await house.peer()
    await reader.subscribe(house.queue(), "client")
    for body in (b"1", b"2", b"3"):
        await writer.send(house.queue(), body)
    messages = await reader.take(3)
    await reader.ack(messages[1])
    await reader.disconnect()
    again = await house.peer()
    await again.subscribe(house.queue())
    await writer.send(house.queue(), b"fence")
    expect(bodies(await again.take(2)), [b"3", b"fence"], "what was not acknowledged")


@case("STOMP: ack:client-individual counts for one")
async def individual(house):
    reader, writer = await house.peer(), await house.peer()
    await reader.subscribe(house.queue(), "client-individual")
    for body in (b"1", b"2", b"3"):
        await writer.send(house.queue(), body)
    messages = await reader.take(3)
    await reader.ack(messages[1])
    await reader.disconnect()
    again = await house.peer()
    await again.subscribe(house.queue())
    expect(bodies(await again.take(2)), [b"1", b"3"], "what was not acknowledged")


@case("STOMP: NACK gives a message to another")
async def nack(house):
    one, other, writer = await house.peer(), await house.peer(), await house.peer()
    await one.subscribe(house.queue(), "client-individual")
    await other.subscribe(house.queue(), "client-individual")
    await writer.send(house.queue(), b"job")
    first, second = (one, other) if (await first_of(one, other)) is one else (other, one)
    await first.nack(await first.next())
    message = await second.next()
    expect(message.body, b"job", "the message again")
    await second.ack(message)


async def first_of(one, other):
    """Which of two peers hears a message first; it can still be taken."""
    waiting = {asyncio.ensure_future(peer.messages.get()): peer for peer in (one, other)}
    done, pending = await within(asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED), "a message for either")
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    task = done.pop()
    waiting[task].messages.put_nowait(task.result())
    return waiting[task]


@case("STOMP: what is lost unacknowledged goes to another")
async def lost(house):
    one, writer = await house.peer(), await house.peer()
    await one.subscribe(house.queue(), "client")
    await writer.send(house.queue(), b"job")
    await one.next()
    await one.drop()
    other = await house.peer()
    await other.subscribe(house.queue(), "client")
    expect((await other.next()).body, b"job", "the message again")


@case("STOMP: a transaction is refused", needs=["ERROR heard"])
async def transaction(house):
    peer = await house.peer()
    await peer.frame("BEGIN", {"transaction": "t"})
    expect(await within(peer.closed, "the end"), "not supported", "ERROR")


@case("STOMP: a destination that is none is refused", needs=["ERROR heard"])
async def nowhere(house):
    peer = await house.peer()
    await peer.send("nowhere", receipt=False)
    expect(await within(peer.closed, "the end"), "invalid destination", "ERROR")


@case("STOMP: heart-beats keep an idle connection", needs=["heart-beats seen"])
async def heart_beats(house):
    peer = await house.peer(heart_beats=(1_000, 1_000))
    for _ in range(3):
        await within(peer.beats.get(), "a heart-beat")
    await peer.send(house.topic(), b"still there")


@case("STOMP: the last value waits for new subscribers")
async def retained(house):
    writer, reader, mqtt = await house.peer(), await house.peer(), await house.mqtt()
    await writer.send(house.topic(), b"last", {"retain": "true"})
    await reader.subscribe(house.topic())
    message = await reader.next()
    expect((message.body, message.headers.get("retain")), (b"last", "true"), "last value")
    await mqtt.subscribe(f"{house.prefix}/#")
    message = await mqtt.next()
    expect((message.payload, message.retain), (b"last", True), "last value in MQTT")


@case("STOMP and MQTT hear each other, properties and all")
async def both(house):
    reader, mqtt = await house.peer(), await house.mqtt()
    await reader.subscribe(house.topic("asked"))
    await mqtt.subscribe(f"{house.prefix}/answered", qos=1)
    user = [("unit", "°C"), ("unit", "again"), ("odd:name", "a\nb")]
    await mqtt.publish(f"{house.prefix}/asked", b"?", qos=1, content_type="text/plain", correlation_data=b"\xff\x00%",
                       response_topic=f"{house.prefix}/answered", user=user)
    asked = await reader.next()
    expect((asked.destination, asked.body), (house.topic("asked"), b"?"), "the question")
    expect({name: asked.headers.get(name) for name in ("content-type", "reply-to", "unit")},
           {"content-type": "text/plain", "reply-to": house.topic("answered"), "unit": "°C"}, "its headers")
    correlation = asked.headers["correlation-id"]
    await reader.send(asked.headers["reply-to"], b"!", {"correlation-id": correlation, "unit": "K", "content-type": "text/html"})
    answered = await mqtt.next()
    expect((answered.payload, answered.qos), (b"!", 1), "the answer")
    expect((answered.properties.get("correlation_data"), answered.properties.get("content_type"), answered.properties.get("user")),
           (b"\xff\x00%", "text/html", [("unit", "K")]), "its properties")


@case("STOMP and MQTT compete for one queue")
async def one_queue(house):
    reader, mqtt = await house.peer(), await house.mqtt()
    await reader.subscribe(house.queue(), "client-individual")
    expect(await mqtt.subscribe(f"$queue/{house.prefix}/q", qos=1), 1, "SUBACK")
    for body in (b"1", b"2", b"3", b"4"):
        await mqtt.publish(f"$queue/{house.prefix}/q", body, qos=1)
    heard = bodies(await reader.take(2)) + [(await mqtt.next()).payload for _ in range(2)]
    expect(sorted(heard), [b"1", b"2", b"3", b"4"], "bodies")
