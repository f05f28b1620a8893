"""MQTT.js: MQTT 3.1, 3.1.1 and 5. The clients run in Node.js (mqttjs.mjs); both sides speak one JSON object a line."""

import asyncio
import base64
import itertools
import json
from dataclasses import asdict
from pathlib import Path

from peers import Message, Peer, Refused
from report import within

LINE_BYTES_MAX = 8 << 20


def encoded(value):
    """Bytes travel as {"bytes": base64}."""
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {name: encoded(inner) for name, inner in value.items() if inner is not None}
    return value


def decoded(value):
    if isinstance(value, dict):
        if set(value) == {"bytes"}:
            return base64.b64decode(value["bytes"])
        return {name: decoded(inner) for name, inner in value.items()}
    return value


class Node:
    """The process that all peers share. The first one starts it; it ends when our end of its input closes."""

    started = None

    @classmethod
    async def get(cls):
        if cls.started is None:
            cls.started = cls()
            await cls.started._start()
        return cls.started

    async def _start(self):
        self.process = await asyncio.create_subprocess_exec(
            "node",
            str(Path(__file__).with_name("mqttjs.mjs")),
            limit=LINE_BYTES_MAX,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self.numbers = itertools.count()
        self.peers, self.answers = {}, {}
        self.reading = asyncio.ensure_future(self._read())

    async def _read(self):
        while line := await self.process.stdout.readline():
            said = decoded(json.loads(line))
            if "number" in said:
                self._answer(self.answers.pop(said["number"]), said)
            elif "message" in said:
                self.peers[said["peer"]].take(self._message(said["message"]))
            else:
                self.peers[said["peer"]].lose(said["closed"].get("code"))

    @staticmethod
    def _message(said):
        if "user" in said["properties"]:
            said["properties"]["user"] = [tuple(pair) for pair in said["properties"]["user"]]
        return Message(**said)

    @staticmethod
    def _answer(answer, said):
        if answer.done():
            return
        if "refused" in said:
            answer.set_exception(Refused(said["refused"]))
        elif "error" in said:
            answer.set_exception(AssertionError(said["error"]))
        else:
            answer.set_result(said.get("answer"))

    async def ask(self, peer, verb, **arguments):
        number = next(self.numbers)
        answer = self.answers[number] = asyncio.get_running_loop().create_future()
        line = {"number": number, "peer": peer, "verb": verb, **encoded(arguments)}
        self.process.stdin.write(json.dumps(line).encode() + b"\n")
        return await within(answer, f"MQTT.js to {verb}")


class MqttJsPeer(Peer):
    # It keeps user properties in an object: the order among different names is lost on its side.
    lacks = frozenset({"interleaved user properties"})

    async def connect(self):
        self.node = await Node.get()
        self.number = next(self.node.numbers)
        self.node.peers[self.number] = self
        connack = await self._ask(
            "connect", host=self.host, port=self.port, version=self.version, options=asdict(self.options)
        )
        self.session_present = connack.pop("session_present")
        self.connack = connack

    async def _ask(self, verb, **arguments):
        return await self.node.ask(self.number, verb, **arguments)

    async def subscribe(
        self, topic_filter, qos=0, no_local=False, retain_as_published=False, retain_handling=0, identifier=None
    ):
        return await self._ask(
            "subscribe",
            filter=topic_filter,
            qos=qos,
            no_local=no_local,
            retain_as_published=retain_as_published,
            retain_handling=retain_handling,
            identifier=identifier,
        )

    async def unsubscribe(self, topic_filter):
        await self._ask("unsubscribe", filter=topic_filter)

    async def publish(self, topic, payload=b"", qos=0, retain=False, **properties):
        await self._ask("publish", topic=topic, payload=payload, qos=qos, retain=retain, properties=properties)

    async def disconnect(self, with_will=False):
        await self._ask("disconnect", with_will=with_will)
        await within(self.closed, "the close")

    async def drop(self):
        await self._ask("drop")
        await within(self.closed, "the close")
