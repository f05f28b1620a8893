"""Shows from outside that nothing is acknowledged before it is synced: runs the broker under strace and looks, for every
PUBACK, PUBREC, CoAP 2.04 and STOMP RECEIPT, for the completed `fdatasync` that covers the write with its message.

A crash of the process cannot prove this: what was written survives it, synced or not. The same run with `durability`
"interval" and "memory" must find acknowledgements that no sync covers; otherwise the method proves nothing.
"""

import argparse
import asyncio
import bisect
import re
import shutil
import sys
from collections import Counter
from dataclasses import dataclass

from broker import Althing
from kill_loop import World
from raw import CONNACK, CONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, SUBSCRIBE, UNSUBACK, UNSUBSCRIBE
from report import Report
from steady import packet_end
from system_calls import STRACE, Files, parse, sockets

# A payload of the record: its stream, its number, and filling.
MESSAGE = re.compile(rb"<([a-z]+\d*(?:/[a-z]+)?) (\d+)>")
# A last value of the retainer, and a filter of the keeper, by their topics.
NAMED = re.compile(rb"(kept/retainer/\d+|keeper/\d+)(?!\d)")


@dataclass
class Promise:
    """An acknowledgement that left. `mark` is what its record must hold; without one, any write after `asked` will do."""

    word: str
    mark: object
    asked: int
    left: int


class Moments:
    """At which call a byte of a stream was read or written."""

    def __init__(self, pieces):
        self.pieces, self.starts, at = pieces, [], 0
        for piece in pieces:
            self.starts.append(at)
            at += len(piece.data)
        self.data = b"".join(piece.data for piece in pieces)

    def call(self, at):
        return self.pieces[bisect.bisect_right(self.starts, at) - 1].call


def packets(stream):
    """(first byte, body, call of the packet's first byte, call of its last)."""
    at = 0
    while (end := packet_end(stream.data, at)) is not None:
        start, end = end
        yield stream.data[at], stream.data[start:end], stream.call(at), stream.call(end - 1)
        at = end


def mqtt(incoming, outgoing):
    """The promises of one MQTT connection: each answer with the latest request of its id."""
    asked = {}
    answers = {PUBACK: ("PUBACK", PUBLISH), PUBREC: ("PUBREC", PUBLISH), PUBCOMP: ("PUBCOMP", PUBREL),
               SUBACK: ("SUBACK", SUBSCRIBE), UNSUBACK: ("UNSUBACK", UNSUBSCRIBE), CONNACK: ("CONNACK", CONNECT)}
    moments = [(last.end, 0, first, body) for first, body, _, last in packets(incoming)]
    moments += [(begin.start, 1, first, body) for first, body, begin, _ in packets(outgoing)]
    for moment, is_answer, first, body in sorted(moments, key=lambda entry: entry[:2]):
        kind = first & 0xF0
        if is_answer and kind in answers:
            word, request = answers[kind]
            identifier = b"" if kind == CONNACK else body[:2]
            refused = kind in (PUBACK, PUBREC) and body[2:3] >= b"\x80"
            if (request, identifier) in asked and not refused:
                when, mark = asked[request, identifier]
                yield Promise(word, mark, when, moment)
        elif not is_answer and kind in (PUBLISH, PUBREL, SUBSCRIBE, UNSUBSCRIBE, CONNECT):
            identifier, mark = body[:2], None
            if kind == PUBLISH:
                end = 2 + int.from_bytes(body[:2], "big")
                identifier, mark = body[end : end + 2], find(body)
            elif kind == SUBSCRIBE:
                mark = find(body)
            elif kind == CONNECT:
                identifier = b""
            asked[kind, identifier] = (moment, mark)


def find(body):
    found = MESSAGE.search(body) or NAMED.search(body)
    return found and (found.groups() if found.re is MESSAGE else found[1])


def stomp(incoming, outgoing):
    asked = {}
    for frame in re.finditer(rb"SEND\n.*?\n\n[^\0]*\0", incoming.data, re.S):
        receipt = re.search(rb"receipt:(\d+)", frame[0])[1]
        asked[receipt] = (incoming.call(frame.end() - 1).end, find(frame[0]))
    for frame in re.finditer(rb"RECEIPT\nreceipt-id:(\d+)", outgoing.data):
        when, mark = asked[frame[1]]
        yield Promise("STOMP RECEIPT", mark, when, outgoing.call(frame.start()).start)


def coap(incoming, outgoing):
    asked = {}
    for piece in incoming:
        # A request that is repeated counts from its first time: it may have been stored between the two.
        asked.setdefault((piece.call.peer, piece.data[2:4]), (piece.call.end, find(piece.data)))
    for piece in outgoing:
        request = asked.get((piece.call.peer, piece.data[2:4]))
        if request and piece.data[1] == 0x44:
            yield Promise("CoAP 2.04", request[1], request[0], piece.call.start)


def promises(calls):
    incoming, outgoing = sockets(calls)
    for socket, pieces in incoming.items():
        if pieces[0].call.peer:
            yield from coap(pieces, outgoing[socket])
            continue
        read, written = Moments(pieces), Moments(outgoing[socket])
        yield from (stomp if read.data.startswith(b"CONNECT\n") else mqtt)(read, written)


def uncovered(calls, folder):
    """All promises, and those that left before what they promise was durable."""
    files = Files(calls, folder)
    marks = {**files.marked(MESSAGE), **files.marked(NAMED)}
    made = list(promises(calls))
    bad = []
    for promise in made:
        writes = marks.get(promise.mark, []) if promise.mark else files.writes
        if not files.durable_between(writes, promise.asked, promise.left):
            bad.append(promise)
    return made, bad


async def trace(durability, seconds):
    """Runs the load under strace; returns the calls and the data directory."""
    broker = Althing(settings=[f"store.durability={durability}", "store.segment_bytes=262144"])
    output = broker.folder / "calls"
    broker.around = [*STRACE, "-o", str(output)]
    await broker.start()
    try:
        world = World(broker)
        await world.begin()
        await asyncio.sleep(seconds)
        await world.finish()
    finally:
        await broker.stop()
    with output.open() as lines:
        calls = list(parse(lines))
    broker.remove()
    return calls, broker.data


async def main(arguments):
    report = Report()
    if not shutil.which("strace"):
        sys.exit("strace is missing: interop/setup")
    for durability in arguments.durability:
        calls, folder = await trace(durability, arguments.seconds)
        made, bad = uncovered(calls, folder)
        count, early = Counter(promise.word for promise in made), Counter(promise.word for promise in bad)
        syncs = sum(call.name in ("fdatasync", "fsync") for call in calls)
        print(f'\ndurability = "{durability}": {len(calls):,} system calls, {syncs:,} syncs\n\n| answer | sent | before its sync |\n|---|--:|--:|')
        for word in sorted(count):
            print(f"| {word} | {count[word]:,} | {early[word]:,} |")
        print()
        expected = {"PUBACK", "PUBREC", "PUBCOMP", "SUBACK", "CONNACK", "STOMP RECEIPT", "CoAP 2.04"}
        report.add(durability, "all kinds of answers were seen", "ok" if expected <= set(count) else "FAIL", str(dict(count)))
        if durability == "sync":
            report.add(durability, "no answer before its sync", "FAIL" if bad else "ok", "; ".join(map(str, bad[:3])))
        else:
            report.add(durability, "answers before their sync are seen", "ok" if bad else "FAIL", f"{len(bad)} of {len(made)}")
    print(report.summary())
    return 1 if report.count("FAIL") else 0


def parse_arguments():
    parser = argparse.ArgumentParser(prog="interop/sync_order.py", description=__doc__)
    parser.add_argument("durability", nargs="*", default=["sync", "interval", "memory"], help="default: all three levels")
    parser.add_argument("--seconds", type=float, default=1, help="of load")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parse_arguments())))
