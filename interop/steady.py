"""Clients that outlive the broker: they come back after every crash and carry on where the protocol lets them.

What they hold between two connections is exactly what the protocols ask a client to hold: readers the QoS 2 packet ids
that are not released, publishers what is not acknowledged. So whatever is lost or doubled is the broker's doing.
"""

import asyncio
import random
import struct
import threading
import time

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MessageState
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from broker import HOST
from raw import CONNACK, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, UNSUBACK, UNSUBSCRIBE
from raw import connect, packet, properties, subscribe, text, u16

RETRY_S = 0.02
# MQTT 5 §3.1.2.11.2: the session never ends.
FOREVER = b"\x11" + b"\xff" * 4


class Reader(asyncio.Protocol):
    """A lasting MQTT 5 session, and the receiver's side of QoS 2 to the letter (§4.3.3, method A)."""

    def __init__(self, broker, name, filters, qos, take, forgotten):
        """`take(payload, topic, qos, reader)` is the application: it is told each message that the protocol lets
        through. `forgotten(name)` is called when the broker has lost the session."""
        self.broker, self.name, self.filters, self.qos = broker, name, filters, qos
        self.take, self.forgotten = take, forgotten
        self.wanted = False
        self.transport = None
        self.known = False  # a CONNACK has promised the session
        self.subscribed = asyncio.Event()  # a SUBACK has promised the subscriptions
        self.held = {}  # packet id → payload, received and not released
        self.confused = 0  # another message under an id that is held
        self.connection = 0

    def come(self):
        """Connects, and again after every loss, until told to go."""
        if not self.wanted:
            self.wanted = True
            self._again()

    def go(self):
        """Drops the connection without a word."""
        self.wanted = False
        if self.transport:
            self.transport.abort()

    def _again(self):
        self.connection += 1
        asyncio.ensure_future(self._reach(self.connection))

    async def _reach(self, connection):
        loop = asyncio.get_running_loop()
        while self.wanted and connection == self.connection:
            try:
                await loop.create_connection(lambda: self, HOST, self.broker.port)
                return
            except OSError:
                await asyncio.sleep(RETRY_S)

    def connection_made(self, transport):
        if not self.wanted:
            return transport.abort()
        self.transport, self.buffer = transport, b""
        transport.write(connect(self.name, flags=0, keep_alive_s=0, props=properties(FOREVER)))

    def connection_lost(self, _error):
        self.transport = None
        if self.wanted:
            self._again()

    def data_received(self, data):
        self.buffer += data
        at = 0
        while (end := packet_end(self.buffer, at)) is not None:
            start, end = end
            self._packet(self.buffer[at], self.buffer[start:end])
            at = end
        self.buffer = self.buffer[at:]

    def _packet(self, first, body):
        kind = first & 0xF0
        if kind == PUBLISH:
            self._publish(first, body)
        elif kind == PUBREL:
            self.held.pop(body[:2], None)
            self.send(packet(PUBCOMP, body[:2]))
        elif kind == CONNACK:
            self._connack(body)
        elif kind == SUBACK:
            if max(body[3:]) < 0x80:
                self.subscribed.set()
        else:
            self.other(kind, body)

    def _connack(self, body):
        if body[1] != 0:
            return self.transport.abort()
        if self.known and not body[0]:
            self.forgotten(self.name)
            self.subscribed.clear()
        if not body[0]:
            self.held.clear()
        self.known = True
        if not self.subscribed.is_set():
            self.send(subscribe(*self.filters, identifier=1, options=self.qos))
        self.begin()

    def _publish(self, first, body):
        qos = first >> 1 & 3
        end = 2 + int.from_bytes(body[:2], "big")
        topic, identifier = body[2:end].decode(), body[end : end + 2] if qos else b""
        payload = body[end + (3 if qos else 1) + body[end + (2 if qos else 0)] :]
        if qos == 2 and identifier in self.held:
            self.confused += self.held[identifier] != payload
        else:
            self.take(payload, topic, qos, self)
        if qos == 2:
            self.held[identifier] = payload
        if qos:
            self.send(packet(PUBACK if qos == 1 else PUBREC, identifier))

    def send(self, data):
        if self.transport and not self.transport.is_closing():
            self.transport.write(data)

    def begin(self):
        """The connection stands; for those that do more than read."""

    def other(self, kind, body):
        """A packet that readers have no use for."""


def packet_end(buffer, at):
    """Where the body of the MQTT packet at `at` begins and ends; None when it is not all there."""
    size, shift, place = 0, 0, at + 1
    while place < len(buffer):
        byte = buffer[place]
        size |= (byte & 0x7F) << shift
        shift += 7
        place += 1
        if byte < 0x80:
            return (place, place + size) if place + size <= len(buffer) else None
    return None


class Keeper(Reader):
    """Changes its subscriptions all the time, one at a time, and knows which the broker has confirmed."""

    def __init__(self, broker, name, forgotten):
        super().__init__(broker, name, [f"{name}/fence"], 1, self._take, forgotten)
        self.confirmed = {}  # filter → whether it is subscribed
        self.asked = None  # the change under way: (filter, whether to subscribe, packet id)
        self.arrived = set()
        self.active = False
        self.fenced = asyncio.Event()

    def _take(self, _payload, topic, _qos, _reader):
        self.arrived.add(topic)
        if topic.endswith("/fence"):
            self.fenced.set()

    def begin(self):
        # What was not confirmed is asked again: the answer of the first time may have died with the broker.
        self._ask() if self.asked else self._next()

    def _next(self):
        if not self.active or self.asked:
            return
        granted = [name for name, wanted in self.confirmed.items() if wanted]
        number = len(self.confirmed)
        identifier = 10 + number % 60_000
        if granted and random.random() < 0.4:
            self.asked = (random.choice(granted), False, identifier)
        else:
            self.asked = (f"{self.name}/{number}", True, identifier)
        self._ask()

    def _ask(self):
        name, wanted, identifier = self.asked
        self.send(
            subscribe(name, identifier=identifier, options=1)
            if wanted
            else packet(UNSUBSCRIBE | 2, u16(identifier), properties(), text(name))
        )

    def _packet(self, first, body):
        if first & 0xF0 in (SUBACK, UNSUBACK) and self.asked and body[:2] == u16(self.asked[2]):
            name, wanted, _ = self.asked
            self.confirmed[name], self.asked = wanted, None
            self._next()
        else:
            super()._packet(first, body)

    def start(self):
        self.active = True
        self._next()

    async def finish(self):
        self.active = False
        while self.asked:
            await asyncio.sleep(RETRY_S)


class _Paho(paho.Client):
    def _messages_reconnect_reset_out(self):
        # paho 2.2.0 forgets at the second of two failed reconnects that it has had PUBREC, and sends the message anew:
        # a new message for any broker (MQTT-4.3.3-6).
        for message in self._out_messages.values():
            if message.state == MessageState.MQTT_MS_RESEND_PUBREL:
                message.state = MessageState.MQTT_MS_WAIT_FOR_PUBCOMP
        super()._messages_reconnect_reset_out()


class PahoThread(threading.Thread):
    """A paho client with a lasting session in a thread of its own, which runs paho's loop and nothing else beside it: so
    no message can overtake those that paho repeats after a reconnect."""

    def __init__(self, broker, name, version, forgotten):
        super().__init__(daemon=True, name=name)
        self.broker, self.version, self.forgotten = broker, version, forgotten
        self.known = self.connected = self.ended = False
        clean = {} if version == 5 else {"clean_session": False}
        self.client = client = _Paho(
            CallbackAPIVersion.VERSION2, name, protocol=version, reconnect_on_failure=False, **clean
        )
        client.on_connect = self._on_connect

    def _on_connect(self, _client, _data, flags, code, _properties):
        if code.is_failure:
            return
        if self.known and not flags.session_present:
            self.forgotten(self.name)
        self.known = self.connected = True
        self.begin(bool(flags.session_present))

    def run(self):
        expiry = None
        if self.version == 5:
            expiry = Properties(PacketTypes.CONNECT)
            expiry.SessionExpiryInterval = 0xFFFFFFFF
        start = {"clean_start": False} if self.version == 5 else {}
        self.client.connect_async(HOST, self.broker.port, 60, properties=expiry, **start)
        while not self.ended:
            self.connected = False
            try:
                self.client.reconnect()
            except OSError:
                time.sleep(RETRY_S)
                continue
            while not self.ended and self.client.loop(0.01) == paho.MQTT_ERR_SUCCESS:
                if self.connected:
                    self.work()

    def begin(self, session_present):
        """CONNACK is there."""

    def work(self):
        """After each turn of the loop, while connected."""


class PahoReader(PahoThread):
    """paho on the receiving side of QoS 2."""

    def __init__(self, broker, name, filters, qos, take, forgotten):
        super().__init__(broker, name, 4, forgotten)
        self.filters, self.qos, self.take = filters, qos, take
        self.subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.on_message = lambda _client, _data, message: take(message.payload, message.topic, message.qos, self)

    def begin(self, session_present):
        if not session_present:
            self.subscribed.clear()
        if not self.subscribed.is_set():
            self.client.subscribe([(wanted, self.qos) for wanted in self.filters])


class PahoPublisher(PahoThread):
    """paho on the sending side: streams in turn, a window of messages without acknowledgement."""

    def __init__(self, broker, name, version, streams, record, forgotten, window=20):
        super().__init__(broker, name, version, forgotten)
        self.streams, self.record, self.window = streams, record, window
        self.unacknowledged = {}  # packet id → (stream, sequence)
        self.active = False
        self.fences = []
        self.client.on_publish = self._on_publish

    def _on_publish(self, _client, _data, identifier, code, _properties):
        stream, sequence = self.unacknowledged.pop(identifier)
        if not code.is_failure:
            self.record.acknowledged(stream, sequence)

    def work(self):
        if self.active and len(self.unacknowledged) < self.window / 2:
            for _ in range(random.randint(1, self.window - len(self.unacknowledged))):
                self.publish(random.choice(self.streams))
        while self.fences:
            self.publish(self.fences.pop())

    def fence(self):
        self.fences = list(self.streams)

    def publish(self, stream):
        sequence, payload = self.record.next(stream)
        sent = self.client.publish(stream.topic, payload, stream.qos, stream.retain)
        self.unacknowledged[sent.mid] = (stream, sequence)


class Retainer(PahoThread):
    """Writes last values at QoS 1: three to a topic, some of them empty, and then leaves the topic alone."""

    def __init__(self, broker, name, forgotten):
        super().__init__(broker, name, 5, forgotten)
        self.values = {}  # topic → the last value written, empty for none
        self.written = 0
        self.unacknowledged = set()
        self.active = False
        self.client.on_publish = lambda _client, _data, identifier, *_: self.unacknowledged.discard(identifier)

    def work(self):
        while self.active and not self.unacknowledged or self.written % 3:
            topic = f"kept/{self.name}/{self.written // 3}"
            self.values[topic] = b"" if self.written % 6 == 5 else str(self.written).encode()
            self.unacknowledged.add(self.client.publish(topic, self.values[topic], 1, True).mid)
            self.written += 1


class StompPublisher(asyncio.Protocol):
    """SENDs with a receipt each (STOMP 1.2), repeated on the next connection while it is not there."""

    def __init__(self, broker, stream, record, window=10):
        self.broker, self.stream, self.record, self.window = broker, stream, record, window
        self.unacknowledged = {}  # receipt → (sequence, frame)
        self.connected = False
        self.active = False

    def come(self):
        asyncio.ensure_future(self._reach())

    async def _reach(self):
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.create_connection(lambda: self, HOST, self.broker.stomp_port)
                return
            except OSError:
                await asyncio.sleep(RETRY_S)

    def connection_made(self, transport):
        self.transport, self.buffer, self.connected = transport, b"", False
        transport.write(b"CONNECT\naccept-version:1.2\nhost:localhost\n\n\0")

    def connection_lost(self, _error):
        self.connected = False
        self.come()

    def data_received(self, data):
        *frames, self.buffer = (self.buffer + data).split(b"\0")
        for frame in frames:
            command, *headers = frame.lstrip(b"\n").split(b"\n\n")[0].split(b"\n")
            if command == b"RECEIPT":
                receipt = dict(line.split(b":", 1) for line in headers)[b"receipt-id"]
                sequence, _ = self.unacknowledged.pop(receipt)
                self.record.acknowledged(self.stream, sequence)
            elif command == b"CONNECTED":
                self.connected = True
                for _, again in list(self.unacknowledged.values()):
                    self.transport.write(again)
        while self.active and self.connected and len(self.unacknowledged) < self.window:
            self.publish()

    def start(self):
        self.active = True
        self.come()

    def fence(self):
        self.publish()

    def publish(self):
        sequence, payload = self.record.next(self.stream)
        receipt = str(sequence).encode()
        frame = b"SEND\ndestination:/topic/%b\nreceipt:%b\ncontent-length:%d\n\n%b\0" % (
            self.stream.topic.encode(), receipt, len(payload), payload)  # fmt: skip
        self.unacknowledged[receipt] = (sequence, frame)
        if self.connected:
            self.transport.write(frame)


class CoapPublisher(asyncio.DatagramProtocol):
    """Confirmable PUTs (RFC 7252), one at a time, each repeated until 2.04 is there."""

    CHANGED = 0x44
    REPEAT_S = 0.2

    def __init__(self, broker, stream, record):
        self.broker, self.stream, self.record = broker, stream, record
        self.unacknowledged = {}  # message id → (sequence, datagram)
        self.identifier = random.randrange(0x8000)
        self.active = False

    def start(self):
        self.active = True
        asyncio.ensure_future(self._run())

    def fence(self):
        self.publish()

    async def _run(self):
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=(HOST, self.broker.coap_port))
        while True:
            if self.active and not self.unacknowledged:
                self.publish()
            for _, datagram in list(self.unacknowledged.values()):
                self.answered = loop.create_future()
                transport.sendto(datagram)
                try:
                    await asyncio.wait_for(self.answered, self.REPEAT_S)
                except asyncio.TimeoutError:
                    pass  # the repeat comes
            await asyncio.sleep(RETRY_S)

    def publish(self):
        sequence, payload = self.record.next(self.stream)
        self.identifier = (self.identifier + 1) % 0x10000
        head = struct.pack("!BBH", 0x40, 0x03, self.identifier)
        path = b"".join(
            bytes([(0 if place else 11) << 4 | len(part)]) + part.encode()
            for place, part in enumerate(["t", *self.stream.topic.split("/")])
        )
        self.unacknowledged[self.identifier] = (sequence, head + path + b"\xff" + payload)

    def datagram_received(self, data, _address):
        identifier = int.from_bytes(data[2:4], "big")
        if data[1] == self.CHANGED and identifier in self.unacknowledged:
            sequence, _ = self.unacknowledged.pop(identifier)
            self.record.acknowledged(self.stream, sequence)
            if not self.answered.done():
                self.answered.set_result(None)

    def error_received(self, _error):
        """Nobody listens: the repeat comes."""
