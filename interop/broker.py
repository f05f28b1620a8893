"""The broker under test, as a process of its own on a port of its own."""

import asyncio
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from report import DEADLINE_S

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
# What names the broker in its certificate.
NAME = "localhost"

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

    def __init__(self, files_max=None, settings=(), around=(), is_secure=False):
        """`files_max`: how many file descriptors it may have, if not as many as we. `settings`: lines (mosquitto) or
        `key=value` (Althing) of configuration. `around`: a command that runs the broker, `strace` for one.
        `is_secure`: whether `web_tls_port` listens."""
        self.files_max = files_max
        self.settings, self.around = settings, around
        self.port = free_port()
        # Of the datagram language; None where it is not spoken.
        self.coap_port = None
        # Where it speaks CoAP over TCP, if it does.
        self.coap_tcp_port = None
        # Where it does so inside TLS, if a test wants to know.
        self.coap_tls_port = None
        self.folder = Path(tempfile.mkdtemp(prefix="althing-interop-"))
        # Where it speaks STOMP, if it does.
        self.stomp_port = None
        # MQTT inside WebSocket, and whatever else it does over HTTP; the same inside TLS.
        self.web_port, self.web_tls_port = free_port(), free_port()
        self.is_secure = is_secure
        self.unix = self.folder / "mqtt.sock"
        # What outlives the process.
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self.process = None

    def command(self):
        """The command line of the broker; may write files to `self.folder` first."""
        raise NotImplementedError

    def certificate(self, file):
        """The path of one of the files that make it `is_secure`: ca.crt, localhost.crt, localhost.key."""
        return str(self.folder / file)

    def _make_certificates(self):
        for words in (["ca"], ["server", "--name", NAME, "--ip", HOST]):
            command = [str(Althing.binary()), "cert", words[0], str(self.folder), *words[1:]]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    async def start(self):
        if self.is_secure and not Path(self.certificate("ca.crt")).exists():
            self._make_certificates()
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
        for port in (self.port, self.web_port):
            while True:
                try:
                    _, writer = await asyncio.open_connection(HOST, port)
                    writer.close()
                    break
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

    def console(self):
        """An address of the console that lets somebody in, once."""
        command = [str(self.binary()), "console", "--data", str(self.data)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return re.search(r"http://\S+#code=\S+", said)[0]

    def token(self):
        """The administrator's."""
        return re.search(r"administrator's token, shown only now: (\S+)", self.log.read_text(errors="replace"))[1]

    def command(self):
        binary = self.binary()
        # The same ones at each start: clients come back.
        self.coap_port = self.coap_port or free_port(socket.SOCK_DGRAM)
        self.coap_tcp_port = self.coap_tcp_port or free_port()
        self.stomp_port = self.stomp_port or free_port()
        config = self.folder / "althing.toml"
        config.write_text(
            f"""
            [mqtt]
            bind = ["{HOST}:{self.port}", "unix:{self.unix}"]

            [coap]
            bind = "{HOST}:{self.coap_port}"
            [coap-tcp]
            bind = "{HOST}:{self.coap_tcp_port}"

            [stomp]
            bind = "{HOST}:{self.stomp_port}"

            [http]
            bind = "{HOST}:{self.web_port}"

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
        secure = [
            f"http.tls_bind={HOST}:{self.web_tls_port}",
            # A certificate has the others listen as well, at the usual ports.
            f"mqtt.tls_bind={HOST}:0",
            f"stomp.tls_bind={HOST}:0",
            f"coap-tcp.tls_bind={HOST}:{self.coap_tls_port or 0}",
            f"tls.certificate={self.certificate(f'{NAME}.crt')}",
            f"tls.key={self.certificate(f'{NAME}.key')}",
        ]
        settings = [*(secure if self.is_secure else []), *self.settings]
        options = [word for setting in settings for word in ("--set", setting)]
        return [str(binary), "serve", "--config", str(config), "--data", str(self.data), *options]


class Mosquitto(Broker):
    name = "mosquitto"
    deviates = {
        "the end of the session ends the delay": "a will delay goes on after a clean start",
        "a payload of 1 MiB": "2.0.11 loses it inside WebSocket",
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
listener {self.web_port} {HOST}
protocol websockets
{self._secure_listener() if self.is_secure else ""}
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

    def _secure_listener(self):
        certificate, key = self.certificate(f"{NAME}.crt"), self.certificate(f"{NAME}.key")
        return f"listener {self.web_tls_port} {HOST}\nprotocol websockets\ncertfile {certificate}\nkeyfile {key}"
