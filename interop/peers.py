"""What a case may ask of any client library. Each library has a subclass in a file of its own that translates."""

import asyncio
from dataclasses import dataclass, field

from broker import HOST, NAME
from report import within


@dataclass
class Message:
    """As a library reported it. `properties` uses the names below, whatever the library calls them:
    content_type, response_topic, correlation_data, payload_format, expiry_s, topic_alias,
    user (a list of pairs) and identifiers (of the subscriptions, a list)."""

    topic: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    properties: dict = field(default_factory=dict)


@dataclass
class Will(Message):
    delay_s: int = 0


@dataclass
class Options:
    """What CONNECT carries. `expiry_s` and all below it exist in MQTT 5 only."""

    client_id: str
    clean: bool = True
    keep_alive_s: int = 60
    will: Will | None = None
    expiry_s: int | None = None
    receive_maximum: int | None = None
    maximum_packet_size: int | None = None
    topic_alias_maximum: int | None = None


class Refused(Exception):
    """The broker said no; `code` is its return or reason code."""

    def __init__(self, code):
        super().__init__(f"refused with {code:#04x}")
        self.code = code


class Peer:
    """One connection of one library, in one protocol version (3, 4 or 5, as CONNECT encodes it)."""

    # What the library cannot do, so that a case can skip itself: see `cases.needs`.
    lacks = frozenset()
    # The path of a WebSocket that carries the packets; None where they go over a plain stream.
    web_path = None

    @staticmethod
    def where(broker):
        """Host, port and CA of the listener that this kind of peer comes to."""
        return HOST, broker.port, None

    def __init__(self, host, port, version, options, ca=None):
        """`ca`: the file of a CA, in PEM, that the broker's certificate must come from; without it there is no TLS."""
        self.host, self.port, self.version, self.options, self.ca = host, port, version, options, ca
        self.session_present = False
        # CONNACK's: assigned_client_id, server_keep_alive_s, receive_maximum, maximum_packet_size, …
        self.connack = {}
        self.messages = asyncio.Queue()
        # Set with the reason code of the broker's DISCONNECT, or None, once the connection is gone.
        self.closed = asyncio.get_running_loop().create_future()

    async def connect(self):
        """Returns once connected; raises `Refused`."""
        raise NotImplementedError

    async def subscribe(
        self, topic_filter, qos=0, no_local=False, retain_as_published=False, retain_handling=0, identifier=None
    ):
        """The code that SUBACK carries."""
        raise NotImplementedError

    async def unsubscribe(self, topic_filter):
        """Returns with UNSUBACK."""
        raise NotImplementedError

    async def publish(self, topic, payload=b"", qos=0, retain=False, **properties):
        """Returns once the last acknowledgement is there, for QoS 0 once handed over."""
        raise NotImplementedError

    async def disconnect(self, with_will=False):
        """DISCONNECT, then the close."""
        raise NotImplementedError

    async def drop(self):
        """Closes the connection without a DISCONNECT."""
        raise NotImplementedError

    async def next(self):
        """The next message."""
        return await within(self.messages.get(), f"a message for {self.options.client_id}")

    def take(self, message):
        """Called by the library, on the loop's thread."""
        self.messages.put_nowait(message)

    def lose(self, code=None):
        """Called by the library, on the loop's thread."""
        if not self.closed.done():
            self.closed.set_result(code)


class OverWebSocket:
    """Put before a library that can: the same packets, inside WebSocket."""

    web_path = "/mqtt"

    @staticmethod
    def where(broker):
        return HOST, broker.web_port, None


class OverSecureWebSocket(OverWebSocket):
    """And that inside TLS."""

    @staticmethod
    def where(broker):
        return NAME, broker.web_tls_port, broker.certificate("ca.crt")
