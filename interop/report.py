"""Cases, how one is run, and what the run has shown.

A case is an async function. It passes by returning, fails by raising, and is skipped by raising `Skip`;
nothing else counts. It waits for events with `within`, never for time to pass.
"""

import asyncio
import traceback
from dataclasses import dataclass
from functools import partial
from pathlib import Path

# Long enough for a machine that builds something else at the same time: it only ever costs a failing case.
DEADLINE_S = 20
CASE_DEADLINE_S = 90


class Skip(Exception):
    """The client or the broker under comparison cannot do what the case needs; says which and why."""


def case(table, name):
    """Puts the function below it into a table of cases, under this name."""

    def add(function):
        table.append((name, function))
        return function

    return add


def case_of(table):
    """`case` for a module with one table."""
    return partial(case, table)


def expect(got, wanted, what):
    """Fails unless `got` equals `wanted`."""
    if got != wanted:
        raise AssertionError(f"{what}: expected {short(wanted)}, got {short(got)}")


def short(value):
    text = repr(value)
    return text if len(text) <= 160 else f"{text[:150]}… ({len(text)} characters)"


async def within(awaitable, what, seconds=DEADLINE_S):
    """The result of `awaitable`, or a failure that says what never came."""
    try:
        return await asyncio.wait_for(awaitable, seconds)
    except asyncio.TimeoutError:
        raise AssertionError(f"{what}: nothing within {seconds} s") from None


@dataclass
class Result:
    client: str
    case: str
    verdict: str  # "ok", "FAIL" or "skip"
    why: str = ""

    def line(self):
        return f"{self.verdict:4} {self.client} · {self.case}" + (f": {self.why}" if self.why else "")


class Report:
    """Collects results and prints each as it comes."""

    def __init__(self):
        self.results = []

    def add(self, client, case, verdict, why=""):
        result = Result(client, case, verdict, why)
        self.results.append(result)
        print(result.line(), flush=True)

    async def run(self, client, case, attempt, deviates):
        """Runs one attempt and notes how it ended. `attempt` is a coroutine; `deviates` says why the broker
        is known to fail it, if it is."""
        try:
            await asyncio.wait_for(attempt, CASE_DEADLINE_S)
            self.add(client, case, "ok")
        except Skip as reason:
            self.add(client, case, "skip", str(reason))
        except Exception as error:
            late = isinstance(error, asyncio.TimeoutError)
            why = f"not over after {CASE_DEADLINE_S} s" if late else describe(error)
            if deviates:
                self.add(client, case, "skip", f"the broker deviates, {deviates}: {why}")
            else:
                self.add(client, case, "FAIL", why)

    def count(self, verdict):
        return sum(result.verdict == verdict for result in self.results)

    def matrix(self):
        """A row a case, a column a client."""
        clients = list(dict.fromkeys(result.client for result in self.results))
        verdicts = {(result.case, result.client): result.verdict for result in self.results}
        cases = list(dict.fromkeys(result.case for result in self.results))
        width = max(map(len, cases), default=0)
        marks = {"ok": "ok", "FAIL": "FAIL", "skip": "skip", None: "·"}
        lines = []
        for number, client in enumerate(clients):
            lines.append(" " * width + "  " + "│     " * number + client)
        for case in cases:
            row = "  ".join(f"{marks[verdicts.get((case, client))]:4}" for client in clients)
            lines.append(f"{case:{width}}  {row}".rstrip())
        return "\n".join(lines)

    def summary(self):
        return f"interop: {self.count('ok')} passed, {self.count('FAIL')} failed, {self.count('skip')} skipped"


def describe(error):
    """What went wrong and at which line of ours."""
    here = str(Path(__file__).parent)
    ours = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(here)
        and "/.venv/" not in frame.filename
        and frame.name not in ("expect", "within")
    ]
    # Cases are functions without a name: their own line tells more than that of what they called.
    ours = [frame for frame in ours if frame.name == "_"] or ours
    at = f" [{Path(ours[-1].filename).name}:{ours[-1].lineno}]" if ours else ""
    text = str(error).strip().replace("\n", " ") or "no message"
    return (text if isinstance(error, AssertionError) else f"{type(error).__name__}: {text}") + at
