"""What the web's cases share: curl at a prompt, with answers and event streams taken apart, and Server-Sent Events."""

import asyncio
import json
from dataclasses import dataclass, field

from broker import HOST, NAME
from mosquitto_clients import Prompt
from report import Skip, expect, within


@dataclass
class Answer:
    status: int
    headers: dict = field(default_factory=dict)
    body: bytes = b""
    # As curl says it: HTTP/1.1 or HTTP/2.
    version: str = ""

    @property
    def json(self):
        return json.loads(self.body)


@dataclass
class Event:
    """One of an event stream (HTML §9.2)."""

    name: str = "message"
    data: str = ""
    id: str = ""

    @property
    def message(self):
        return json.loads(self.data)

    @property
    def payload(self):
        return self.message.get("payload")


# How curl is told to speak: its options, and whether it comes inside TLS.
SPEECHES = {
    "HTTP/1.1": (["--http1.1"], False),
    "HTTP/2, prior knowledge": (["--http2-prior-knowledge"], False),
    "HTTP/1.1 inside TLS": (["--http1.1"], True),
    "HTTP/2 inside TLS, by ALPN": (["--http2"], True),
}


class Web(Prompt):
    """A prompt with curl; `speech` says which HTTP it speaks."""

    speech = "HTTP/1.1"

    def url(self, path, is_secure=False):
        host, port = (NAME, self.broker.web_tls_port) if is_secure else (HOST, self.broker.web_port)
        return f"http{'s' if is_secure else ''}://{host}:{port}{path}"

    def curl_words(self, path):
        options, is_secure = SPEECHES[self.speech]
        ca = ["--cacert", self.broker.certificate("ca.crt")] if is_secure else []
        return [*options, *ca, "--path-as-is", self.url(path, is_secure)]

    async def curl(self, path, *options, said=None):
        """The answer to one request; `said` is its body."""
        body = [] if said is None else ["--data-binary", "@-"]
        words = ["-i", *body, *options, *self.curl_words(path)]
        output = await self.call("curl -sS --max-time 30", *words, said=said or b"", where=[])
        return taken_apart(output)

    async def well(self, path, *options, said=None):
        """The same, and it has to be a success."""
        answer = await self.curl(path, *options, said=said)
        if not 200 <= answer.status < 300:
            raise AssertionError(f"{' '.join(options)} {path}: {answer.status} {answer.body[:200]!r}")
        return answer

    async def put(self, path, said, *options):
        return await self.well(path, "-X", "PUT", *options, said=said)

    async def post(self, path, said, *options):
        return await self.well(path, *options, said=said)

    async def stream(self, path, *options):
        """An event stream that is open: what it has said until now is waiting in it."""
        words = ["-H", "Accept: text/event-stream", *options, *self.curl_words(path)]
        process = await self.start("curl -sSNi", *words, where=[])
        stream = Stream(process.stdout.readline)
        stream.process = process
        await stream.open()
        return stream

    def only_althing(self):
        if self.broker.name != "althing":
            raise Skip(f"{self.broker.name} speaks no HTTP")


def taken_apart(output):
    """What curl -i prints. Interim answers come before the last one."""
    while True:
        head, _, body = output.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status = first.split()[:2]
        if not 100 <= int(status) < 200:
            break
        output = body
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers.setdefault(name.lower(), []).append(value.strip())
    return Answer(int(status), {name: ", ".join(values) for name, values in headers.items()}, body, version)


class Stream:
    """Events out of lines; `readline` is a coroutine function that gives the next one, or nothing at the end."""

    def __init__(self, readline):
        self.readline = readline
        self.comments = []

    async def open(self):
        """Takes the head of the answer."""
        status = await self._line("the head of an event stream")
        expect(status.split()[1], b"200", f"the status, {status!r},")
        while await self._line("the head of an event stream"):
            pass

    async def _line(self, what):
        line = await within(self.readline(), what)
        if not line:
            raise AssertionError(f"the stream ended before {what}")
        return line.rstrip(b"\r\n")

    async def next(self):
        """The next event; comments are kept aside."""
        event, data = Event(), []
        while True:
            line = (await self._line("an event")).decode()
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if not line and data:
                event.data = "\n".join(data)
                return event
            if not name:
                self.comments.append(value)
            elif name == "event":
                event.name = value
            elif name == "id":
                event.id = value
            elif name == "data":
                data.append(value)

    async def message(self):
        """The next event with a message in it."""
        while True:
            event = await self.next()
            if event.name in ("message", "retained"):
                return event

    async def end(self):
        """Breaks the connection."""
        self.process.kill()
        await self.process.wait()


def column(table, kind=Web):
    """The coroutine function that runs a table of (name, function) with a prompt each."""

    async def run(client, broker, report, wanted):
        for number, (name, function) in enumerate(table):
            if wanted(name):
                prompt = kind(broker, f"{client.replace(' ', '-')}/{number}")

                async def checked(prompt, function=function):
                    prompt.only_althing()
                    await function(prompt)

                await report.run(client, name, prompt.attempt(checked), broker.deviates.get(name))

    return run
