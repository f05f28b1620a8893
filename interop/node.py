"""A client library for Node.js: its script and we speak one JSON object a line (lines.mjs)."""

import asyncio
import base64
import itertools
import json
from pathlib import Path

from peers import Refused
from report import within

LINE_BYTES_MAX = 8 << 20


def encoded(value):
    """Bytes travel as {"bytes": base64}."""
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {name: encoded(inner) for name, inner in value.items() if inner is not None}
    return value


def decoded(value):
    if isinstance(value, dict):
        if set(value) == {"bytes"}:
            return base64.b64decode(value["bytes"])
        return {name: decoded(inner) for name, inner in value.items()}
    return value


class Node:
    """A running script. `hear` is called with what it says unasked, and with None when it has ended."""

    def __init__(self, script, hear):
        self.script, self.hear = script, hear
        self.numbers = itertools.count()
        self.answers = {}
        self.process = None

    async def start(self):
        """Starts the script, unless it runs already."""
        if self.process is not None:
            return
        self.process = await asyncio.create_subprocess_exec(
            "node",
            str(Path(__file__).with_name(self.script)),
            limit=LINE_BYTES_MAX,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self.reading = asyncio.ensure_future(self._read())

    async def _read(self):
        while line := await self.process.stdout.readline():
            said = decoded(json.loads(line))
            if "number" not in said:
                self.hear(said)
                continue
            answer = self.answers.pop(said["number"])
            if answer.done():
                continue
            if "refused" in said:
                answer.set_exception(Refused(said["refused"]))
            elif "error" in said:
                answer.set_exception(AssertionError(said["error"]))
            else:
                answer.set_result(said.get("answer"))
        self.hear(None)

    async def ask(self, verb, **arguments):
        number = next(self.numbers)
        answer = self.answers[number] = asyncio.get_running_loop().create_future()
        self.process.stdin.write(json.dumps({"number": number, "verb": verb, **encoded(arguments)}).encode() + b"\n")
        return await within(answer, f"{self.script} to {verb}")

    def kill(self):
        if self.process.returncode is None:
            self.process.kill()

    async def end(self):
        if self.process.returncode is None:
            self.process.stdin.close()
        await within(self.process.wait(), "Node.js to end")
        await self.reading
