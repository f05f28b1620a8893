"""What a case may ask of any STOMP client library, and the libraries: stomp.py, stompjs and stompit."""

import asyncio
import itertools
from dataclasses import dataclass, field

import stomp

from node import Node
from report import within


@dataclass
class StompMessage:
    """As a library reported it."""

    subscription: str
    body: bytes
    headers: dict = field(default_factory=dict)

    @property
    def destination(self):
        return self.headers["destination"]


class StompPeer:
    """One connection of one library."""

    # What the library cannot do, so that a case can skip itself.
    lacks = frozenset()
    # The path of a WebSocket that carries the frames; None where they go over a plain stream.
    web_path = None

    @classmethod
    def port_of(cls, broker):
        return broker.web_port if cls.web_path else broker.stomp_port

    def __init__(self, host, port, heart_beats=(0, 0), ca=None):
        """`ca`: the file of a CA, in PEM, that the broker's certificate must come from; without it there is no TLS."""
        self.host, self.port, self.heart_beats, self.ca = host, port, heart_beats, ca
        # The headers of CONNECTED.
        self.connected = {}
        self.messages = asyncio.Queue()
        self.beats = asyncio.Queue()
        # Set with the message header of ERROR, or None, once the connection is gone.
        self.closed = asyncio.get_running_loop().create_future()
        self.numbers = itertools.count(1)

    async def connect(self):
        """Returns once connected."""
        raise NotImplementedError

    async def subscribe(self, destination, ack="auto"):
        """Returns the subscription's id once the broker has it."""
        raise NotImplementedError

    async def unsubscribe(self, subscription):
        """Returns once the broker has it."""
        raise NotImplementedError

    async def send(self, destination, body=b"", headers=None, receipt=True):
        """Returns once the receipt is there, or at once where none is wanted."""
        raise NotImplementedError

    async def ack(self, message):
        raise NotImplementedError

    async def nack(self, message):
        raise NotImplementedError

    async def frame(self, command, headers):
        """Sends any frame and waits for nothing."""
        raise NotImplementedError

    async def disconnect(self):
        """DISCONNECT, its receipt, then the close."""
        raise NotImplementedError

    async def drop(self):
        """Closes the connection without a DISCONNECT."""
        raise NotImplementedError

    async def next(self):
        """The next message."""
        return await within(self.messages.get(), "a message")

    async def take(self, count):
        return [await self.next() for _ in range(count)]

    def lose(self, why=None):
        if not self.closed.done():
            self.closed.set_result(why)


class StompPyPeer(StompPeer, stomp.ConnectionListener):
    """stomp.py: threads and a listener."""

    async def connect(self):
        self.loop = asyncio.get_running_loop()
        self.receipts = {}
        self.error = None
        self.connection = stomp.Connection12([(self.host, self.port)], heartbeats=self.heart_beats, auto_decode=False,
                                             reconnect_attempts_max=1)
        if self.ca:
            self.connection.set_ssl([(self.host, self.port)], ca_certs=self.ca)
        self.connection.set_listener("peer", self)
        await asyncio.to_thread(self.connection.connect, wait=True)

    def on_connected(self, frame):
        self.connected = frame.headers

    def on_message(self, frame):
        message = StompMessage(frame.headers["subscription"], frame.body, frame.headers)
        self.loop.call_soon_threadsafe(self.messages.put_nowait, message)

    def on_receipt(self, frame):
        receipt = self.receipts.pop(frame.headers["receipt-id"])
        self.loop.call_soon_threadsafe(receipt.set_result, None)

    def on_heartbeat(self):
        self.loop.call_soon_threadsafe(self.beats.put_nowait, None)

    def on_error(self, frame):
        self.error = frame.headers["message"]

    def on_disconnected(self):
        self.loop.call_soon_threadsafe(self.lose, self.error)

    async def _with_receipt(self, act):
        name = str(next(self.numbers))
        self.receipts[name] = receipt = self.loop.create_future()
        act(name)
        await within(receipt, "a receipt")

    async def subscribe(self, destination, ack="auto"):
        name = f"s{next(self.numbers)}"
        await self._with_receipt(lambda receipt: self.connection.subscribe(destination, name, ack, receipt=receipt))
        return name

    async def unsubscribe(self, subscription):
        await self._with_receipt(lambda receipt: self.connection.unsubscribe(subscription, receipt=receipt))

    async def send(self, destination, body=b"", headers=None, receipt=True):
        headers = dict(headers or {})
        if not receipt:
            return self.connection.send(destination, body, headers=headers)
        await self._with_receipt(lambda name: self.connection.send(destination, body, headers=headers, receipt=name))

    async def ack(self, message):
        self.connection.ack(message.headers["ack"])

    async def nack(self, message):
        self.connection.nack(message.headers["ack"])

    async def frame(self, command, headers):
        self.connection.send_frame(command, headers)

    async def disconnect(self):
        await asyncio.to_thread(self.connection.disconnect, receipt="bye")

    def on_disconnecting(self):
        self.receipts["bye"] = self.loop.create_future()

    async def drop(self):
        await asyncio.to_thread(self.connection.transport.disconnect_socket)
        await asyncio.to_thread(self.connection.transport.stop)


class NodePeer(StompPeer):
    """A library for Node.js: its script has the same words."""

    script = ""

    async def connect(self):
        self.node = Node(self.script, self._hear)
        await self.node.start()
        where = {"host": self.host, "port": self.port, "path": self.web_path}
        self.connected = await self.node.ask("connect", **where, heart_beats=list(self.heart_beats))

    def _hear(self, said):
        if said is None:
            self.lose()
        elif "closed" in said:
            self.lose(said["closed"].get("message"))
        elif "beat" in said:
            self.beats.put_nowait(None)
        else:
            headers = said["message"]["headers"]
            self.messages.put_nowait(StompMessage(headers["subscription"], said["message"]["body"], headers))

    async def subscribe(self, destination, ack="auto"):
        return await self.node.ask("subscribe", destination=destination, ack=ack)

    async def unsubscribe(self, subscription):
        await self.node.ask("unsubscribe", subscription=subscription)

    async def send(self, destination, body=b"", headers=None, receipt=True):
        await self.node.ask("send", destination=destination, body=body, headers=headers or {}, receipt=receipt)

    async def ack(self, message):
        await self.node.ask("ack", ack=message.headers["ack"])

    async def nack(self, message):
        await self.node.ask("nack", ack=message.headers["ack"])

    async def frame(self, command, headers):
        await self.node.ask("frame", command=command, headers=headers)

    async def disconnect(self):
        await self.node.ask("disconnect")
        await self.node.end()

    async def drop(self):
        self.node.kill()
        await self.node.end()


class StompJsPeer(NodePeer):
    # It undoes one kind of escape after the other, instead of from left to right.
    lacks = frozenset({"escapes in order"})
    script = "stompjs.mjs"


class StompJsWebPeer(StompJsPeer):
    """As it is meant to be used: over WebSocket, of the package `ws`."""

    web_path = "/stomp"


class StompitPeer(NodePeer):
    # It tells nobody of heart-beats, and throws an ERROR where nobody can catch it.
    lacks = frozenset({"heart-beats seen", "ERROR heard"})
    script = "stompit.mjs"
