"""MQTT.js: MQTT 3.1, 3.1.1 and 5. The client runs in Node.js (mqttjs.mjs)."""

from dataclasses import asdict

import node
from node import Node
from peers import Message, Peer, Refused


class MqttJsPeer(Peer):
    # It keeps user properties in an object: the order among different names is lost on its side.
    lacks = frozenset({"interleaved user properties"})

    async def connect(self):
        self.node = Node("mqttjs.mjs", self._hear)
        await self.node.start()
        connack = await self._ask("connect", host=self.host, port=self.port, version=self.version, options=asdict(self.options))
        self.session_present = connack.pop("session_present")
        self.connack = connack

    def _hear(self, said):
        if said is None:
            self.lose()
        elif "closed" in said:
            self.lose(said["closed"].get("code"))
        else:
            said["message"]["properties"]["user"] = [tuple(pair) for pair in said["message"]["properties"].get("user", [])]
            if not said["message"]["properties"]["user"]:
                del said["message"]["properties"]["user"]
            self.take(Message(**said["message"]))

    async def _ask(self, verb, **arguments):
        try:
            return await self.node.ask(verb, **arguments)
        except node.Refused as refused:
            raise Refused(refused.code) from None

    async def subscribe(self, topic_filter, qos=0, no_local=False, retain_as_published=False, retain_handling=0,
                        identifier=None):
        return await self._ask("subscribe", filter=topic_filter, qos=qos, no_local=no_local,
                               retain_as_published=retain_as_published, retain_handling=retain_handling, identifier=identifier)

    async def unsubscribe(self, topic_filter):
        await self._ask("unsubscribe", filter=topic_filter)

    async def publish(self, topic, payload=b"", qos=0, retain=False, **properties):
        await self._ask("publish", topic=topic, payload=payload, qos=qos, retain=retain, properties=properties)

    async def disconnect(self, with_will=False):
        await self._ask("disconnect", with_will=with_will)
        await self.node.end()

    async def drop(self):
        self.node.kill()
        await self.node.end()
