"""curl at a prompt: HTTP/1.1 and HTTP/2, last values, event streams and their resumption, questions, batches; h2load."""

import asyncio
import json
import re

from broker import HOST
from peers import Options
from peers_paho import PahoPeer
from report import case_of, expect, within
from web import SPEECHES, Web, column

TABLE = []
case = case_of(TABLE)


run = column(TABLE)


def _each_speech(speech):
    @case(f"{speech}: PUT, GET, 304, DELETE")
    async def _(web):
        web.speech = speech
        path = f"/topics/{web.topic}/value"
        expect((await web.curl(path)).status, 404, "the status where there is no value")
        await web.put(path, b"21.5", "-H", "Content-Type: text/plain")
        answer = await web.curl(path)
        expect(answer.version, "HTTP/2" if "HTTP/2" in speech else "HTTP/1.1", "the version")
        expect((answer.status, answer.body, answer.headers["content-type"]), (200, b"21.5", "text/plain"), "the value")
        tag = answer.headers["etag"]
        expect((await web.curl(path, "-H", f"If-None-Match: {tag}")).status, 304, "the status for one who has it")
        await web.put(path, b"22.0")
        again = await web.curl(path, "-H", f"If-None-Match: {tag}")
        expect((again.status, again.body), (200, b"22.0"), "the next value")
        await web.well(path, "-X", "DELETE")
        expect((await web.curl(path)).status, 404, "the status after DELETE")

    @case(f"{speech}: an event stream, last values first")
    async def _(web):
        web.speech = speech
        await web.put(f"/topics/{web.topic}/a", b"old")
        stream = await web.stream(f"/topics?filter={web.topic}/%23")
        event = await stream.message()
        expect((event.name, event.payload), ("retained", "old"), "the first event")
        await web.post(f"/topics/{web.topic}/b/c", b"new")
        event = await stream.message()
        expect((event.name, event.payload, event.message["topic"]), ("message", "new", f"{web.topic}/b/c"), "the next")
        expect(bool(event.id), True, "an event has an id")
        await web.well(f"/topics/{web.topic}/a", "-X", "DELETE")


for _speech in SPEECHES:
    _each_speech(_speech)


@case("an event stream goes on after Last-Event-ID, without loss")
async def _(web):
    path = f"/topics/{web.topic}/+"
    stream = await web.stream(path)
    for number in range(3):
        await web.post(f"/topics/{web.topic}/n", b"%d" % number)
    seen = [await stream.message() for _ in range(2)]
    await stream.end()
    for number in range(3, 6):
        await web.post(f"/topics/{web.topic}/n", b"%d" % number)
    resumed = await web.stream(path, "-H", f"Last-Event-ID: {seen[-1].id}")
    rest = [(await resumed.message()).payload for _ in range(4)]
    expect([event.payload for event in seen] + rest, [str(number) for number in range(6)], "the payloads")


@case("an event stream that cannot go on says so")
async def _(web):
    stream = await web.stream(f"/topics/{web.topic}", "-H", f"Last-Event-ID: {'0' * 31}1.7")
    event = await stream.next()
    expect(event.name, "gap", "the first event")


@case("an event stream of payloads: any line ending stays inside its event")
async def _(web):
    stream = await web.stream(f"/topics/{web.topic}?data=payload")
    for payload in (b"one\ntwo", b"id: 7\r\nevent: forged\r\n\r\ndata: x", b"three"):
        await web.post(f"/topics/{web.topic}", payload)
    events = [await stream.next() for _ in range(3)]
    expect([event.name for event in events], ["message"] * 3, "the names")
    expect(events[0].data, "one\ntwo", "two lines")
    expect(events[2].data, "three", "the last")


@case("the guarantee in a header and in the query")
async def _(web):
    for number, options in enumerate((["-H", "Althing-QoS: 0"], ["-H", "Althing-QoS: 1"], ["-H", "Althing-QoS: 2"])):
        async with web.subscriber("-q", "2", "-t", web.topic) as message:
            await web.post(f"/topics/{web.topic}", b"x", *options)
            expect(await message(), f"{web.topic} {number} 0 x", "the line")
    expect((await web.curl(f"/topics/{web.topic}?qos=3", said=b"x")).status, 400, "the status of QoS 3")


@case("Idempotency-Key: published once, answered twice")
async def _(web):
    key = ["-H", f'Idempotency-Key: "{web.topic}"']
    async with web.subscriber("-q", "1", "-t", web.topic) as message:
        for _ in range(3):
            await web.post(f"/topics/{web.topic}", b"once", *key)
        await web.post(f"/topics/{web.topic}", b"fence")
        expect([await message(), await message()], [f"{web.topic} 1 0 once", f"{web.topic} 1 0 fence"], "the lines")
    other = await web.curl(f"/topics/{web.topic}", *key, said=b"another")
    expect(other.status, 422, "the status of the same key for something else")


@case("a batch: JSON, and one object a line")
async def _(web):
    messages = [{"topic": f"{web.topic}/{number}", "payload": str(number), "qos": 1} for number in range(3)]
    array = json.dumps(messages).encode()
    lines = b"\n".join(json.dumps(message).encode() for message in messages)
    for body, media_type in ((array, "application/json"), (lines, "application/x-ndjson")):
        async with web.subscriber("-q", "1", "-t", f"{web.topic}/+") as message:
            await web.post("/topics:batch", body, "-H", f"Content-Type: {media_type}")
            got = [await message() for _ in range(3)]
            expect(got, [f"{web.topic}/{number} 1 0 {number}" for number in range(3)], "the lines")


@case("a long poll, for those without streams")
async def _(web):
    waiting = asyncio.ensure_future(web.curl(f"/topics/{web.topic}/+?wait=20"))

    async def told():
        # Nothing says that the broker listens for it: tell it until it has heard.
        while not waiting.done():
            await web.post(f"/topics/{web.topic}/a", b"here")

    telling = asyncio.ensure_future(told())
    answer = await within(waiting, "the answer")
    await telling
    expect((answer.status, answer.body), (200, b"here"), "the answer")


@case("a question over HTTP is answered in MQTT")
async def _(web):
    peer = PahoPeer(HOST, web.broker.port, 5, Options(web.topic))
    await peer.connect()
    await peer.subscribe(web.topic)
    asking = asyncio.ensure_future(web.curl(f"/request/{web.topic}?wait=20", said=b"who?"))
    question = await peer.next()
    properties = question.properties
    correlation = {"correlation_data": properties["correlation_data"]} if "correlation_data" in properties else {}
    await peer.publish(properties["response_topic"], b"me", 1, **correlation)
    answer = await within(asking, "the answer")
    await peer.disconnect()
    expect((answer.status, answer.body), (200, b"me"), "the answer")


@case("a question that nobody answers")
async def _(web):
    answer = await web.curl(f"/request/{web.topic}?wait=1", said=b"anyone?")
    expect(answer.status in (404, 504), True, f"{answer.status} says that nobody answered")


@case("a body of 1 MiB, and one that is too large")
async def _(web):
    await web.put(f"/topics/{web.topic}", b"x" * (1 << 20))
    expect(len((await web.curl(f"/topics/{web.topic}")).body), 1 << 20, "the length")
    await web.well(f"/topics/{web.topic}", "-X", "DELETE")
    too_large = await web.curl(f"/topics/{web.topic}", "-H", "Expect:", said=b"x" * (3 << 20))
    expect(too_large.status, 413, "the status of 3 MiB")


@case("what is wrong is said as a problem")
async def _(web):
    for path, options, status in (
        ("/topics/a/+", ["-X", "PUT", "-d", "x"], 400),
        ("/topics/a%2Fb", ["-X", "PUT", "-d", "x"], 400),
        ("/topics/a?retian=1", ["-d", "x"], 400),
        ("/topics/a", ["-X", "PATCH", "-d", "x"], 405),
        ("/topics", [], 404),
        (f"/topics/{web.topic}/nothing", [], 404),
    ):
        answer = await web.curl(path, *options)
        expect(answer.status, status, f"the status of {path}")
        expect(answer.headers.get("content-type"), "application/problem+json", f"the type of {path}")
        expect(bool(answer.json["detail"]), True, "a sentence")


@case("what it can do is described: OpenAPI and AsyncAPI")
async def _(web):
    token = ["-H", f"Authorization: Bearer {web.broker.token()}"]
    openapi = (await web.well("/api/v1/openapi.json", *token)).json
    expect(openapi["openapi"][:2], "3.", "the version of OpenAPI")
    asyncapi = (await web.well("/asyncapi.json")).json
    expect(asyncapi["asyncapi"][:2], "3.", "the version of AsyncAPI")


@case("one message, four languages, with its properties")
async def _(web):
    """From mosquitto_pub to curl and back; what MQTT 5 says about a message, the headers say too."""
    stream = await web.stream(f"/topics/{web.topic}")
    words = ["content-type", "text/csv", "response-topic", "back", "correlation-data", "c1", "user-property", "colour", "red"]
    pairs = list(zip(words[0:6:2], words[1:6:2]))
    properties = [word for pair in pairs for word in ("-D", "publish", *pair)] + ["-D", "publish", *words[6:]]
    await web.publish("-V", "5", "-q", "1", "-r", "-t", web.topic, "-m", "1;2", *properties)
    said = (await stream.message()).message
    expect((said["payload"], said["properties"]["content_type"]), ("1;2", "text/csv"), "the event")
    answer = await web.curl(f"/topics/{web.topic}")
    got = {name: answer.headers.get(name) for name in ("content-type", "althing-response-topic", "althing-user-property")}
    wanted = {"content-type": "text/csv", "althing-response-topic": "back", "althing-user-property": "colour=red"}
    expect(got, wanted, "the headers")
    async with web.subscriber("-V", "5", "-t", f"{web.topic}/back", "-F", "MESSAGE %t %C %P %p") as message:
        headers = ["-H", "Content-Type: text/csv", "-H", "Althing-User-Property: colour=red"]
        await web.post(f"/topics/{web.topic}/back", b"3;4", *headers)
        expect(await message(), f"{web.topic}/back text/csv colour:red 3;4", "the line")
    await web.well(f"/topics/{web.topic}", "-X", "DELETE")


@case("h2load: thousands of requests in parallel")
async def _(web):
    body = web.broker.folder / "body"
    body.write_bytes(b"21.5")
    url = web.url(f"/topics/{web.topic}")
    for options in (["--h1"], ["-m", "16"]):
        said = await web.call("h2load", "-n", "4000", "-c", "8", "-d", str(body), *options, url, where=[])
        counts = re.search(rb"requests: (\d+) total, .*?(\d+) succeeded", said)
        expect(counts and counts.groups(), (b"4000", b"4000"), f"requests, of {said[-300:]!r},")
        statuses = re.search(rb"status codes: (\d+) 2xx", said)
        expect(statuses and statuses[1], b"4000", "successes")
