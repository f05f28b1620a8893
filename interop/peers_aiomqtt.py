"""aiomqtt: MQTT 3.1.1 and 5 in asyncio."""

import asyncio
import socket

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

import paho_words
from peers import Peer, Refused
from report import DEADLINE_S, within


class Listening(aiomqtt.Client):
    """aiomqtt keeps CONNACK to itself; this subclass hands it on."""

    def __init__(self, peer, **arguments):
        self._peer = peer
        super().__init__(**arguments)

    def _on_connect(self, client, userdata, flags, reason_code, properties=None):
        self._peer.session_present = flags.session_present
        self._peer.connack = paho_words.read(paho_words.CONNACK, properties)
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(self, client, userdata, flags, reason_code, properties=None):
        self._peer.lose(reason_code.value if flags.is_disconnect_packet_from_server else None)
        super()._on_disconnect(client, userdata, flags, reason_code, properties)


class AiomqttPeer(Peer):
    lacks = frozenset({"incoming topic aliases", "disconnect with will"})

    async def connect(self):
        options, will = self.options, self.options.will
        arguments = {"clean_start": options.clean, "properties": paho_words.connect_properties(options, 5)}
        if self.version < 5:
            arguments = {"clean_session": options.clean}
        if will:
            arguments["will"] = aiomqtt.Will(
                will.topic, will.payload, will.qos, will.retain, paho_words.will_properties(will, self.version)
            )
        self.client = Listening(
            self,
            hostname=self.host,
            port=self.port,
            identifier=options.client_id,
            timeout=DEADLINE_S,
            protocol=aiomqtt.ProtocolVersion(self.version),
            keepalive=options.keep_alive_s,
            **arguments,
        )
        try:
            await within(self.client.__aenter__(), "CONNACK")
        except aiomqtt.MqttCodeError as error:
            raise Refused(getattr(error.rc, "value", error.rc)) from error
        self.reading = asyncio.ensure_future(self._read())

    async def _read(self):
        try:
            async for received in self.client.messages:
                self.take(paho_words.message(received))
        except aiomqtt.MqttError:
            self.lose()

    async def subscribe(
        self, topic_filter, qos=0, no_local=False, retain_as_published=False, retain_handling=0, identifier=None
    ):
        if self.version < 5:
            codes = await self.client.subscribe(topic_filter, qos)
        else:
            properties = Properties(PacketTypes.SUBSCRIBE)
            if identifier is not None:
                properties.SubscriptionIdentifier = identifier
            options = SubscribeOptions(qos, no_local, retain_as_published, retain_handling)
            codes = await self.client.subscribe(topic_filter, options=options, properties=properties)
        return getattr(codes[0], "value", codes[0])

    async def unsubscribe(self, topic_filter):
        await self.client.unsubscribe(topic_filter)

    async def publish(self, topic, payload=b"", qos=0, retain=False, **properties):
        written = (
            paho_words.properties(PacketTypes.PUBLISH, paho_words.PUBLISH, properties) if self.version == 5 else None
        )
        await self.client.publish(topic, payload, qos, retain, written)

    async def disconnect(self, with_will=False):
        self.reading.cancel()
        await within(self.client.__aexit__(None, None, None), "the close")

    async def drop(self):
        self.reading.cancel()
        connection = self.client._client.socket()
        if connection is not None:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # already gone
        try:
            await within(self.client.__aexit__(None, None, None), "the close")
        except aiomqtt.MqttError:
            pass  # it notices that the connection is gone: that was the point
        self.lose()
