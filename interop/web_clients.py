"""Libraries of the web: websockets and httpx (Python), ws and eventsource (Node.js)."""

import asyncio
import base64
import contextlib
import json
import struct

import httpx
import websockets

from broker import HOST, NAME
from node import Node
from raw import connect as connect_packet
from report import case, expect, within
from web import Event, Stream, Web, column

WEBSOCKETS, HTTPX, WS, EVENTSOURCE = [], [], [], []


class Clients(Web):
    """A prompt, and connections that are closed with it."""

    def __init__(self, broker, topic):
        super().__init__(broker, topic)
        self.closing = []

    async def attempt(self, function):
        try:
            await super().attempt(function)
        finally:
            for close in reversed(self.closing):
                await close()

    async def socket(self, path="/json", protocol="althing.json", **options):
        socket = await websockets.connect(
            f"ws://{HOST}:{self.broker.web_port}{path}", subprotocols=[protocol] if protocol else None, **options
        )
        self.closing.append(socket.close)
        return socket

    async def speaker(self, **options):
        """An `althing.json` socket; what `connected` says is taken."""
        speaker = Speaker(await self.socket(**options))
        await speaker.say(type="connect")
        await speaker.expect("connected")
        return speaker

    async def node(self):
        """What the script says unasked is in its `said`."""
        said = asyncio.Queue()
        node = Node("web.mjs", said.put_nowait)
        await node.start()
        node.said = said

        async def end():
            node.kill()
            await node.end()

        self.closing.append(end)
        return node

    def http(self, **options):
        base = f"https://{NAME}:{self.broker.web_tls_port}"
        client = httpx.AsyncClient(
            base_url=base, http2=True, http1=False, verify=self.broker.certificate("ca.crt"), timeout=30, **options
        )
        self.closing.append(client.aclose)
        return client


class Speaker:
    """`althing.json`, object by object."""

    def __init__(self, socket):
        self.socket = socket

    async def say(self, **fields):
        await self.socket.send(json.dumps(fields))

    async def expect(self, kind):
        said = json.loads(await within(self.socket.recv(), kind))
        expect(said["type"], kind, f"the type of {said}")
        return said

    async def ask(self, kind, **fields):
        await self.say(id=1, **fields)
        return await self.expect(kind)


@case(WEBSOCKETS, "/ws/echo answers with the message and OK")
async def _(web):
    socket = await web.socket("/ws/echo", None)
    for text in ("Hello", "", "ünï", "x" * 60_000):
        await socket.send(text)
        expect(await within(socket.recv(), "the echo"), f"{text} OK", "the echo")


@case(WEBSOCKETS, "permessage-deflate is agreed on, and undone")
async def _(web):
    socket = await web.socket("/ws/echo", None, compression="deflate")
    names = [extension.name for extension in socket.protocol.extensions]
    expect(names, ["permessage-deflate"], "the extensions")
    for _ in range(3):
        await socket.send("again and again " * 3_000)
        expect(await within(socket.recv(), "the echo"), "again and again " * 3_000 + " OK", "the echo")
    plain = await web.socket("/ws/echo", None, compression=None)
    expect(plain.protocol.extensions, [], "the extensions of one who wants none")


@case(WEBSOCKETS, "ping, pong and the closing handshake")
async def _(web):
    socket = await web.socket("/ws/echo", None)
    await within(await socket.ping(b"here?"), "the pong")
    await socket.close(1000, "bye")
    expect((socket.close_code, socket.protocol.close_rcvd.code), (1000, 1000), "the codes")


@case(WEBSOCKETS, "a sub-protocol is chosen, and one that nobody speaks is refused")
async def _(web):
    coap = ("coap", "/.well-known/coap")
    for protocol, path in (("mqtt", "/mqtt"), ("v12.stomp", "/stomp"), ("althing.json", "/json"), ("mqtt", "/"), coap):
        expect((await web.socket(path, protocol)).subprotocol, protocol, f"the sub-protocol at {path}")
    try:
        await web.socket("/json", "chat.example")
    except websockets.InvalidHandshake:
        return
    raise AssertionError("nobody speaks chat.example")


@case(WEBSOCKETS, "MQTT packets split and joined over frames in any way")
async def _(web):
    socket = await web.socket("/mqtt", "mqtt")
    hello = connect_packet("", version=5)
    for byte in hello[:-1]:
        await socket.send(bytes([byte]))
    # The last byte, and two pings in the same frame.
    await socket.send(hello[-1:] + b"\xc0\0\xc0\0")
    got = b""
    while not got.endswith(b"\xd0\0\xd0\0"):
        got += await within(socket.recv(), "CONNACK and two PINGRESP")
    expect(got[0], 0x20, "the first packet")
    # One packet in fragments of one message.
    await socket.send([b"\xc0", b"\0"])
    expect(await within(socket.recv(), "PINGRESP"), b"\xd0\0", "the answer")


@case(WEBSOCKETS, "althing.json: publish, subscribe, fetch, unsubscribe")
async def _(web):
    speaker = await web.speaker()
    granted = await speaker.ask("subscribed", type="subscribe", filter=f"{web.topic}/+", qos=1)
    expect(granted["results"][0]["qos"], 1, "the granted QoS")
    await speaker.say(type="publish", topic=f"{web.topic}/a", payload="21.5", qos=1, retain=True)
    message = await speaker.expect("message")
    expect((message["topic"], message["payload"]), (f"{web.topic}/a", "21.5"), "the message")
    fetched = await speaker.ask("value", type="fetch", topic=f"{web.topic}/a")
    expect(fetched["message"]["payload"], "21.5", "the last value")
    await speaker.ask("unsubscribed", type="unsubscribe", filter=f"{web.topic}/+")
    published = await speaker.ask("published", type="publish", topic=f"{web.topic}/a", payload="", retain=True)
    expect(published["matched"], False, "whether anybody hears it")


@case(WEBSOCKETS, "althing.json: bytes in binary messages, and in base64")
async def _(web):
    speaker = await web.speaker()
    await speaker.ask("subscribed", type="subscribe", filter=web.topic)
    payload = bytes(range(256))
    head = json.dumps({"type": "publish", "topic": web.topic}).encode()
    await speaker.socket.send(struct.pack("!I", len(head)) + head + payload)
    message = await speaker.expect("message")
    expect(base64.b64decode(message["payload_base64"]), payload, "the payload")


@case(WEBSOCKETS, "althing.json: a window of two, acknowledged one by one")
async def _(web):
    speaker = Speaker(await web.socket())
    await speaker.say(type="connect", ack="manual", window=2)
    await speaker.expect("connected")
    await speaker.ask("subscribed", type="subscribe", filter=web.topic, qos=1)
    for number in range(4):
        await web.post(f"/topics/{web.topic}", b"%d" % number)
    first, second = await speaker.expect("message"), await speaker.expect("message")
    # Nothing else may come before an acknowledgement: the pong is next.
    await speaker.ask("pong", type="ping")
    for message in (first, second):
        await speaker.say(type="ack", number=message["number"])
    rest = [(await speaker.expect("message"))["payload"] for _ in range(2)]
    expect([first["payload"], second["payload"], *rest], ["0", "1", "2", "3"], "the payloads")


@case(WEBSOCKETS, "althing.json: a mistake ends nothing, and is said")
async def _(web):
    speaker = await web.speaker()
    for text in ('{"type": "publish", "topic": "a/+"}', '{"type": "sing"}', "{", '{"type": "publish", "topic": "a", "retained": true}'):
        await speaker.socket.send(text)
        expect(bool((await speaker.expect("error"))["text"]), True, "a sentence")
    await speaker.ask("pong", type="ping")


@case(WEBSOCKETS, "cross-protocol: mosquitto_pub, JSON, curl's event stream, and their properties")
async def _(web):
    speaker, stream = await web.speaker(), await web.stream(f"/topics/{web.topic}")
    await speaker.ask("subscribed", type="subscribe", filter=web.topic, qos=1)
    properties = ["-D", "publish", "user-property", "a", "1", "-D", "publish", "user-property", "a", "2"]
    properties += ["-D", "publish", "message-expiry-interval", "3600"]
    await web.publish("-V", "5", "-q", "1", "-t", web.topic, "-m", "hi", *properties)
    for message in (await speaker.expect("message"), (await stream.message()).message):
        said = message["properties"]
        expect((message["payload"], said["user"]), ("hi", [["a", "1"], ["a", "2"]]), "the message")
        expect(3590 <= said["expiry_s"] <= 3600, True, f"{said['expiry_s']} s left")
    async with web.subscriber("-V", "5", "-q", "1", "-t", web.topic, "-F", "MESSAGE %p %P") as message:
        properties = {"user": [["b", "3"]], "content_type": "text/plain"}
        await speaker.say(type="publish", topic=web.topic, payload="ho", qos=1, properties=properties)
        expect(await message(), "ho b:3", "the line")


@case(HTTPX, "HTTP/2: many requests on one connection, in parallel")
async def _(web):
    client = web.http()

    async def each(number):
        path = f"/topics/{web.topic}/{number}"
        put = await client.put(path, content=b"%d" % number)
        got = await client.get(path)
        await client.delete(path)
        return put.is_success, put.http_version, got.content

    answers = await asyncio.gather(*(each(number) for number in range(50)))
    expect(answers, [(True, "HTTP/2", b"%d" % number) for number in range(50)], "the answers")


@case(HTTPX, "HTTP/2: event streams beside publishes, on one connection")
async def _(web):
    client = web.http()
    async with contextlib.AsyncExitStack() as stack:
        streams = []
        for number in range(10):
            headers = {"Accept": "text/event-stream"}
            answer = await stack.enter_async_context(client.stream("GET", f"/topics/{web.topic}/{number}", headers=headers))
            expect((answer.status_code, answer.http_version), (200, "HTTP/2"), "the answer")
            streams.append(Stream(lines_of(answer)))
        for number in range(10):
            await client.post(f"/topics/{web.topic}/{number}", content=b"%d" % number)
        got = [(await stream.message()).payload for stream in streams]
        expect(got, [str(number) for number in range(10)], "the payloads")


def lines_of(answer):
    """A coroutine function that gives the lines of a streamed answer."""
    lines = answer.aiter_lines()

    async def readline():
        try:
            return (await anext(lines)).encode() + b"\n"
        except StopAsyncIteration:
            return b""

    return readline


@case(WS, "echo, with text, bytes and a pong")
async def _(web):
    node = await web.node()
    await node.ask("open", url=f"ws://{HOST}:{web.broker.web_port}/ws/echo", protocols=[])
    await node.ask("send", text="Hello")
    expect(await within(node.said.get(), "the echo"), {"text": "Hello OK"}, "the echo")
    await node.ask("ping")
    expect(await within(node.said.get(), "the pong"), {"pong": True}, "the pong")
    await node.ask("close", code=1000, reason="bye")
    closed = await within(node.said.get(), "the close")
    expect(closed["closed"]["code"], 1000, "the code")


@case(WS, "althing.json")
async def _(web):
    node = await web.node()
    opened = await node.ask("open", url=f"ws://{HOST}:{web.broker.web_port}/json", protocols=["althing.json"])
    expect(opened["protocol"], "althing.json", "the sub-protocol")
    await node.ask("send", text=json.dumps({"type": "subscribe", "id": 1, "filter": web.topic}))
    await node.ask("send", text=json.dumps({"type": "publish", "topic": web.topic, "payload": "hi"}))
    kinds = []
    while "message" not in kinds:
        kinds.append(json.loads((await within(node.said.get(), "a message"))["text"])["type"])
    expect(kinds[-2:], ["subscribed", "message"], "what came")


@case(EVENTSOURCE, "events come, named and numbered")
async def _(web):
    await web.put(f"/topics/{web.topic}/a", b"old")
    node = await web.node()
    await node.ask("listen", url=web.url(f"/topics?filter={web.topic}/%23"))
    await web.post(f"/topics/{web.topic}/b", b"new")
    got = [Event(**(await of_kind(node, "event"))) for _ in range(2)]
    expect([(event.name, event.payload) for event in got], [("retained", "old"), ("message", "new")], "the events")
    await web.well(f"/topics/{web.topic}/a", "-X", "DELETE")


@case(EVENTSOURCE, "it comes back by itself after the broker did, and hears that something was missed")
async def _(web):
    broker = type(web.broker)()
    await broker.start()
    web.broker = broker
    try:
        node = await web.node()
        await node.ask("listen", url=web.url(f"/topics/{web.topic}"))
        await of_kind(node, "opened")
        await web.post(f"/topics/{web.topic}", b"before")
        expect(Event(**(await of_kind(node, "event"))).payload, "before", "the event")
        await broker.stop()
        await broker.start()
        await of_kind(node, "opened")
        expect((await of_kind(node, "event"))["name"], "gap", "the first event")
        await web.post(f"/topics/{web.topic}", b"after")
        expect(Event(**(await of_kind(node, "event"))).payload, "after", "the event")
    finally:
        await broker.stop()
        broker.remove()


async def of_kind(node, kind):
    while kind not in (said := await within(node.said.get(), kind)):
        pass
    return said[kind]


COLUMNS = {
    "websockets": column(WEBSOCKETS, Clients),
    "httpx": column(HTTPX, Clients),
    "ws": column(WS, Clients),
    "eventsource": column(EVENTSOURCE, Clients),
}
