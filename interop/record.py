"""What clients were promised and what they got, kept by nobody but the clients, and compared at the end."""

import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Stream:
    """The messages of one publisher to one topic at one quality of service, numbered from 1."""

    name: str
    topic: str
    qos: int
    retain: bool = False


@dataclass
class Reading:
    """What one reader (or one group, as one) was entitled to, and what its application was given, in order."""

    streams: list
    qos: int
    ordered: bool
    got: dict = field(default_factory=lambda: defaultdict(list))


class Record:
    """Numbers messages, notes acknowledgements and deliveries. Publishers live in threads."""

    def __init__(self, payload_bytes=200):
        self.payload_bytes = payload_bytes
        self.lock = threading.Lock()
        self.sent = Counter()
        self.promised = defaultdict(set)
        self.readings = {}
        self.forgotten = Counter()
        self.strange = []
        self.deliveries = 0

    def next(self, stream):
        """The number and the payload of the stream's next message."""
        with self.lock:
            self.sent[stream.name] += 1
            sequence = self.sent[stream.name]
        return sequence, f"<{stream.name} {sequence}>".encode().ljust(self.payload_bytes, b".")

    def acknowledged(self, stream, sequence):
        """The broker has promised this message."""
        with self.lock:
            self.promised[stream.name].add(sequence)

    def reading(self, name, streams, qos, ordered=True):
        """Opens the books for a reader and returns its `take`."""
        reading = self.readings[name] = Reading(streams, qos, ordered)
        names = {stream.name for stream in streams}

        def take(payload, topic, _qos, _reader):
            stream, sequence = payload[1 : payload.index(b">")].decode().split()
            if stream in names:
                reading.got[stream].append(int(sequence))
                self.deliveries += 1
            else:
                self.strange.append(f"{name} got {stream} {sequence} on {topic}")

        return take

    def forget(self, name):
        """The broker has forgotten a session that it had confirmed."""
        with self.lock:
            self.forgotten[name] += 1

    def acknowledgements(self, qos=None, streams=()):
        """How many messages were promised."""
        with self.lock:
            chosen = [stream.name for stream in streams if qos in (None, stream.qos)]
            return sum(len(self.promised[name]) for name in chosen)

    def missing(self, name):
        """What this reader was promised and has not got, by stream."""
        reading = self.readings[name]
        with self.lock:
            owed = {stream.name: self.promised[stream.name] - set(reading.got[stream.name]) for stream in reading.streams}
        return {stream: sequences for stream, sequences in owed.items() if sequences}

    def complete(self):
        return not any(self.missing(name) for name in self.readings)

    def doubled(self, name):
        """(stream, sequence) that the application was given again though both sides had agreed on exactly once."""
        reading = self.readings[name]
        exact = [stream.name for stream in reading.streams if min(stream.qos, reading.qos) == 2]
        return [
            (stream, sequence)
            for stream in exact
            for sequence, times in Counter(reading.got[stream]).items()
            if times > 1
        ]

    def disordered(self, name):
        """(stream, sequence) that came, for the first time, after a later one of its stream (MQTT 5 §4.6: repeats of
        QoS 1 messages may come late, first deliveries may not)."""
        reading, found = self.readings[name], []
        for stream, sequences in reading.got.items() if reading.ordered else ():
            highest, seen = 0, set()
            for sequence in sequences:
                if sequence < highest and sequence not in seen:
                    found.append((stream, sequence))
                highest = max(highest, sequence)
                seen.add(sequence)
        return found

