"""Bad WebSocket and bad HTTP: RFC 6455 by section, byte by byte, and what attackers of web servers do.

The pass mark of a row: the close code or the status that the specification asks for. Those of a flood: an ordinary client is
served all the time, and memory stays within the promise (attacks.py).
"""

import asyncio
import contextlib
import zlib

import attacks
from broker import HOST
from frames import (
    BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RSV1, RSV2, RSV3, TEXT, Socket, close, frame, request,
)
from raw import connect as connect_packet
from report import Skip, case_of, expect, within
from web import Web

ROWS, TABLE, FLOODS = [], [], []
DEFLATE = {"Sec_WebSocket_Extensions": "permessage-deflate"}

case = case_of(TABLE)
flood = attacks.case_of(FLOODS)


async def run(client, broker, report, wanted):
    if broker.name != "althing":
        return
    for number, (name, function) in enumerate(TABLE):
        if wanted(name):
            await report.run(client, name, Attacker(broker, f"web-attacks/{number}").attempt(function), None)
    await attacks.column(FLOODS)(client, broker, report, wanted)


class Attacker(Web):
    """A prompt, and raw connections."""

    def __init__(self, broker, topic):
        super().__init__(broker, topic)
        self.sockets = []

    async def attempt(self, function):
        try:
            await super().attempt(function)
        finally:
            for socket in self.sockets:
                socket.abort()

    async def raw(self):
        socket = await Socket.connect(self.broker.web_port)
        self.sockets.append(socket)
        return socket

    async def socket(self, path="/ws/echo", **headers):
        socket = await self.raw()
        await socket.upgrade(path, **headers)
        return socket

    async def status(self, said):
        """The status of the answer; 0 where the connection ends without one."""
        answer = await (await self.raw()).ask(said)
        return answer[0] if answer else 0


# RFC 6455, by section: what is said after the opening handshake of /ws/echo, and the close codes that may answer.

VIOLATION, NO_TEXT, TOO_BIG = 1002, 1007, 1009

CLOSES = {
    "5.1 an unmasked frame": (frame(TEXT, b"x", is_masked=False), [VIOLATION]),
    "5.1 an unmasked ping": (frame(PING, b"x", is_masked=False), [VIOLATION]),
    "5.2 RSV1 without an extension": (frame(TEXT, b"x", FIN | RSV1), [VIOLATION]),
    "5.2 RSV2": (frame(TEXT, b"x", FIN | RSV2), [VIOLATION]),
    "5.2 RSV3": (frame(TEXT, b"x", FIN | RSV3), [VIOLATION]),
    **{f"5.2 opcode {opcode:#x}": (frame(opcode), [VIOLATION]) for opcode in (3, 7, 0xB, 0xF)},
    "5.2 a short length in 16 bits": (frame(TEXT, b"x" * 125, size=16), [VIOLATION]),
    "5.2 a short length in 64 bits": (frame(TEXT, b"x" * 65_535, size=64), [VIOLATION]),
    "5.2 a length of 2^63": (frame(TEXT, b"x", length=1 << 63), [VIOLATION]),
    "5.2 a length of 2^64-1": (frame(TEXT, b"x", length=(1 << 64) - 1), [VIOLATION]),
    "5.2 a length of 2^63-1": (frame(TEXT, b"x", length=(1 << 63) - 1), [TOO_BIG]),
    "5.4 a continuation of nothing": (frame(CONTINUATION, b"x"), [VIOLATION]),
    "5.4 a continuation after the end": (frame(TEXT, b"x") + frame(CONTINUATION, b"y"), [VIOLATION]),
    "5.4 a message inside another": (frame(TEXT, b"x", 0) + frame(TEXT, b"y"), [VIOLATION]),
    "5.5 a ping in fragments": (frame(PING, b"x", 0), [VIOLATION]),
    "5.5 a ping of 126 bytes": (frame(PING, b"x" * 126), [VIOLATION]),
    "5.5 a close of 126 bytes": (frame(CLOSE, b"\x03\xe8" + b"x" * 124), [VIOLATION]),
    "5.5.1 a close without a body": (frame(CLOSE), [None, 1000]),
    "5.5.1 a close of one byte": (frame(CLOSE, b"x"), [VIOLATION]),
    "5.5.1 a reason that is no UTF-8": (close(1000, b"\xff"), [NO_TEXT]),
    "5.5.1 nothing counts after a close": (close(1000) + frame(TEXT, b"x") + frame(0xF), [1000]),
    **{f"7.4 close code {code}": (close(code), [VIOLATION]) for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)},
    **{f"7.4 close code {code}": (close(code, b"bye"), [code, 1000]) for code in (1000, 1001, 1003, 1011, 3000, 4999)},
    # As long as nobody knows who it is; one who speaks MQTT may send 1 MiB (cases.py).
    "10.4 a message of 1 MiB for the echo": (frame(TEXT, b"x" * (1 << 20)), [TOO_BIG]),
    "8.1 a byte that is no UTF-8": (frame(TEXT, b"\xff"), [NO_TEXT]),
    "8.1 an overlong slash": (frame(TEXT, b"\xc0\xaf"), [NO_TEXT]),
    "8.1 half a surrogate pair": (frame(TEXT, b"\xed\xa0\x80"), [NO_TEXT]),
    "8.1 beyond U+10FFFF": (frame(TEXT, b"\xf4\x90\x80\x80"), [NO_TEXT]),
    "8.1 a character that is not finished": (frame(TEXT, "☃".encode()[:2]), [NO_TEXT]),
    "8.1 broken across frames": (frame(TEXT, "☃".encode()[:2], 0) + frame(CONTINUATION, b"x"), [NO_TEXT]),
    "8.1 known before the end": (frame(TEXT, b"\xff", 0), [NO_TEXT]),
}


def _closes(name, said, codes):
    @case(f"RFC 6455 {name}")
    async def _(web):
        socket = await web.socket()
        socket.send(said)
        await socket.expect_close(*codes)


for _name, (_said, _codes) in CLOSES.items():
    _closes(_name, _said, _codes)

SNOW = "☃ and 𐍈".encode()

ECHOES = {
    "5.2 each size of length": [frame(TEXT, b"x" * size) for size in (0, 125, 126, 65_535, 65_536)],
    "5.4 fragments": [frame(TEXT, b"a", 0) + frame(CONTINUATION, b"", 0) + frame(CONTINUATION, b"b", 0) + frame(CONTINUATION, b"c")],
    "5.4 four thousand fragments": [frame(TEXT, b"", 0) + frame(CONTINUATION, b"x", 0) * 4_000 + frame(CONTINUATION)],
    "5.4 control frames between fragments": [frame(TEXT, b"a", 0) + frame(PING, b"p") + frame(PONG) + frame(CONTINUATION, b"b")],
    "5.5.3 a pong that nobody asked for": [frame(PONG, b"?") + frame(TEXT, b"x")],
    "8.1 a character in four frames": [
        frame(TEXT, SNOW[:1], 0) + frame(CONTINUATION, SNOW[1:8], 0) + frame(CONTINUATION, SNOW[8:9], 0) + frame(CONTINUATION, SNOW[9:])
    ],
    "8.1 U+0000, U+FFFF and the last of all": [frame(TEXT, "\0\uffff\U0010ffff".encode())],
}


def unmasked(said):
    """The payload of the data frames in it."""
    payload, place = b"", 0
    while place < len(said):
        length, start = said[place + 1] & 0x7F, place + 2
        if length > 125:
            wide = 2 if length == 126 else 8
            length, start = int.from_bytes(said[start : start + wide], "big"), start + wide
        mask, data = said[start : start + 4], said[start + 4 : start + 4 + length]
        if said[place] & 0x0F < CLOSE:
            pattern = (mask * (length // 4 + 1))[:length]
            payload += (int.from_bytes(data, "big") ^ int.from_bytes(pattern, "big")).to_bytes(length, "big")
        place = start + 4 + length
    return payload


def _echoes(name, messages):
    @case(f"RFC 6455 {name}")
    async def _(web):
        socket = await web.socket()
        for said in messages:
            socket.send(said)
            expect(await socket.message(), unmasked(said) + b" OK", "the echo")
        # And the same byte by byte, as far as that takes no time.
        for said in messages:
            if len(said) < 1_000:
                for byte in said:
                    socket.send(bytes([byte]))
                    await socket.writer.drain()
                expect(await socket.message(), unmasked(said) + b" OK", "the echo")


for _name, _messages in ECHOES.items():
    _echoes(_name, _messages)


@case("RFC 6455 5.5.2 a ping is answered with its own payload")
async def _(web):
    socket = await web.socket()
    for payload in (b"", b"p", b"\xff" * 125):
        socket.send(frame(PING, payload))
        await socket.expect_frame(PONG, payload)


HANDSHAKES = {
    "4.2.1 no key": (request(drop=["Sec-WebSocket-Key"]), (400,)),
    "4.2.1 a key of 15 bytes": (request(Sec_WebSocket_Key="Zml2ZXRlZW4gYnl0ZXMu"), (400,)),
    "4.2.1 a key that is no base64": (request(Sec_WebSocket_Key="!" * 24), (400,)),
    "4.2.1 version 8": (request(Sec_WebSocket_Version="8"), (400, 426)),
    "4.2.1 no version": (request(drop=["Sec-WebSocket-Version"]), (400, 426)),
    "4.2.1 POST": (request(method="POST", Content_Length="0"), (400, 404, 405)),
    "4.2.1 HTTP/1.0": (request(version="HTTP/1.0"), (400, 404, 426, 505)),
    "4.2.1 no Connection: Upgrade": (request(Connection="keep-alive"), (400, 404, 426)),
    "4.2.2 a path where there is none": (request("/nowhere/at/all"), (400, 404)),
    "4.2.2 a sub-protocol that nobody speaks": (request("/mqtt", Sec_WebSocket_Protocol="chat"), (400,)),
    "10.2 a foreign Origin": (request(Origin="https://evil.example"), (403,)),
    "10.2 a foreign Origin at /mqtt": (request("/mqtt", Origin="https://evil.example", Sec_WebSocket_Protocol="mqtt"), (403,)),
    "10.2 Origin: null": (request(Origin="null"), (403,)),
    "10.2 a name that leads here (DNS rebinding)": (request(host="evil.example", Origin="http://evil.example"), (403, 421)),
}


def _handshake(name, said, statuses):
    @case(f"RFC 6455 {name}")
    async def _(web):
        status = await web.status(said)
        expect(status in statuses, True, f"{status} is one of {statuses}")


for _name, (_said, _statuses) in HANDSHAKES.items():
    _handshake(_name, _said, _statuses)


@case("RFC 6455 4.2.2 a version that is not spoken: 426 says which is")
async def _(web):
    socket = await web.raw()
    _, headers = await socket.ask(request(Sec_WebSocket_Version="8"))
    expect(headers.get("sec-websocket-version"), "13", "the version")


# RFC 7692, permessage-deflate.


def deflated(payload):
    """As §7.2.1 has it: a sync flush, without its last four bytes."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


@case("RFC 7692 7.2 compressed messages are echoed, in fragments too")
async def _(web):
    socket = await web.socket(**DEFLATE)
    body = deflated(b"x" * 1_000)
    socket.send(frame(TEXT, body, FIN | RSV1), frame(TEXT, b"plain"))
    inflated = zlib.decompressobj(-15)
    first, payload = await socket.frame()
    got = inflated.decompress(payload + b"\0\0\xff\xff") if first & RSV1 else payload
    expect(got, b"x" * 1_000 + b" OK", "the echo")
    first, payload = await socket.frame()
    got = inflated.decompress(payload + b"\0\0\xff\xff") if first & RSV1 else payload
    expect(got, b"plain OK", "the echo")
    socket.send(frame(TEXT, body[:3], RSV1), frame(CONTINUATION, body[3:]))
    expect((await socket.frame()) is not None, True, "the echo of fragments")


BAD_DEFLATE = {
    "6 RSV1 on a control frame": (frame(PING, b"x", FIN | RSV1), [VIOLATION]),
    "6 RSV1 on a continuation": (frame(TEXT, b"x", 0) + frame(CONTINUATION, b"y", FIN | RSV1), [VIOLATION]),
    "7.2.2 what is no deflate stream": (frame(TEXT, b"\xff\xff\xff\xff", FIN | RSV1), [NO_TEXT, VIOLATION]),
    "8.1 UTF-8 is asked for inside": (frame(TEXT, deflated(b"\xff"), FIN | RSV1), [NO_TEXT]),
    "a bomb: 64 MiB in 64 KiB": (frame(TEXT, deflated(b"\0" * (1 << 26)), FIN | RSV1), [TOO_BIG]),
}


def _bad_deflate(name, said, codes):
    @case(f"RFC 7692 {name}")
    async def _(web):
        socket = await web.socket(**DEFLATE)
        socket.send(said)
        await socket.expect_close(*codes)


for _name, (_said, _codes) in BAD_DEFLATE.items():
    _bad_deflate(_name, _said, _codes)


# MQTT inside WebSocket (MQTT 5.0 §6).


@case("MQTT over WebSocket: a text frame closes the connection [MQTT-6.0.0-1]")
async def _(web):
    for before in (b"", frame(BINARY, connect_packet(""))):
        socket = await web.socket("/mqtt", Sec_WebSocket_Protocol="mqtt")
        socket.send(before, frame(TEXT, connect_packet("").replace(b"\xff", b"")))
        await socket.expect_close(1002, 1003, 0)


@case("MQTT over WebSocket: what is no packet is answered as on a stream, then closed")
async def _(web):
    socket = await web.socket("/mqtt", Sec_WebSocket_Protocol="mqtt")
    socket.send(frame(BINARY, connect_packet("")))
    expect((await socket.message())[0], 0x20, "CONNACK")
    socket.send(frame(BINARY, b"\x00\x00"))
    expect((await socket.message())[0], 0xE0, "DISCONNECT")
    await socket.expect_close(1000, 1002, 1003, 1007, 1008)


# HTTP. A request that hides another: neither may the hidden one be carried out, nor may anything follow on that connection.

HIDDEN = "PUT /topics/%s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\n\r\nevil"

SMUGGLING = {
    "Content-Length and Transfer-Encoding": ["Content-Length: 5", "Transfer-Encoding: chunked"],
    "two lengths that differ": ["Content-Length: 0", "Content-Length: 5"],
    "two lengths in one line": ["Content-Length: 0, 5"],
    "a length with a sign": ["Content-Length: +0"],
    "a length in hexadecimal": ["Content-Length: 0x0"],
    "a blank before the colon": ["Content-Length : 0"],
    "a coding that nobody knows": ["Transfer-Encoding: xchunked"],
    "chunked is not the last": ["Transfer-Encoding: chunked, identity"],
    "chunked twice": ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
    "a folded line": ["Content-Length:", " 0"],
    "a length behind a NUL": ["X: \0", "Content-Length: 0"],
    "a carriage return alone": ["X: y\rContent-Length: 0"],
}


def _smuggling(name, lines):
    @case(f"smuggling: {name}")
    async def _(web):
        socket = await web.raw()
        head = "\r\n".join([f"PUT /topics/{web.topic}/front HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""])
        body = "0\r\n\r\n" if "chunked" in "".join(lines) else ""
        socket.writer.write((head + body + HIDDEN % f"{web.topic}/hidden").encode())
        socket.writer.write_eof()
        with contextlib.suppress(ConnectionError):
            await within(socket.reader.read(), "the end")
        expect((await web.curl(f"/topics/{web.topic}/hidden")).status, 404, "the status of what was hidden")


for _name, _lines in SMUGGLING.items():
    _smuggling(_name, _lines)

CHUNKS = {
    "a chunk size beyond all numbers": b"1" + b"0" * 20 + b"\r\nx\r\n0\r\n\r\n",
    "a negative chunk size": b"-1\r\nx\r\n0\r\n\r\n",
    "a chunk that goes on": b"1\r\nxx\r\n0\r\n\r\n",
}


def _chunks(name, body):
    @case(f"smuggling: {name}")
    async def _(web):
        socket = await web.raw()
        head = f"PUT /topics/{web.topic} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        answer = await socket.ask(head + body)
        expect(answer is None or answer[0] == 400, True, f"{answer} is a refusal")
        expect((await web.curl(f"/topics/{web.topic}")).status, 404, "the status of the topic")


for _name, _body in CHUNKS.items():
    _chunks(_name, _body)


@case("huge heads: a line, a header, a thousand headers")
async def _(web):
    for said in (
        b"GET /topics/" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: y\r\n" * 1_000 + b"\r\n",
        request(Cookie="a" * 200_000),
    ):
        status = await web.status(said)
        expect(status in (0, 400, 413, 414, 431), True, f"{status} is a refusal")


@case("what is no HTTP at all")
async def _(web):
    for said in (b"\0" * 100 + b"\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n", connect_packet("") + b"\r\n\r\n"):
        status = await web.status(said)
        expect(status in (0, 400, 404, 505), True, f"{status} is a refusal")


@case("no Host, two, a foreign one")
async def _(web):
    topic = f"/topics/{web.topic}"
    for lines in ("", "Host: a\r\nHost: 127.0.0.1\r\n", "Host: evil.example\r\n", "Host: 127.0.0.1.evil.example\r\n"):
        said = f"PUT {topic} HTTP/1.1\r\n{lines}Origin: http://evil.example\r\nContent-Length: 1\r\n\r\nx".encode()
        status = await web.status(said)
        expect(status in (400, 403, 421), True, f"{status} is a refusal of {lines!r}")
    expect((await web.curl(topic)).status, 404, "the status of the topic")


@case("cross-site: simple requests, preflights, streams and the administrators' interface")
async def _(web):
    origin = ["-H", "Origin: https://evil.example"]
    for path, options in (
        (f"/topics/{web.topic}", ["-d", "x"]),
        (f"/topics/{web.topic}", ["-d", "x", "-H", "Content-Type: text/plain"]),
        (f"/topics/{web.topic}", ["-X", "PUT", "-d", "x"]),
        (f"/topics/{web.topic}", ["-X", "DELETE"]),
        ("/topics:batch", ["-d", "[]"]),
        (f"/topics/{web.topic}", ["-H", "Accept: text/event-stream"]),
        ("/api/v1/clients", []),
        ("/api/v1/clients/x", ["-X", "DELETE"]),
    ):
        answer = await web.curl(path, *origin, *options)
        expect(answer.status, 403, f"the status of {path} {options}")
        expect("access-control-allow-origin" in answer.headers, False, "a word that allows it")
    preflight = await web.curl(f"/topics/{web.topic}", *origin, "-X", "OPTIONS", "-H", "Access-Control-Request-Method: PUT")
    expect("access-control-allow-origin" in preflight.headers, False, "a word that allows it")
    expect((await web.curl(f"/topics/{web.topic}")).status, 404, "the status of the topic")


@case("paths that climb, in any spelling")
async def _(web):
    for path in (
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2f..%2fetc%2fpasswd",
        "/..\\..\\etc\\passwd",
        "//etc/passwd",
        "/console.js/../../../../etc/passwd",
        "/./../althing.toml",
        "/console.js%00.html",
        "/topics/../api/v1/clients",
    ):
        answer = await web.curl(path)
        expect(answer.status in (400, 403, 404), True, f"{answer.status} for {path}")
        expect(b"root:" in answer.body, False, "a file")


@case("topics: %2F, %00, wildcards, dots, broken escapes, too deep, too long")
async def _(web):
    for path in ("a%2Fb", "a%00b", "a/+", "a/%23", "a/%2B/b", "..", "a/../b", "%2e", "%zz", "%", "%ff", "/".join("d" * 500), "x" * 70_000):
        for options in (["-X", "PUT", "-d", "x"], []):
            answer = await web.curl(f"/topics/{path}", *options)
            expect(answer.status in (400, 404, 414, 431), True, f"{answer.status} for {path[:60]} {options}")
            expect(answer.status == 404 and bool(options), False, "a publish is refused, not lost")


@case("methods that nobody wants")
async def _(web):
    for method in ("TRACE", "PATCH", "PROPFIND", "QUIT"):
        answer = await web.curl(f"/topics/{web.topic}", "-X", method)
        expect(answer.status in (400, 405, 501), True, f"{answer.status} for {method}")
    status = await web.status(b"CONNECT mail.example:25 HTTP/1.1\r\nHost: mail.example:25\r\n\r\n")
    expect(status in (0, 400, 403, 404, 405, 421, 501), True, f"{status} for CONNECT")


@case("a slow event stream among fast ones")
async def _(web):
    slow = await web.raw()
    slow.writer.write(f"GET /topics/{web.topic}?qos=0 HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n".encode())
    expect((await slow.answer())[0], 200, "the status")
    slow.reader._transport.pause_reading()
    fast = [await web.stream(f"/topics/{web.topic}?data=payload") for _ in range(3)]
    payload = b"%d " + b"x" * 20_000
    for number in range(300):
        await slow_post(web, payload % number)
    for stream in fast:
        for number in range(300):
            expect((await stream.next()).data.split()[0], str(number), "the number")


async def slow_post(web, said):
    reader, writer = getattr(web, "poster", None) or await asyncio.open_connection(HOST, web.broker.web_port)
    web.poster = reader, writer
    head = f"POST /topics/{web.topic} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(said)}\r\n\r\n"
    writer.write(head.encode() + said)
    answer = await within(reader.readuntil(b"\r\n\r\n"), "an answer")
    expect(answer.split()[1][:1], b"2", "the status")
    length = next((line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
    await reader.readexactly(int(length.partition(b":")[2]))


# Floods, with a broker of their own.


@flood("floods: pings that nobody reads the answers of")
async def _(house):
    strangers = [await Socket.connect(house.broker.web_port) for _ in range(20)]
    for socket in strangers:
        await socket.upgrade()
        socket.reader._transport.pause_reading()

    async def flood():
        for socket in strangers:
            for _ in range(50):
                socket.send(frame(PING, b"x" * 125) * 1_000)
                with contextlib.suppress(asyncio.TimeoutError):
                    # It may be that nobody reads any more, which is what we want to see.
                    await asyncio.wait_for(socket.writer.drain(), 0.05)
        await house.is_served()

    before = house.memory_kib()
    await flood()
    grown = house.memory_kib() - before
    expect(grown <= 20 * 1_024 + 8_192, True, f"{grown} KiB for twenty that flood")
    for socket in strangers:
        socket.abort()


@flood("floods: bombs in small frames, a hundred at once")
async def _(house):
    bomb = frame(TEXT, deflated(b"\0" * (1 << 26)), FIN | RSV1)
    strangers = []
    before = house.memory_kib()
    for _ in range(100):
        socket = await Socket.connect(house.broker.web_port)
        await socket.upgrade(**DEFLATE)
        socket.send(bomb)
        strangers.append(socket)
    for socket in strangers:
        await socket.expect_close(TOO_BIG)
    grown = house.memory_kib() - before
    expect(grown <= 32_768, True, f"{grown} KiB after a hundred bombs")


@flood("floods: upgrades that claim 2^62 bytes, and say ten")
async def _(house):
    before, strangers = house.memory_kib(), []
    for _ in range(300):
        socket = await Socket.connect(house.broker.web_port)
        await socket.upgrade("/mqtt", Sec_WebSocket_Protocol="mqtt")
        socket.send(frame(BINARY, b"x" * 10, length=1 << 62))
        strangers.append((socket.reader, socket.writer))
    await house.are_let_go(strangers)
    grown = house.memory_kib() - before
    expect(grown <= attacks.STRANGER_KIB_MAX * 300 + 8_192, True, f"{grown} KiB for 300 strangers")


@flood("floods: heads that never end, said slowly")
async def _(house):
    strangers = [await house.stranger(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ", port=house.broker.web_port) for _ in range(300)]

    async def dribble():
        while True:
            for _, writer in strangers:
                writer.write(b"y")
            await asyncio.sleep(0.3)

    dribbling = asyncio.ensure_future(dribble())
    await house.are_let_go(strangers)
    dribbling.cancel()


@flood("floods: bodies that never come")
async def _(house):
    head = b"PUT /topics/slow HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n"
    strangers = [await house.stranger(head, b"x" * 100, port=house.broker.web_port) for _ in range(300)]
    await house.costs_little(strangers, house.are_let_go(strangers))


@flood("floods: thousands who say nothing to the web")
async def _(house):
    strangers = [await house.stranger(port=house.broker.web_port) for _ in range(2_000)]
    await house.costs_little(strangers, house.is_served())
    await house.are_let_go(strangers)


# HTTP/2 by hand (RFC 9113): the preface, an empty SETTINGS, and what follows.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


def http2(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


# :method GET, :scheme http, :path /, and :authority 127.0.0.1 as a literal.
HEADERS = b"\x82\x86\x84\x01\x09127.0.0.1"

HTTP2_FLOODS = {
    "streams opened and reset": lambda number: http2(1, 5, 2 * number + 1, HEADERS) + http2(3, 0, 2 * number + 1, b"\0\0\0\x08"),
    "pings": lambda _: http2(6, 0, 0, b"12345678"),
    "settings": lambda _: http2(4, 0, 0, b"\0\x04\0\0\xff\xff"),
    "a head in continuations without end": lambda number: http2(1, 1, 1, HEADERS) if number == 0 else http2(9, 0, 1, b"\x00\x01x\x7f\x80\x01" + b"y" * 255),
    "empty data": lambda number: http2(1, 4, 1, b"\x83" + HEADERS[1:]) if number == 0 else http2(0, 0, 1),
}


def _http2_flood(name, each):
    @flood(f"floods: HTTP/2, {name}")
    async def _(house):
        before, strangers = house.memory_kib(), []
        for _ in range(5):
            reader, writer = await house.stranger(PREFACE, port=house.broker.web_port)
            with contextlib.suppress(ConnectionError, asyncio.TimeoutError):
                for start in range(0, 20_000, 500):
                    writer.write(b"".join(each(number) for number in range(start, start + 500)))
                    await asyncio.wait_for(writer.drain(), 2)
            strangers.append((reader, writer))
        await house.is_served()
        grown = house.memory_kib() - before
        expect(grown <= 5 * 2_048 + 8_192, True, f"{grown} KiB for five that flood")
        for _, writer in strangers:
            writer.transport.abort()


for _name, _each in HTTP2_FLOODS.items():
    _http2_flood(_name, _each)
