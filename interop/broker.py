"""The broker under test, as a process of its own on a port of its own."""

import asyncio
import os
import random
import resource
import shutil
import signal
import socket
import tempfile
from pathlib import Path

from report import DEADLINE_S

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"

# What both brokers are told, so that the cases can meet a limit without a flood.
KEEP_ALIVE_S_MAX = 300
PACKET_BYTES_MAX = 2 << 20
# Small enough that the cases fill, change and clean segments of the store.
SEGMENT_BYTES = 4 << 20
# Only Althing has such limits.
SUBSCRIPTIONS_MAX = 5000


def free_port(kind=socket.SOCK_STREAM):
    """A port below the ephemeral range, so that no outgoing connection can hold it."""
    for port in random.sample(range(20000, 30000), 200):
        with socket.socket(type=kind) as probe:
            try:
                probe.bind((HOST, port))
                return port
            except OSError:
                continue
    raise RuntimeError("no free port between 20000 and 30000")


class Broker:
    """Starts, says where it listens, and stops."""

    name = ""
    # Cases that it is known to fail, each with the reason.
    deviates = {}
    # Why it may fail those that send what no client may send.
    deviates_on_bad_input = None

    def __init__(self, files_max=None, settings=(), around=()):
        """`files_max`: how many file descriptors it may have, if not as many as we. `settings`: lines (mosquitto) or
        `key=value` (Althing) of configuration. `around`: a command that runs the broker, `strace` for one."""
        self.files_max = files_max
        self.settings, self.around = settings, around
        self.port = free_port()
        # Of the datagram language; None where it is not spoken.
        self.coap_port = None
        self.folder = Path(tempfile.mkdtemp(prefix="althing-interop-"))
        # Where it speaks STOMP, if it does.
        self.stomp_port = None
        self.unix = self.folder / "mqtt.sock"
        # What outlives the process.
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self.process = None

    def command(self):
        """The command line of the broker; may write files to `self.folder` first."""
        raise NotImplementedError

    async def start(self):
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.around,
                *self.command(),
                cwd=self.folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=self._limit_files if self.files_max else None,
            )
        exited = asyncio.ensure_future(self.process.wait())
        ready = asyncio.ensure_future(self._accepts())
        await asyncio.wait({exited, ready}, timeout=DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            ready.cancel()
            raise RuntimeError(f"{self.name} does not listen on port {self.port}:\n{self.tail()}")
        exited.cancel()

    def _limit_files(self):
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.files_max, self.files_max))

    async def _accepts(self):
        while True:
            try:
                _, writer = await asyncio.open_connection(HOST, self.port)
                writer.close()
                return
            except OSError:
                # Nothing announces the listener but the listener: ask again at the next chance.
                await asyncio.sleep(0.02)

    @property
    def running(self):
        return self.process is not None and self.process.returncode is None

    async def stop(self):
        """Asks it to end. Returns the exit code, or None when it had to be killed."""
        if not self.running:
            return self.process.returncode if self.process else None
        self.process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self.process.wait(), DEADLINE_S)
        except asyncio.TimeoutError:
            self.process.kill()
            await self.process.wait()
            return None

    async def kill(self):
        """Ends it as a crash would, at once and without a word."""
        if self.running:
            self.process.kill()
        await self.process.wait()

    def panics(self):
        """The lines of its log that tell of a panic."""
        return [line for line in self.log.read_text(errors="replace").splitlines() if "panicked" in line]

    def tail(self, lines=20):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)


class Althing(Broker):
    name = "althing"

    @staticmethod
    def binary():
        binary = Path(os.environ.get("ALTHING_BIN") or ROOT / "target" / "release" / "althing").resolve()
        if not binary.exists():
            raise RuntimeError(f"{binary} is missing: ./test build, or set ALTHING_BIN")
        return binary

    def command(self):
        binary = self.binary()
        # The same ones at each start: clients come back.
        self.coap_port = self.coap_port or free_port(socket.SOCK_DGRAM)
        self.stomp_port = self.stomp_port or free_port()
        config = self.folder / "althing.toml"
        config.write_text(
            f"""
            [mqtt]
            bind = ["{HOST}:{self.port}", "unix:{self.unix}"]

            [coap]
            bind = "{HOST}:{self.coap_port}"

            [stomp]
            bind = "{HOST}:{self.stomp_port}"

            [http]
            bind = "{HOST}:0"

            [admin]
            bind = "{HOST}:0"

            [server]
            sys_interval_s = 1

            [store]
            durability = "sync"
            segment_bytes = {SEGMENT_BYTES}

            [limits]
            keep_alive_s_max = {KEEP_ALIVE_S_MAX}
            packet_bytes_max = {PACKET_BYTES_MAX}
            connect_timeout_ms = 3000
            packet_timeout_ms = 3000
            stall_ms = 1000
            subscriptions_per_session_max = {SUBSCRIPTIONS_MAX}
            """
        )
        options = [word for setting in self.settings for word in ("--set", setting)]
        return [str(binary), "serve", "--config", str(config), "--data", str(self.data), *options]


class Mosquitto(Broker):
    name = "mosquitto"
    deviates = {
        "the end of the session ends the delay": "a will delay goes on after a clean start",
        "takeover": "2.0.11 closes without a DISCONNECT",
        "shared: no retained messages": "it sends them",
        "overlapping subscriptions: one copy, highest QoS, all identifiers": "it sends the first match's",
        "CONNECT twice": "it closes without a word",
        "MQTT 3.1.1: bad packets close the connection without a word": "it bears some",
        "more than receive maximum unacknowledged": "it refuses the message, not the connection",
        "receive maximum of the client is kept": "2.0.11 sends one too many",
        "keep alive: silence ends it": "2.0.11 closes without a DISCONNECT",
        "PUBREL for an unknown id": "it takes it for known",
    }
    deviates_on_bad_input = "it closes without a word, or bears it"

    def command(self):
        config = self.folder / "mosquitto.conf"
        config.write_text(
            f"""
listener {self.port} {HOST}
max_topic_alias 64
listener 0 {self.unix}
allow_anonymous true
max_keepalive {KEEP_ALIVE_S_MAX}
max_packet_size {PACKET_BYTES_MAX}
max_queued_messages 0
sys_interval 1
log_type all
user root
persistence_location {self.data}/
"""
            + "\n".join(self.settings)
            + "\n"
        )
        self.data.mkdir(exist_ok=True)
        return [shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", str(config)]
