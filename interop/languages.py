"""Every language to every other one: a message and a last value, with the properties that both languages have words for.

Each language is a library that knows nothing of the others: aiomqtt (MQTT 5), httpx (HTTP), stomp.py (STOMP), aiocoap (CoAP).
"""

import asyncio
import contextlib
import json
from dataclasses import dataclass

import aiocoap
import aiomqtt
import httpx
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from broker import HOST
from report import expect, within
from stomp_peers import StompPyPeer

LIFE_S = 500
# Content formats (RFC 7252 §12.3) and what they stand for.
FORMATS = {50: "application/json", 60: "application/cbor"}


@dataclass
class Word:
    """A message as a language says it; what it has no word for is None."""

    payload: bytes
    content_type: str = None
    life_s: int = None


class Voice:
    """One language: `say` and `hear` messages of a topic, `keep` and `last` for last values."""

    name = None

    def __init__(self, broker):
        self.broker, self.closing = broker, contextlib.AsyncExitStack()

    async def say(self, topic, word, retain=False):
        raise NotImplementedError

    async def hear(self, topic):
        """Returns, once messages of the topic come, a coroutine function that waits for the next one."""
        raise NotImplementedError

    async def last(self, topic):
        raise NotImplementedError


class Mqtt(Voice):
    name = "MQTT"

    async def client(self):
        client = aiomqtt.Client(HOST, self.broker.port, protocol=aiomqtt.ProtocolVersion.V5)
        return await self.closing.enter_async_context(client)

    async def say(self, topic, word, retain=False):
        properties = Properties(PacketTypes.PUBLISH)
        properties.ContentType, properties.MessageExpiryInterval = word.content_type, word.life_s
        await (await self.client()).publish(topic, word.payload, qos=1, retain=retain, properties=properties)

    async def hear(self, topic):
        client = await self.client()
        await client.subscribe(topic, qos=1)

        async def heard():
            message = await within(anext(aiter(client.messages)), "a message over MQTT")
            properties = message.properties
            life_s = getattr(properties, "MessageExpiryInterval", None)
            return Word(message.payload, getattr(properties, "ContentType", None), life_s)

        return heard

    async def last(self, topic):
        return await (await self.hear(topic))()


class Http(Voice):
    name = "HTTP"

    async def client(self):
        base = f"http://{HOST}:{self.broker.web_port}"
        return await self.closing.enter_async_context(httpx.AsyncClient(base_url=base, timeout=30))

    async def say(self, topic, word, retain=False):
        headers = {"Content-Type": word.content_type, "Althing-Expiry": str(word.life_s)}
        method = "PUT" if retain else "POST"
        answer = await (await self.client()).request(method, f"/topics/{topic}", content=word.payload, headers=headers)
        expect(answer.status_code, 204, "the status of a publish")

    async def hear(self, topic):
        client = await self.client()
        stream = client.stream("GET", "/topics", params={"filter": topic}, headers={"Accept": "text/event-stream"})
        answer = await self.closing.enter_async_context(stream)
        expect(answer.status_code, 200, "the status of a subscription")
        lines = answer.aiter_lines()

        async def heard():
            while not (line := await within(anext(lines), "a message over HTTP")).startswith("data:"):
                pass
            message = json.loads(line.removeprefix("data:"))
            properties = message.get("properties", {})
            return Word(message["payload"].encode(), properties.get("content_type"), properties.get("expiry_s"))

        return heard

    async def last(self, topic):
        answer = await (await self.client()).get(f"/topics/{topic}")
        expect(answer.status_code, 200, "the status of a last value")
        return Word(answer.content, answer.headers["Content-Type"], int(answer.headers["Althing-Expiry"]))


class Stomp(Voice):
    name = "STOMP"

    async def client(self):
        peer = StompPyPeer(HOST, self.broker.stomp_port)
        await peer.connect()
        self.closing.push_async_callback(peer.drop)
        return peer

    async def say(self, topic, word, retain=False):
        headers = {"content-type": word.content_type, "expiration": str(word.life_s * 1000)}
        await (await self.client()).send(f"/topic/{topic}", word.payload, headers | ({"retain": "true"} if retain else {}))

    async def hear(self, topic):
        peer = await self.client()
        await peer.subscribe(f"/topic/{topic}")

        async def heard():
            message = await peer.next()
            life_ms = message.headers.get("expiration")
            return Word(message.body, message.headers.get("content-type"), life_ms and int(life_ms) / 1000)

        return heard

    async def last(self, topic):
        return await (await self.hear(topic))()


class Coap(Voice):
    name = "CoAP"

    async def client(self):
        context = await aiocoap.Context.create_client_context()
        self.closing.push_async_callback(context.shutdown)
        return context

    def message(self, code, topic, **options):
        return aiocoap.Message(code=code, uri=f"coap://{HOST}:{self.broker.coap_port}/t/{topic}", **options)

    async def say(self, topic, word, retain=False):
        number = next(number for number, name in FORMATS.items() if name == word.content_type)
        code = aiocoap.PUT if retain else aiocoap.POST
        message = self.message(code, topic, payload=word.payload, content_format=number, max_age=word.life_s)
        answer = await within((await self.client()).request(message).response, "the response to a publish")
        expect(answer.code.is_successful(), True, f"the success of {answer.code}")

    async def hear(self, topic):
        # The library observes as long as somebody holds the request.
        self.observing = request = (await self.client()).request(self.message(aiocoap.GET, topic, observe=0))
        told = asyncio.Queue()
        request.observation.register_callback(told.put_nowait)
        await within(request.response, "the first response")

        async def heard():
            # An observation begins with the state: empty, where there is none.
            while not (message := await within(told.get(), "a notification")).payload:
                pass
            return self.word(message)

        return heard

    async def last(self, topic):
        message = await within((await self.client()).request(self.message(aiocoap.GET, topic)).response, "the response")
        expect(message.code, aiocoap.CONTENT, "the code of a last value")
        return self.word(message)

    @staticmethod
    def word(message):
        return Word(message.payload, FORMATS.get(message.opt.content_format), message.opt.max_age)


VOICES = [Mqtt, Http, Stomp, Coap]
KINDS = ["a message", "a last value"]


async def run(client, broker, report, wanted):
    for speaker in VOICES:
        for hearer in VOICES:
            for kind in KINDS:
                name = f"{speaker.name} to {hearer.name}: {kind}"
                if wanted(name):
                    topic = f"{client}/{speaker.name}/{hearer.name}/{kind.replace(' ', '-')}"
                    await report.run(client, name, crossing(speaker(broker), hearer(broker), kind, topic), None)


async def crossing(speaker, hearer, kind, topic):
    """What one says the other hears, as far as both have words for it."""
    async with speaker.closing, hearer.closing:
        said = Word(b'{"value":21.5}', "application/json", LIFE_S)
        if kind == "a message":
            heard = await hearer.hear(topic)
            await speaker.say(topic, said)
            word = await heard()
        else:
            await speaker.say(topic, said, retain=True)
            word = await hearer.last(topic)
        expect((word.payload, word.content_type), (said.payload, said.content_type), "payload and content type")
        expect(word.life_s is not None and LIFE_S - 60 < word.life_s <= LIFE_S, True, f"what is left of {LIFE_S} s, {word.life_s},")
