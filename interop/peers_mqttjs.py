"""MQTT.js: MQTT 3.1, 3.1.1 and 5. The clients run in Node.js (mqttjs.mjs)."""

import itertools
from dataclasses import asdict
from pathlib import Path

from node import Node
from peers import Message, OverSecureWebSocket, OverWebSocket, Peer
from report import within


def hear(said):
    if said is None:
        return
    peer = PEERS[said["peer"]]
    if "message" not in said:
        return peer.lose(said["closed"].get("code"))
    message = said["message"]
    if "user" in message["properties"]:
        message["properties"]["user"] = [tuple(pair) for pair in message["properties"]["user"]]
    peer.take(Message(**message))


# The process that all peers share. The first one starts it; it ends when our end of its input closes.
CLIENTS = Node("mqttjs.mjs", hear)
PEERS, NUMBERS = {}, itertools.count()


class MqttJsPeer(Peer):
    # It keeps user properties in an object: the order among different names is lost on its side.
    lacks = frozenset({"interleaved user properties"})

    async def connect(self):
        await CLIENTS.start()
        self.number = next(NUMBERS)
        PEERS[self.number] = self
        connack = await self._ask(
            "connect",
            host=self.host,
            port=self.port,
            version=self.version,
            options=asdict(self.options),
            path=self.web_path,
            ca=self.ca and Path(self.ca).read_text(),
        )
        self.session_present = connack.pop("session_present")
        self.connack = connack

    async def _ask(self, verb, **arguments):
        return await CLIENTS.ask(verb, peer=self.number, **arguments)

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


class MqttJsWebPeer(OverWebSocket, MqttJsPeer):
    pass


class MqttJsSecureWebPeer(OverSecureWebSocket, MqttJsPeer):
    pass
