"""paho-mqtt: MQTT 3.1, 3.1.1 and 5, its network loop in a thread of its own."""

import asyncio
import socket

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

import paho_words
from peers import OverWebSocket, Peer, Refused
from report import within


class PahoPeer(Peer):
    lacks = frozenset({"incoming topic aliases"})

    async def connect(self):
        loop = asyncio.get_running_loop()
        options = self.options
        self.connected = loop.create_future()
        # Answers by packet id; an answer may overtake the call that learns its id.
        self.answers = {}
        session = {} if self.version == 5 else {"clean_session": options.clean}
        self.client = client = paho.Client(
            CallbackAPIVersion.VERSION2,
            options.client_id,
            protocol=self.version,
            transport="websockets" if self.web_path else "tcp",
            reconnect_on_failure=False,
            **session,
        )
        if self.web_path:
            client.ws_set_options(self.web_path)

        def on_loop(call):
            return lambda _client, _data, *arguments: loop.call_soon_threadsafe(call, *arguments)

        client.on_connect = on_loop(self._connected)
        client.on_connect_fail = on_loop(lambda: self.lose())
        client.on_disconnect = on_loop(
            lambda flags, code, _: self.lose(code.value if flags.is_disconnect_packet_from_server else None)
        )
        client.on_message = on_loop(lambda received: self.take(paho_words.message(received)))
        client.on_subscribe = on_loop(lambda mid, codes, _: self._answer(mid).set_result(codes[0].value))
        client.on_unsubscribe = on_loop(lambda mid, _codes, _: self._answer(mid).set_result(None))
        client.on_publish = on_loop(lambda mid, code, _: self._answer(mid).set_result(code.value))
        if options.will:
            will = options.will
            client.will_set(
                will.topic, will.payload, will.qos, will.retain, paho_words.will_properties(will, self.version)
            )
        if self.ca:
            client.tls_set(self.ca)
        start = {"clean_start": options.clean} if self.version == 5 else {}
        await asyncio.to_thread(
            client.connect,
            self.host,
            self.port,
            options.keep_alive_s,
            properties=paho_words.connect_properties(options, self.version),
            **start,
        )
        client.loop_start()
        await within(self.connected, "CONNACK")

    def _connected(self, flags, code, properties):
        self.session_present = flags.session_present
        self.connack = paho_words.read(paho_words.CONNACK, properties)
        if self.connected.done():
            return
        if code.is_failure:
            self.connected.set_exception(Refused(code.value))
        else:
            self.connected.set_result(None)

    def _answer(self, mid):
        return self.answers.setdefault(mid, asyncio.get_running_loop().create_future())

    async def _answered(self, mid, what):
        code = await within(self._answer(mid), what)
        del self.answers[mid]
        return code

    async def subscribe(
        self, topic_filter, qos=0, no_local=False, retain_as_published=False, retain_handling=0, identifier=None
    ):
        if self.version == 5:
            options = SubscribeOptions(qos, no_local, retain_as_published, retain_handling)
            properties = Properties(PacketTypes.SUBSCRIBE)
            if identifier is not None:
                properties.SubscriptionIdentifier = identifier
            _, mid = self.client.subscribe(topic_filter, options=options, properties=properties)
        else:
            _, mid = self.client.subscribe(topic_filter, qos)
        return await self._answered(mid, "SUBACK")

    async def unsubscribe(self, topic_filter):
        _, mid = self.client.unsubscribe(topic_filter)
        await self._answered(mid, "UNSUBACK")

    async def publish(self, topic, payload=b"", qos=0, retain=False, **properties):
        written = (
            paho_words.properties(PacketTypes.PUBLISH, paho_words.PUBLISH, properties) if self.version == 5 else None
        )
        mid = self.client.publish(topic, payload, qos, retain, written).mid
        code = await self._answered(mid, f"the acknowledgement of QoS {qos}")
        if code >= 0x80:
            raise Refused(code)

    async def disconnect(self, with_will=False):
        reason = ReasonCode(PacketTypes.DISCONNECT, identifier=4) if with_will else None
        self.client.disconnect(reason)
        await within(self.closed, "the close")
        await asyncio.to_thread(self.client.loop_stop)

    async def drop(self):
        connection = self.client.socket()
        if connection is not None:
            try:
                # The library wraps the socket of a WebSocket and keeps most of it to itself.
                getattr(connection, "_socket", connection).shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # already gone
        await asyncio.to_thread(self.client.loop_stop)
        self.lose()


class PahoWebPeer(OverWebSocket, PahoPeer):
    pass
