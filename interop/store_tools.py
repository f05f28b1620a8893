"""`althing store` on the directory of a broker that is being killed: check after every kill, backups under load, restoring them."""

import asyncio
import random
import subprocess

from broker import Althing
from raw import publish
from steady import Reader


class StoreTools:
    """Looks at the broker's directory from outside, and notes what is not as it should be."""

    def __init__(self, broker, record):
        self.broker, self.record = broker, record
        self.checks, self.damaged = 0, []
        self.running = None
        self.number = 0
        self.copies = []  # (target, what was promised when it began)
        self.killed = 0
        self.bad_copies = []
        self.proved = 0  # messages that a restored copy has delivered

    def _command(self, *words):
        return [str(self.broker.binary()), "store", *map(str, words)]

    async def _run(self, *words):
        """Exit code and output."""
        process = await asyncio.to_thread(subprocess.run, self._command(*words), capture_output=True, text=True)
        return process.returncode, process.stdout + process.stderr

    async def check(self):
        """What a kill has left must be undamaged before anybody has opened it again."""
        code, text = await self._run("check", self.broker.data)
        self.checks += 1
        if code:
            self.damaged.append(text.strip())

    def begin_backup(self):
        """A copy while the broker runs, one at a time."""
        if self.running:
            return
        self.number += 1
        target = self.broker.folder / f"backup-{self.number}"
        with self.record.lock:
            promised = {name: max(numbers, default=0) for name, numbers in self.record.promised.items()}
        process = subprocess.Popen(self._command("backup", self.broker.data, target), stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)  # fmt: skip
        self.running = (process, target, promised)

    async def end_backup(self):
        """The broker has been killed: the copy goes on, or is killed as well."""
        if not self.running:
            return
        (process, target, promised), self.running = self.running, None
        if process.poll() is None and random.random() < 0.5:
            process.kill()
            self.killed += 1
        output, _ = await asyncio.to_thread(process.communicate)
        if process.returncode == 0:
            self.copies.append((target, promised))
        elif process.returncode > 0 and "in use by another process" not in output:
            # A broker that is just starting clears away what a killed copy has left.
            self.bad_copies.append(f"backup ended with {process.returncode}: {output.strip()}")
        if target.exists():
            code, text = await self._run("check", target)
            if code:
                self.bad_copies.append(text.strip())

    async def restore(self, target, directory):
        """Restores, killed a few times on the way, and then to its end."""
        for _ in range(5):
            process = subprocess.Popen(self._command("restore", target, directory), stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)  # fmt: skip
            await asyncio.sleep(random.uniform(0, 0.02))
            process.kill()
            process.wait()
            if directory.exists():
                break
        else:
            code, text = await self._run("restore", target, directory)
            if code:
                self.bad_copies.append(f"restore ended with {code}: {text.strip()}")
        code, text = await self._run("check", directory)
        if code:
            self.bad_copies.append(text.strip())

    async def prove_copy(self, away):
        """A broker on a restored copy owes `away` the beginning of each stream without a gap, and at least all that had been
        promised when the copy began. Only true while it has never come; only done once."""
        if self.proved or not self.copies:
            return
        target, promised = self.copies[-1]
        broker = Althing(settings=self.broker.settings)
        await self.restore(target, broker.data)
        await broker.start()
        try:
            got, fence = {}, asyncio.Event()

            def take(payload, topic, _qos, _reader):
                if topic.endswith("/fence"):
                    return fence.set()
                stream, number = payload[1 : payload.index(b">")].decode().split()
                got.setdefault(stream, set()).add(int(number))

            reader = Reader(broker, away.name, away.filters, away.qos, take, self.bad_copies.append)
            # It was there before: the copy must know it.
            reader.known = True
            reader.subscribed.set()
            reader.come()
            while not reader.transport:
                await asyncio.sleep(0.02)
            reader.send(publish("kill/copy/fence", b"", 1, 1))
            await asyncio.wait_for(fence.wait(), 60)
            reader.go()
            self.proved = sum(len(numbers) for numbers in got.values())
            for stream in self.record.readings[away.name].streams:
                numbers = got.get(stream.name, set())
                if numbers != set(range(1, len(numbers) + 1)):
                    self.bad_copies.append(f"{stream.name} has gaps: {sorted(numbers)[:5]}… of {len(numbers)}")
                if len(numbers) < promised.get(stream.name, 0):
                    self.bad_copies.append(f"{stream.name} ends at {len(numbers)}, {promised[stream.name]} was promised")
        finally:
            await broker.stop()
            broker.remove()
