"""Kills the broker with -9 at random moments, under load, again and again, and compares what clients were promised with
what they got.

The load: publishers at QoS 1 and 2 (paho, MQTT 3.1.1 and 5), over STOMP with receipts and over CoAP; retained values; subscriptions
that change all the time. The readers: lasting sessions that come back at once (our own strict one, and paho), one
that comes and goes, one that stays away until the end, a `$share` group and the consumers of a `$queue`.
"""

import argparse
import asyncio
import logging
import random
import statistics
import sys
import time
from collections import Counter

from broker import Althing, Mosquitto
from raw import publish
from record import Record, Stream
from report import DEADLINE_S, Report
from steady import CoapPublisher, Keeper, PahoPublisher, PahoReader, Reader, Retainer, StompPublisher
from store_tools import StoreTools

# Nothing at all arrives for so long: what is missing now is lost.
SILENCE_S = 5
PUBLISHERS = 4
# How seldom the one that is away comes, in kills.
VISIT = 40


class World:
    """The clients of one run and the record of what they were promised."""

    def __init__(self, broker):
        self.broker, self.record = broker, Record()
        self.foreign = broker.name != "althing"  # one that speaks MQTT only and has no standing queues
        self._publishers()
        self._readers()

    def _publishers(self):
        broker, record = self.broker, self.record
        self.streams, self.jobs, self.publishers = [], [], []
        for number in range(PUBLISHERS):
            streams = [Stream(f"p{number}/{word}", f"kill/p{number}/{word}", qos) for word, qos in (("one", 1), ("two", 2))]
            jobs = [Stream(f"jobs{number}/{word}", "$queue/jobs", qos) for word, qos in (("one", 1), ("two", 2))]
            self.streams += streams
            if not self.foreign:
                self.jobs += jobs
                streams = streams + jobs
            self.publishers.append(
                PahoPublisher(broker, f"p{number}", 4 + number % 2, streams, record, record.forget)
            )
        if not self.foreign:
            stomp, coap = Stream("stomp", "kill/stomp/one", 1), Stream("coap", "kill/coap/one", 1)
            self.publishers += [StompPublisher(broker, stomp, record), CoapPublisher(broker, coap, record)]
            self.streams += [stomp, coap]
        self.retainer = Retainer(broker, "retainer", record.forget)
        self.keeper = Keeper(broker, "keeper", record.forget)

    def _readers(self):
        broker, record = self.broker, self.record

        def reader(name, qos, kind=Reader):
            return kind(broker, name, ["kill/+/+"], qos, record.reading(name, self.streams, qos), record.forget)

        def competing(name, members, wanted, streams):
            take = record.reading(name, streams, 2, ordered=False)
            return [Reader(broker, f"{name}{n}", [wanted], 2, take, record.forget) for n in range(members)]

        self.paho = reader("paho", 2, PahoReader)
        self.steady = [reader("steady 1", 1), reader("steady 2", 2)]
        self.rovers = [reader("rover", 2)]
        self.away = reader("away", 2)
        crew = competing("crew", 3, "$share/crew/kill/+/+", self.streams)
        hands = [] if self.foreign else competing("hands", 2, "$queue/jobs", self.jobs)
        self.steady += crew[1:] + hands[1:]
        self.rovers += crew[:1] + hands[:1]
        self.readers = [*self.steady, *self.rovers, self.away]

    async def begin(self):
        """Subscribes everybody, then sends one away and lets the load begin."""
        for reader in [*self.readers, self.keeper]:
            reader.come()
        self.paho.start()
        for reader in [*self.readers, self.keeper]:
            await asyncio.wait_for(reader.subscribed.wait(), DEADLINE_S)
        await asyncio.to_thread(self.paho.subscribed.wait, DEADLINE_S)
        self.away.go()
        self.keeper.start()
        for publisher in [*self.publishers, self.retainer]:
            publisher.active = True
            publisher.start()

    def rove(self):
        """Some come, some go."""
        for rover in self.rovers:
            random.choice([rover.come, rover.go])()

    def visit(self, number):
        """The one that is away comes home for one life of the broker in forty, so that its queue stays finite."""
        self.away.come() if number % VISIT == VISIT - 1 else self.away.go()

    async def finish(self):
        """Ends the load, brings everybody back and waits until all is delivered, or until nothing comes any more."""
        for publisher in [*self.publishers, self.retainer]:
            publisher.active = False
        for reader in self.readers:
            reader.come()
        await self.keeper.finish()
        await self.until(lambda: not self.outstanding())
        # The last message of each stream is a fence: behind it nothing of the stream can come.
        for publisher in self.publishers:
            publisher.fence()
        await self.until(lambda: self.fenced() and not self.outstanding() and self.record.complete())

    def fenced(self):
        return not any(isinstance(publisher, PahoPublisher) and publisher.fences for publisher in self.publishers)

    def outstanding(self):
        return sum(len(publisher.unacknowledged) for publisher in [*self.publishers, self.retainer])

    async def until(self, done):
        progress = last = None
        while not done():
            state = (self.record.deliveries, self.outstanding())
            if state != progress:
                progress, last = state, time.monotonic()
            elif time.monotonic() - last > SILENCE_S:
                return
            await asyncio.sleep(0.05)

    async def lost_values(self):
        """Topics whose retained value is not the last one."""
        got, fence = {}, asyncio.Event()

        def take(payload, topic, _qos, _reader):
            fence.set() if topic == "kept/fence" else got.update({topic: payload})

        reader = Reader(self.broker, "values", ["kept/#"], 1, take, lambda _: None)
        reader.come()
        await asyncio.wait_for(reader.subscribed.wait(), DEADLINE_S)
        reader.send(publish("kept/fence", b"", 1, 1))
        await asyncio.wait_for(fence.wait(), DEADLINE_S)
        reader.go()
        return [topic for topic, value in self.retainer.values.items() if got.get(topic, b"") != value]

    async def lost_subscriptions(self):
        """Filters that are not as the broker has confirmed them."""
        keeper, prober = self.keeper, self.steady[0]
        wanted = keeper.confirmed
        # A delivery may come before the acknowledgement of its publish, so probes at QoS 1 could exceed the receive maximum.
        probes = [publish(name, b"", 0) for name in wanted]
        for start in range(0, len(probes), 500):
            keeper.fenced.clear()
            prober.send(b"".join(probes[start : start + 500]))
            prober.send(publish(f"{keeper.name}/fence", b"", 1, 65_000))
            await asyncio.wait_for(keeper.fenced.wait(), DEADLINE_S)
        return [name for name, subscribed in wanted.items() if subscribed != (name in keeper.arrived)]


async def kill_once(broker, world, tools, restarts, kinds):
    """One life of the broker: it is running when this begins and when it ends."""
    kind = random.choices(["at work", "just up", "starting"], [7, 1, 2])[0]
    kinds[kind] += 1
    world.rove()
    if tools and random.random() < 0.3:
        asyncio.get_running_loop().call_later(random.uniform(0, 0.5), tools.begin_backup)
    await asyncio.sleep({"at work": random.uniform(0.1, 1.2), "just up": random.uniform(0, 0.1), "starting": 0}[kind])
    await broker.kill()
    if kind == "starting":
        starting = asyncio.ensure_future(broker.start())
        while broker.process.returncode is not None:
            await asyncio.sleep(0)
        await asyncio.sleep(random.uniform(0, 0.2))
        await broker.kill()
        await asyncio.gather(starting, return_exceptions=True)
    if tools:
        await tools.end_backup()
        await tools.check()
    started = time.monotonic()
    await broker.start()
    restarts.append(time.monotonic() - started)


async def main(arguments):
    random.seed(arguments.seed)
    broker = make_broker(arguments)
    report, restarts, kinds = Report(), [], Counter()
    await broker.start()
    print(f"{broker.name} on port {broker.port}, seed {arguments.seed}, {broker.folder}", flush=True)
    world = World(broker)
    keeps = broker.name == "althing" and "store.durability=memory" not in arguments.set
    tools = StoreTools(broker, world.record) if keeps else None
    try:
        await world.begin()
        await asyncio.sleep(arguments.load_s)
        for number in range(arguments.kills):
            if tools and number == VISIT - 1:
                await tools.prove_copy(world.away)
            world.visit(number)
            await kill_once(broker, world, tools, restarts, kinds)
            print(f"kill {number + 1}: {world.record.deliveries} deliveries", file=sys.stderr)
        if tools:
            await tools.end_backup()
            await tools.prove_copy(world.away)
        await world.finish()
        values, subscriptions = await world.lost_values(), await world.lost_subscriptions()
    except BaseException:
        print(f"the broker's folder: {broker.folder}")
        raise
    finally:
        clean = await broker.stop()
    verdict(report, world, values, subscriptions, broker, clean)
    if tools:
        judge(report, f"{tools.checks} directories left by a kill: no damage", tools.damaged)
        told = f"{len(tools.copies)} hot backups ({tools.killed} more were killed), a restored one owes {tools.proved} messages"
        judge(report, f"{told}: beginnings without gaps", tools.bad_copies)
    print_row(arguments, broker, world, values, subscriptions, restarts, kinds)
    if report.count("FAIL") and not arguments.expect_loss or arguments.keep:
        print(f"the broker's folder: {broker.folder}")
    else:
        broker.remove()
    if arguments.expect_loss:
        seen = bool(report.count("FAIL"))
        print(f"losses were expected, and {'were seen' if seen else 'were NOT seen: this proves nothing'}")
        print(f"interop: {int(seen)} passed, {int(not seen)} failed, 0 skipped")
        return 0 if seen else 1
    print(report.summary())
    return 1 if report.count("FAIL") else 0


def verdict(report, world, values, subscriptions, broker, clean):
    record = world.record
    for name in record.readings:
        lost = [f"{stream} {n}" for stream, missing in record.missing(name).items() for n in sorted(missing)]
        judge(report, f"{name}: nothing acknowledged is lost", lost)
        if record.readings[name].qos == 2:
            judge(report, f"{name}: QoS 2 is exactly once", record.doubled(name))
        if record.readings[name].ordered:
            judge(report, f"{name}: in order", record.disordered(name))
    judge(report, "no message for anybody else", record.strange)
    judge(report, "no packet id is used again too early", [r.name for r in world.readers if r.confused])
    judge(report, "no session is forgotten", [f"{name} ×{times}" for name, times in record.forgotten.items()])
    judge(report, "no subscription is forgotten or comes back", subscriptions)
    judge(report, "no retained value is lost or old", values)
    judge(report, "everything sent is acknowledged in the end", range(world.outstanding()))
    judge(report, "no panic in its log", broker.panics())
    judge(report, "ends by itself when asked", [] if clean == 0 else [f"exit code {clean}"])


def judge(report, case, found):
    """A case that passes when nothing was found."""
    found = list(found)
    report.add("kill loop", case, *(["FAIL", f"{len(found)}: {', '.join(map(str, found[:5]))}"] if found else ["ok"]))


def print_row(arguments, broker, world, values, subscriptions, restarts, kinds):
    """One row of the table in docs/reliability.md."""
    record = world.record
    one, two = (record.acknowledgements(qos, world.streams + world.jobs) for qos in (1, 2))
    lost, shared = set(), set()
    for name, reading in record.readings.items():
        missing = {(stream, n) for stream, numbers in record.missing(name).items() for n in numbers}
        (lost if reading.ordered else shared).update(missing)
    doubled = {found for name in record.readings for found in record.doubled(name)}
    disordered = sum(len(record.disordered(name)) for name in record.readings)
    restarts = restarts or [0]
    print(
        f"\n{', '.join(f'{count} {kind}' for kind, count in kinds.items())}; "
        f"restart to listening: median {statistics.median(restarts) * 1e3:.0f} ms, "
        f"at most {max(restarts) * 1e3:.0f} ms; {record.deliveries:,} deliveries\n\n"
        "| broker | kills | acknowledged (QoS 1, QoS 2) | lost to sessions, to groups | doubled at QoS 2 | out of order | sessions forgotten "
        "| subscriptions wrong (of) | retained values wrong (of) |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
        f"| {broker.name}{''.join(f', `{setting}`' for setting in arguments.set)} | {arguments.kills} | {one:,}, {two:,} "
        f"| {len(lost):,}, {len(shared):,} | {len(doubled):,} | {disordered:,} | {sum(record.forgotten.values()):,} "
        f"| {len(subscriptions):,} ({len(world.keeper.confirmed):,}) | {len(values):,} ({len(world.retainer.values):,}) |\n"
    )


def make_broker(arguments):
    if arguments.broker == "mosquitto":
        return Mosquitto(settings=["persistence true", "log_dest none", *arguments.set])
    limits = ["limits.queue_messages_max=10000000", "limits.queue_bytes_max=8589934592"]
    return Althing(settings=[*limits, *arguments.set])


def parse():
    parser = argparse.ArgumentParser(prog="interop/kill_loop.py", description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--broker", choices=["althing", "mosquitto"], default="althing")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="configuration of the broker, as `althing --set` takes it; of mosquitto: a line of its file")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of the moments, not of the threads")
    parser.add_argument("--load-s", type=float, default=0, help="load before the first kill, in seconds")
    parser.add_argument("--expect-loss", action="store_true", help="succeed when something is lost: can this test fail?")
    parser.add_argument("--keep", action="store_true", help="keep the broker's folder")
    return parser.parse_args()


if __name__ == "__main__":
    # What asyncio says about lost connections is what this is about.
    logging.disable(logging.CRITICAL)
    sys.exit(asyncio.run(main(parse())))
