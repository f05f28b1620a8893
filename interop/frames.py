"""WebSocket by hand (RFC 6455): frames that no library would write, and what comes back."""

import asyncio
import base64
import hashlib
import os
import struct

from broker import HOST
from report import expect, within

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = base64.b64encode(b"sixteen bytes ok").decode()
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# As MQTT's control packets, those of WebSocket have a first byte of flags and kind.
FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10


def frame(opcode, payload=b"", flags=FIN, is_masked=True, length=None, size=None):
    """One frame. `length`: what its length field claims, if not the truth; `size`: how many bits that field has."""
    length = len(payload) if length is None else length
    size = size or (7 if length < 126 else 16 if length < 1 << 16 else 64)
    mask_bit = 0x80 if is_masked else 0
    if size == 7:
        head = bytes([flags | opcode, mask_bit | length])
    else:
        head = bytes([flags | opcode, mask_bit | (126 if size == 16 else 127)])
        head += struct.pack("!H" if size == 16 else "!Q", length)
    if not is_masked:
        return head + payload
    mask = os.urandom(4)
    # As a number, so that large payloads take no time.
    pattern = (mask * (len(payload) // 4 + 1))[: len(payload)]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(pattern, "big")
    return head + mask + masked.to_bytes(len(payload), "big")


def close(code, reason=b""):
    return frame(CLOSE, struct.pack("!H", code) + reason)


def request(path="/ws/echo", method="GET", version="HTTP/1.1", drop=(), host=None, **headers):
    """An opening handshake (§4.1); `headers` replace the usual ones, None takes one away."""
    usual = {
        "Host": host or HOST,
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": KEY,
    }
    usual |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}" for name, value in usual.items() if value is not None and name not in drop]
    return "\r\n".join([f"{method} {path} {version}", *lines, "", ""]).encode()


class Socket:
    """A connection, its handshake and its frames."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, port):
        return cls(*await within(asyncio.open_connection(HOST, port, limit=4 << 20), "a connection"))

    async def ask(self, said):
        """Sends a request; the status and the headers of the answer, or None at the end of the connection."""
        self.writer.write(said)
        return await self.answer()

    async def answer(self):
        try:
            head = await within(self.reader.readuntil(b"\r\n\r\n"), "an answer or the close")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in filter(None, lines):
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return int(first.split()[1]), headers

    async def upgrade(self, path="/ws/echo", **headers):
        answer = await self.ask(request(path, **headers))
        expect(answer and answer[0], 101, "the status of the upgrade")
        accept = base64.b64encode(hashlib.sha1(KEY.encode() + GUID).digest()).decode()
        expect(answer[1]["sec-websocket-accept"], accept, "Sec-WebSocket-Accept")
        return answer[1]

    def send(self, *frames):
        self.writer.write(b"".join(frames))

    async def frame(self):
        """The next frame as (first byte, payload), or None at the end."""

        async def read():
            first, second = await self.reader.readexactly(2)
            expect(second & 0x80, 0, "a server masks nothing (§5.1): the mask bit")
            length = second & 0x7F
            if length > 125:
                wide = await self.reader.readexactly(2 if length == 126 else 8)
                length = int.from_bytes(wide, "big")
            return first, await self.reader.readexactly(length)

        try:
            return await within(read(), "a frame or the close")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def message(self):
        """The payload of the next data message, whatever its fragments; control frames in between are passed over."""
        whole = b""
        while True:
            got = await self.frame()
            if got is None:
                raise AssertionError("the connection ended before a message")
            first, payload = got
            if first & 0x0F == CLOSE:
                raise AssertionError(f"closed with {told(payload)} before a message")
            if first & 0x0F < CLOSE:
                whole += payload
                if first & FIN:
                    return whole

    async def expect_frame(self, opcode, payload):
        got = await self.frame()
        expect(got, (FIN | opcode, payload), "the frame")

    async def expect_close(self, *codes):
        """A close frame with one of these codes (None: an empty one), and the end."""
        while (got := await self.frame()) is not None:
            if got[0] == FIN | CLOSE:
                code = int.from_bytes(got[1][:2], "big") if got[1] else None
                if code not in codes:
                    raise AssertionError(f"closed with {told(got[1])}, expected {' or '.join(map(str, codes))}")
                expect(await self.frame(), None, "after the close frame, the end; instead a frame")
                return
        if 0 not in codes:
            raise AssertionError(f"ended without a close frame, expected {' or '.join(map(str, codes))}")

    def abort(self):
        self.writer.transport.abort()


def told(payload):
    return f"{int.from_bytes(payload[:2], 'big')} {payload[2:].decode(errors='replace')!r}" if payload else "nothing"
