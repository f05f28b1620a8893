"""gmqtt: MQTT 3.1.1 and 5 in asyncio."""

import asyncio

import gmqtt
from gmqtt.mqtt.handler import MQTTConnectError
from gmqtt.storage import PersistentStorage

from peers import Message, Peer, Refused
from report import within

PUBLISH = {
    "content_type": "content_type",
    "response_topic": "response_topic",
    "correlation_data": "correlation_data",
    "payload_format": "payload_format_id",
    "expiry_s": "message_expiry_interval",
    "topic_alias": "topic_alias",
    "user": "user_property",
    "identifiers": "subscription_identifier",
}
CONNECT = {
    "expiry_s": "session_expiry_interval",
    "receive_maximum": "receive_maximum",
    "maximum_packet_size": "maximum_packet_size",
    "topic_alias_maximum": "topic_alias_maximum",
}
CONNACK = {
    "server_keep_alive_s": "server_keep_alive",
    "receive_maximum": "receive_maximum",
    "topic_alias_maximum": "topic_alias_maximum",
}
LISTS = ("user", "identifiers")


class GmqttPeer(Peer):
    # It makes up a client id for an empty one, and its DISCONNECT arrives only as a closed connection.
    lacks = frozenset({"an empty client id", "the reason of a DISCONNECT"})

    async def connect(self):
        options, will = self.options, self.options.will
        properties = {}
        if self.version == 5:
            properties = {
                word: getattr(options, name) for name, word in CONNECT.items() if getattr(options, name) is not None
            }
        if will:
            delay = {"will_delay_interval": will.delay_s} if will.delay_s else {}
            will = gmqtt.Message(
                will.topic, will.payload, will.qos, will.retain, **self._written(will.properties), **delay
            )
        self.storage = PersistentStorage()
        self.answers = {}
        self.client = client = gmqtt.Client(
            options.client_id,
            clean_session=options.clean,
            will_message=will,
            persistent_storage=self.storage,
            **properties,
        )
        # Its own count starts at zero and must be at most this for it to try again.
        client.set_config({"reconnect_retries": -2})
        client.on_connect = self._connected
        client.on_message = self._received
        client.on_disconnect = lambda *_: self.lose()
        client.on_subscribe = lambda _client, mid, codes, _properties: self._answer(mid).set_result(codes[0])
        client.on_unsubscribe = lambda _client, mid, _codes: self._answer(mid).set_result(None)
        try:
            await within(
                client.connect(self.host, self.port, keepalive=options.keep_alive_s, version=self.version), "CONNACK"
            )
        except MQTTConnectError as error:
            raise Refused(error._code) from error

    def _connected(self, _client, session_present, _code, properties):
        self.session_present = bool(session_present)
        # Each of CONNACK's properties comes as a list; what CONNECT said stands among them as it was said.
        self.connack = {
            name: properties[word][0] for name, word in CONNACK.items() if isinstance(properties.get(word), list)
        }

    def _received(self, _client, topic, payload, qos, given):
        properties = {}
        for name, word in PUBLISH.items():
            if word in given:
                properties[name] = list(given[word]) if name in LISTS else given[word][0]
        self.take(Message(topic, bytes(payload), qos, bool(given["retain"]), properties))
        return 0

    def _answer(self, mid):
        return self.answers.setdefault(mid, asyncio.get_running_loop().create_future())

    async def _answered(self, mid, what):
        code = await within(self._answer(mid), what)
        del self.answers[mid]
        return code

    @staticmethod
    def _written(properties):
        return {PUBLISH[name]: value for name, value in properties.items() if value is not None}

    async def subscribe(
        self, topic_filter, qos=0, no_local=False, retain_as_published=False, retain_handling=0, identifier=None
    ):
        subscription = gmqtt.Subscription(topic_filter, qos, no_local, retain_as_published, retain_handling, identifier)
        return await self._answered(self.client.subscribe(subscription), "SUBACK")

    async def unsubscribe(self, topic_filter):
        await self._answered(self.client.unsubscribe(topic_filter), "UNSUBACK")

    async def publish(self, topic, payload=b"", qos=0, retain=False, **properties):
        self.client.publish(topic, payload, qos=qos, retain=retain, **self._written(properties))
        if qos > 0:
            await within(self.storage.wait_empty(), f"the acknowledgement of QoS {qos}")

    async def disconnect(self, with_will=False):
        await within(self.client.disconnect(reason_code=4 if with_will else 0), "the close")
        self.lose()

    async def drop(self):
        self.client._is_active = False
        self.client._connection._transport.abort()
        self.lose()
