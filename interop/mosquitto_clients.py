"""mosquitto_pub, mosquitto_sub and mosquitto_rr as a person uses them at a prompt."""

import asyncio
import contextlib
import json

from broker import HOST
from report import DEADLINE_S, case_of, expect, within

TABLE = []
case = case_of(TABLE)
VERSIONS = {"31": "3.1", "311": "3.1.1", "5": "5"}


async def run(client, broker, report, wanted):
    for number, (name, function) in enumerate(TABLE):
        if wanted(name):
            prompt = Prompt(broker, f"{client}/{number}")
            await report.run(client, name, prompt.attempt(function), broker.deviates.get(name))


class Prompt:
    """Runs the tools against the broker; `topic` is the case's own."""

    def __init__(self, broker, topic):
        self.broker, self.topic = broker, topic
        self.running = []

    async def attempt(self, function):
        try:
            await function(self)
        finally:
            for process in self.running:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    def where(self):
        return ["-h", HOST, "-p", str(self.broker.port)]

    async def start(self, tool, *arguments, where=None):
        process = await asyncio.create_subprocess_exec(
            *tool.split(),
            *(self.where() if where is None else where),
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=8 << 20,
        )
        self.running.append(process)
        return process

    async def call(self, tool, *arguments, said=b"", where=None, code=0):
        """Runs a tool to its end; returns what it printed."""
        process = await self.start(tool, *arguments, where=where)
        output, _ = await within(process.communicate(said), f"{tool} to end")
        expect(process.returncode, code, f"the exit code of {tool} {' '.join(arguments)}, which said {output[-200:]!r}")
        return output

    async def publish(self, *arguments, said=b"", where=None):
        return await self.call("mosquitto_pub", *arguments, said=said, where=where)

    @contextlib.asynccontextmanager
    async def subscriber(self, *arguments, where=None):
        """A mosquitto_sub that has its SUBACK; yields a function that awaits its next line."""
        # Its debug lines share standard output with the messages; messages are marked. It would keep the
        # debug lines to itself until a block is full.
        process = await self.start(
            "stdbuf -oL mosquitto_sub", "-d", "-F", "MESSAGE %t %q %r %p", *arguments, where=where
        )

        async def line(start):
            while True:
                text = await within(process.stdout.readline(), f"a line that starts with {start!r}")
                if not text:
                    raise AssertionError(f"mosquitto_sub ended before {start!r}")
                if text.startswith(start):
                    return text.rstrip(b"\n")

        async def next_message():
            return (await line(b"MESSAGE ")).removeprefix(b"MESSAGE ").decode()

        await line(b"Subscribed")
        next_message.process = process
        yield next_message


def _each_version(option, version):
    @case(f"pub and sub, MQTT {version}")
    async def _(prompt):
        for qos in "012":
            async with prompt.subscriber("-V", option, "-q", qos, "-t", f"{prompt.topic}/{qos}") as message:
                await prompt.publish("-V", option, "-q", qos, "-t", f"{prompt.topic}/{qos}", "-m", "hi there")
                expect(await message(), f"{prompt.topic}/{qos} {qos} 0 hi there", "the line")


for _option, _version in VERSIONS.items():
    _each_version(_option, _version)


@case("the first five minutes: sub -t '#' -v, pub -t a/b -m hi")
async def _(prompt):
    process = await prompt.start("mosquitto_sub", "-t", "#", "-v")
    # It says nothing until a message comes: publish until one has.
    seen = asyncio.ensure_future(process.stdout.readuntil(b"a/b hi\n"))
    for _ in range(200):
        await prompt.publish("-t", "a/b", "-m", "hi")
        if (await asyncio.wait({seen}, timeout=0.05))[0]:
            break
    await within(seen, "the line 'a/b hi'")


@case("two filters, and one taken out")
async def _(prompt):
    async with prompt.subscriber(
        "-t", f"{prompt.topic}/#", "-T", f"{prompt.topic}/hidden", "-t", f"{prompt.topic}/+/x"
    ) as message:
        await prompt.publish("-t", f"{prompt.topic}/hidden", "-m", "1")
        await prompt.publish("-t", f"{prompt.topic}/shown", "-m", "2")
        expect(await message(), f"{prompt.topic}/shown 0 0 2", "the first line")


@case("pub: a message a line")
async def _(prompt):
    async with prompt.subscriber("-q", "1", "-t", prompt.topic) as message:
        lines = [f"line {number}" for number in range(100)]
        await prompt.publish("-l", "-q", "1", "-t", prompt.topic, said="\n".join(lines).encode() + b"\n")
        expect([await message() for _ in lines], [f"{prompt.topic} 1 0 {line}" for line in lines], "the lines")


@case("pub: a file, standard input, nothing")
async def _(prompt):
    file = prompt.broker.folder / "payload"
    file.write_bytes(b"y" * (1 << 20))
    async with prompt.subscriber("-t", prompt.topic) as message:
        await prompt.publish("-t", prompt.topic, "-f", str(file))
        expect(len(await message()), len(f"{prompt.topic} 0 0 ") + (1 << 20), "the length of the line")
        await prompt.publish("-t", prompt.topic, "-s", said=b"from a pipe")
        expect(await message(), f"{prompt.topic} 0 0 from a pipe", "the line")
        await prompt.publish("-t", prompt.topic, "-n")
        expect((await message()).rstrip(), f"{prompt.topic} 0 0", "the line")


@case("retained: -r, --retained-only, --remove-retained")
async def _(prompt):
    await prompt.publish("-r", "-q", "1", "-t", f"{prompt.topic}/a", "-m", "kept")
    kept = await prompt.call("mosquitto_sub", "-V", "5", "-t", f"{prompt.topic}/#", "--retained-only", "-C", "1", "-v")
    expect(kept, f"{prompt.topic}/a kept\n".encode(), "what was printed")
    async with prompt.subscriber("-R", "-t", f"{prompt.topic}/a") as message:
        await prompt.start("mosquitto_sub", "-t", f"{prompt.topic}/a", "--remove-retained")
        expect((await message()).rstrip(), f"{prompt.topic}/a 0 0", "the line")
    async with prompt.subscriber("-t", f"{prompt.topic}/#") as message:
        await prompt.publish("-t", f"{prompt.topic}/fence", "-m", "fence")
        expect(await message(), f"{prompt.topic}/fence 0 0 fence", "the first line")


@case("will on a kill")
async def _(prompt):
    async with prompt.subscriber("-q", "1", "-t", f"{prompt.topic}/will") as message:
        will = ["--will-topic", f"{prompt.topic}/will", "--will-payload", "gone", "--will-qos", "1"]
        async with prompt.subscriber("-t", f"{prompt.topic}/other", *will) as mortal:
            mortal.process.kill()
            expect(await message(), f"{prompt.topic}/will 1 0 gone", "the will")


def _queued(option, version):
    @case(f"a durable subscriber finds what was sent meanwhile, MQTT {version}")
    async def _(prompt):
        durable = ["-V", option, "-i", f"{prompt.topic}-durable".replace("/", "-"), "-c", "-q", "2", "-t", prompt.topic]
        if option == "5":
            durable += ["-x", "300"]
        await prompt.call("mosquitto_sub", *durable, "-E")
        for number in range(5):
            await prompt.publish("-q", "12"[number % 2], "-t", prompt.topic, "-m", str(number))
        output = await prompt.call("mosquitto_sub", *durable, "-C", "5", "-W", str(DEADLINE_S))
        expect(sorted(output.split()), [b"0", b"1", b"2", b"3", b"4"], "what was printed")


for _option, _version in VERSIONS.items():
    _queued(_option, _version)


@case("shared subscription")
async def _(prompt):
    share = ["-q", "1", "-t", f"$share/group/{prompt.topic}"]
    async with prompt.subscriber(*share) as one, prompt.subscriber(*share) as other:
        await prompt.publish(
            "-l", "-q", "1", "-t", prompt.topic, said=b"".join(b"%d\n" % number for number in range(20))
        )
        seen, waiting = [], {asyncio.ensure_future(one()): one, asyncio.ensure_future(other()): other}
        while len(seen) < 20:
            done, _ = await asyncio.wait(waiting, timeout=DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
            expect(bool(done), True, f"more than {len(seen)} of 20 messages")
            for task in done:
                member = waiting.pop(task)
                seen.append(task.result().split()[-1])
                waiting[asyncio.ensure_future(member())] = member
        for task in waiting:
            task.cancel()
        expect(sorted(seen, key=int), [str(number) for number in range(20)], "all shares together")


@case("properties: -D and %P")
async def _(prompt):
    wanted = [
        "-D",
        "publish",
        "user-property",
        "k",
        "1",
        "-D",
        "publish",
        "user-property",
        "k",
        "2",
        "-D",
        "publish",
        "content-type",
        "text/plain",
        "-D",
        "publish",
        "response-topic",
        "r/t",
        "-D",
        "publish",
        "correlation-data",
        "cd",
        "-D",
        "publish",
        "message-expiry-interval",
        "500",
    ]
    async with prompt.subscriber("-V", "5", "-t", prompt.topic, "-F", "MESSAGE %P|%C|%R|%D|%E") as message:
        await prompt.publish("-V", "5", "-t", prompt.topic, "-m", "x", *wanted)
        user, content, response, correlation, rest = (await message()).split("|")
        expect(
            (user.split(), content, response, correlation),
            (["k:1", "k:2"], "text/plain", "r/t", "cd"),
            "the properties",
        )
        expect(400 < int(rest) <= 500, True, f"the rest of 500 s, was {rest}")


@case("properties: %j")
async def _(prompt):
    async with prompt.subscriber("-V", "5", "-t", prompt.topic, "-F", "MESSAGE %j") as message:
        await prompt.publish(
            "-V", "5", "-t", prompt.topic, "-m", "{}", "-D", "publish", "content-type", "application/json"
        )
        told = json.loads(await message())
        expect(
            (told["topic"], told["payload"], told["properties"]["content-type"]),
            (prompt.topic, "{}", "application/json"),
            "the object",
        )


@case("topic alias towards the broker")
async def _(prompt):
    async with prompt.subscriber("-t", prompt.topic) as message:
        await prompt.publish(
            "-V", "5", "-t", prompt.topic, "-l", "-D", "publish", "topic-alias", "1", said=b"1\n2\n3\n"
        )
        expect([(await message()).split()[-1] for _ in range(3)], ["1", "2", "3"], "the payloads")


@case("mosquitto_rr: request and response")
async def _(prompt):
    async with prompt.subscriber("-V", "5", "-t", f"{prompt.topic}/ask", "-F", "MESSAGE %R %D %p") as question:
        asking = await prompt.start(
            "mosquitto_rr",
            "-V",
            "5",
            "-t",
            f"{prompt.topic}/ask",
            "-e",
            f"{prompt.topic}/answer",
            "-m",
            "2+2",
            "-D",
            "publish",
            "correlation-data",
            "id-7",
            "-W",
            str(DEADLINE_S),
        )
        expect(await question(), f"{prompt.topic}/answer id-7 2+2", "the question")
        await prompt.publish(
            "-V", "5", "-t", f"{prompt.topic}/answer", "-m", "4", "-D", "publish", "correlation-data", "id-7"
        )
        output, _ = await within(asking.communicate(), "mosquitto_rr to end")
        expect((output.strip(), asking.returncode), (b"4", 0), "what mosquitto_rr printed, and its exit code")


@case("unix socket")
async def _(prompt):
    where = ["--unix", str(prompt.broker.unix)]
    async with (
        prompt.subscriber("-t", prompt.topic, where=where) as by_unix,
        prompt.subscriber("-t", prompt.topic) as by_tcp,
    ):
        await prompt.publish("-t", prompt.topic, "-m", "from unix", where=where)
        await prompt.publish("-t", prompt.topic, "-m", "from tcp")
        for message in (by_unix, by_tcp):
            for origin in ("unix", "tcp"):
                expect(await message(), f"{prompt.topic} 0 0 from {origin}", "the line")


@case("$SYS, as dashboards read it")
async def _(prompt):
    wanted = [
        "version",
        "uptime",
        "clients/connected",
        "clients/total",
        "messages/received",
        "messages/sent",
        "bytes/received",
        "bytes/sent",
        "retained messages/count",
        "subscriptions/count",
        "publish/messages/received",
        "publish/messages/sent",
        "load/messages/received/1min",
    ]
    for name in wanted:
        printed = await prompt.call("mosquitto_sub", "-t", f"$SYS/broker/{name}", "-C", "1", "-W", str(DEADLINE_S))
        expect(len(printed.strip()) > 0, True, f"$SYS/broker/{name} says something")
