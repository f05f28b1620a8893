"""What `strace -f -y -xx` says, as calls in order."""

import bisect
import re
from collections import defaultdict
from dataclasses import dataclass

READS = ("read", "readv", "recvfrom", "recvmsg", "recvmmsg")
SENDS = ("write", "writev", "sendto", "sendmsg", "sendmmsg")
BATCHES = ("recvmmsg", "sendmmsg")
FILE_WRITES = ("write", "writev", "pwrite64", "pwritev", "pwritev2")
SYNCS = ("fdatasync", "fsync")
# `STRING_BYTES`: more than any read buffer holds, so that nothing is cut. `-D`: the broker stays our child.
STRING_BYTES = 300_000
STRACE = ["strace", "-D", "-f", "-y", "-xx", "-s", str(STRING_BYTES), "-e", "signal=none",
          "-e", "trace=" + ",".join({*READS, *SENDS, *FILE_WRITES, *SYNCS})]

LINE = re.compile(r"^(\d+) +(.*)$")
RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>(.*)$")
CALL = re.compile(r"^(\w+)\((\d+)<([^>]*)>(.*)\) += (-?\d+)")
STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
VECTOR = re.compile(r'iov_base="((?:\\x[0-9a-f]{2})*)"')
PEER = re.compile(r"sin_port=htons\((\d+)\)")
MESSAGE_BYTES = re.compile(r"msg_len=(\d+)")


@dataclass
class Call:
    """One system call on one descriptor. `start` and `end` are places in the order of all starts and ends."""

    name: str
    path: str  # of the file; `socket:[INODE]` of a socket, and no two sockets share one
    data: bytes
    result: int
    start: int
    end: int
    peer: int = 0  # port of the other side, for datagrams


def parse(lines):
    """All completed calls, in the order of their ends. A call that others overlap stands on two lines; every line is a
    moment, so the numbers of lines order all starts and ends."""
    under_way = {}
    for number, line in enumerate(lines):
        found = LINE.match(line)
        if not found:
            continue
        process, text = found.groups()
        start = number
        if text.endswith("<unfinished ...>"):
            under_way[process] = (number, text[: -len("<unfinished ...>")])
            continue
        if resumed := RESUMED.match(text):
            if process not in under_way:
                continue
            start, head = under_way.pop(process)
            text = head + resumed[2]
        if call := CALL.match(text):
            name, _, path, rest, result = call.groups()
            path, result = unhex(path).decode(errors="replace"), int(result)
            if name in BATCHES:
                yield from batch(name, path, rest, result, start, number)
                continue
            yield Call(name, path, content(name, rest), result, start, number, peer(rest))


def batch(name, path, rest, count, start, end):
    """The datagrams of one call, as if each had been a call of its own."""
    for part in rest.split("msg_hdr=")[1:][: max(count, 0)]:
        data = b"".join(unhex(vector) for vector in VECTOR.findall(part))
        if length := MESSAGE_BYTES.search(part):
            data = data[: int(length[1])]
        yield Call(name, path, data, len(data), start, end, peer(part))


def peer(text):
    found = PEER.search(text)
    return int(found[1]) if found else 0


def content(name, rest):
    if name in ("readv", "writev", "recvmsg", "sendmsg", "pwritev", "pwritev2"):
        return b"".join(unhex(part) for part in VECTOR.findall(rest))
    found = STRING.search(rest)
    return unhex(found[1]) if found else b""


def unhex(text):
    return bytes.fromhex(text.replace("\\x", "")) if "\\x" in text else text.encode()


@dataclass
class Piece:
    """What one call carried over a socket."""

    call: Call
    data: bytes


def sockets(calls):
    """By socket: what was read from it and what was written to it, each in order."""
    incoming, outgoing = defaultdict(list), defaultdict(list)
    for call in calls:
        if call.path.startswith("socket:") and call.result > 0:
            side = incoming if call.name in READS else outgoing if call.name in SENDS else None
            if side is not None:
                side[call.path].append(Piece(call, call.data[: call.result]))
    return incoming, outgoing


class Files:
    """Which bytes were on disk when."""

    def __init__(self, calls, folder):
        self.writes, syncs = [], defaultdict(list)
        for call in calls:
            if not call.path.startswith(str(folder)) or call.result < 0:
                continue
            if call.name in FILE_WRITES:
                self.writes.append(call)
            elif call.name in SYNCS:
                syncs[call.path].append(call)
        self.writes.sort(key=lambda write: write.start)
        # Of each write, the end of the first sync that began after the write was over.
        self.durable = {
            write.start: min((sync.end for sync in syncs[write.path] if sync.start > write.end), default=None)
            for write in self.writes
        }

    def marked(self, pattern):
        """By what `pattern` finds in them: the writes that hold it, oldest first."""
        found = defaultdict(list)
        for write in self.writes:
            for mark in set(pattern.findall(write.data)):
                found[mark].append(write)
        return found

    def durable_between(self, writes, start, end):
        """Whether one of `writes` began after `start` and was durable before `end`."""
        for write in writes[bisect.bisect_right(writes, start, key=lambda write: write.start) :]:
            if write.start > end:
                return False
            if (self.durable[write.start] or end) < end:
                return True
        return False
