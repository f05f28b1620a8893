"""Fills the disk under load: new QoS 1 messages are refused with 0x97 (quota exceeded), QoS 0 flows on, nothing that was
acknowledged is lost, not even by a kill in that state, and when a subscriber has drained its queue the broker
accepts again, without a restart.

Once on a tmpfs of its own, which is really full, and once by `store.bytes_max`.
"""

import argparse
import asyncio
import subprocess
import sys

from broker import Althing
from raw import PUBACK, connect, publish
from record import Record, Stream
from report import Report, expect, within
from steady import Reader, packet_end

QUOTA_EXCEEDED = 0x97
PUBLISHERS = 4
WINDOW = 50


class Filler(asyncio.Protocol):
    """Publishes at QoS 1 as fast as it is answered, and goes on when it is refused: the same messages again."""

    def __init__(self, stream, record):
        self.stream, self.record = stream, record
        self.under_way = {}  # packet id → sequence
        self.identifier = 0
        self.accepted = self.refused = 0
        self.active = True
        self.codes = set()

    @classmethod
    async def open(cls, broker, stream, record):
        _, filler = await asyncio.get_running_loop().create_connection(
            lambda: cls(stream, record), "127.0.0.1", broker.port
        )
        return filler

    def connection_made(self, transport):
        self.transport, self.buffer = transport, b""
        transport.write(connect(self.stream.name, keep_alive_s=0))

    def connection_lost(self, _error):
        self.active = False

    def data_received(self, data):
        self.buffer += data
        at = 0
        while (end := packet_end(self.buffer, at)) is not None:
            start, end = end
            if self.buffer[at] & 0xF0 == PUBACK:
                self._acknowledged(self.buffer[start:end])
            at = end
        self.buffer = self.buffer[at:]
        while self.active and len(self.under_way) < WINDOW:
            self._publish()

    def _publish(self):
        self.identifier = self.identifier % 60_000 + 1
        sequence, payload = self.record.next(self.stream)
        self.under_way[self.identifier] = sequence
        self.transport.write(publish(self.stream.topic, payload, 1, self.identifier))

    def _acknowledged(self, body):
        sequence = self.under_way.pop(int.from_bytes(body[:2], "big"))
        code = body[2] if len(body) > 2 else 0
        if code < 0x80:
            self.accepted += 1
            self.record.acknowledged(self.stream, sequence)
        else:
            self.refused += 1
            self.codes.add(code)
            # A refusal costs nothing; without a pause it would be all that happens.
            self.active = False
            asyncio.get_running_loop().call_later(0.02, self._resume)

    def _resume(self):
        if not self.transport.is_closing():
            self.active = True
            self.data_received(b"")


async def until(condition, what):
    async def look():
        while not condition():
            await asyncio.sleep(0.02)

    await within(look(), what, 60)


class Tmpfs:
    """A file system of its own over a broker's data directory."""

    def __init__(self, folder, bytes_max):
        folder.mkdir()
        self.folder = folder
        command = ["mount", "-t", "tmpfs", "-o", f"size={bytes_max}", "tmpfs", str(folder)]
        outcome = subprocess.run(command, capture_output=True, text=True)
        self.refused = outcome.stderr.strip() if outcome.returncode else None

    def unmount(self):
        if not self.refused:
            subprocess.run(["umount", str(self.folder)], check=True)


async def fill_and_drain(report, column, broker, payload_bytes):
    """The whole story on one broker that has little room."""
    record = Record(payload_bytes)
    streams = [Stream(f"f{number}/one", f"full/f{number}", 1) for number in range(PUBLISHERS)]
    take = record.reading("away", streams, 1)
    away = Reader(broker, "away", ["full/+"], 1, take, record.forget)
    live_got = []
    live = Reader(broker, "live", ["live"], 0, lambda payload, *_: live_got.append(payload), record.forget)
    away.come()
    live.come()
    await within(away.subscribed.wait(), "SUBACK")
    await within(live.subscribed.wait(), "SUBACK")
    away.go()

    fillers = [await Filler.open(broker, stream, record) for stream in streams]
    await until(lambda: all(filler.refused for filler in fillers), "refusals")
    codes = set().union(*(filler.codes for filler in fillers))
    check(report, column, f"full after {total(fillers):,} messages: they are refused with 0x97", codes, {QUOTA_EXCEEDED})

    for number in range(100):
        live.send(publish("live", str(number).encode()))
    await until(lambda: len(live_got) == 100, "QoS 0 while the disk is full")
    report.add(column, "QoS 0 flows on", "ok")

    # A crash in that state: what was acknowledged stays, and the broker starts although there is no room.
    for filler in fillers:
        filler.transport.abort()
    await broker.kill()
    await broker.start()
    fillers = [await Filler.open(broker, stream, record) for stream in streams]
    await until(lambda: all(filler.refused for filler in fillers), "refusals after a restart")
    report.add(column, "still full after a kill and a restart", "ok")

    before = total(fillers)
    away.come()
    await until(lambda: total(fillers) > before + 1000, "acceptance after the drain")
    report.add(column, "accepts again when the subscriber has come, without a restart", "ok")
    for filler in fillers:
        filler.transport.abort()
    await until(lambda: record.complete(), "what was acknowledged") if not record.complete() else None
    check(report, column, f"nothing of {record.acknowledgements(streams=streams):,} is lost", record.missing("away"), {})
    check(report, column, "in order", record.disordered("away"), [])
    check(report, column, "no session is forgotten", dict(record.forgotten), {})
    check(report, column, "no panic in its log", broker.panics(), [])


def total(fillers):
    return sum(filler.accepted for filler in fillers)


def check(report, column, case, got, wanted):
    try:
        expect(got, wanted, case)
        report.add(column, case, "ok")
    except AssertionError as error:
        report.add(column, case, "FAIL", str(error))


async def run(report, column, broker, payload_bytes):
    try:
        await broker.start()
        await fill_and_drain(report, column, broker, payload_bytes)
    except Exception as error:
        report.add(column, "fill and drain", "FAIL", f"{type(error).__name__}: {error}")
        print(broker.tail())
    finally:
        await broker.stop()


async def main(arguments):
    report = Report()
    limits = ["limits.queue_messages_max=10000000", "limits.queue_bytes_max=8589934592", "store.segment_bytes=4194304"]
    limits += ["limits.queue_high_messages=10000000", "limits.queue_high_bytes=8589934592"]
    if arguments.only != "quota":
        broker = Althing(settings=limits)
        tmpfs = Tmpfs(broker.data, arguments.bytes_max)
        if tmpfs.refused:
            report.add("tmpfs", "fill and drain", "skip", f"mounting is refused: {tmpfs.refused}")
        else:
            try:
                await run(report, "tmpfs", broker, arguments.payload_bytes)
            finally:
                tmpfs.unmount()
        broker.remove()
    if arguments.only != "tmpfs":
        broker = Althing(settings=[*limits, f"store.bytes_max={arguments.bytes_max}"])
        await run(report, "store.bytes_max", broker, arguments.payload_bytes)
        broker.remove()
    print(report.summary())
    return 1 if report.count("FAIL") else 0


def parse():
    parser = argparse.ArgumentParser(prog="interop/full_disk.py", description=__doc__)
    parser.add_argument("--bytes-max", type=int, default=64 << 20, help="room (default: %(default)s)")
    parser.add_argument("--payload-bytes", type=int, default=4000)
    parser.add_argument("--only", choices=["tmpfs", "quota"])
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parse())))
