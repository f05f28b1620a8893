"""A mosquitto.conf with a password file and an ACL file, run by mosquitto itself and, imported, by Althing: each case of the
table must end in the same way at both."""

import argparse
import os
import queue
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from broker import HOST, free_port

HERE = Path(__file__).resolve().parent
# When the awaited has not come by then, something is broken.
PATIENCE_S = 20
NOBODY = "-"
USERS = ["root", "ann", "bob", "sys", "eve"]
# root hears it back: everything before it has been delivered then, or never will be.
FENCE = "fence"


class Client:
    """A paho client: what it was answered is in one queue, what it was sent in another."""

    def __init__(self, port, user, client_id, password=None, will=None):
        self.answers, self.messages = queue.Queue(), queue.Queue()
        self.paho = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id, protocol=mqtt.MQTTv5, reconnect_on_failure=False)
        self.paho.on_connect = lambda _c, _u, _f, code, _p: self.answers.put(("connected", code))
        self.paho.on_subscribe = lambda _c, _u, mid, codes, _p: self.answers.put(("subscribed", codes))
        self.paho.on_publish = lambda _c, _u, mid, code, _p: self.answers.put(("published", code))
        self.paho.on_disconnect = lambda *_: (self.answers.put(("disconnected", None)), self.messages.put(None))
        self.paho.on_message = lambda _c, _u, message: self.messages.put(bytes(message.payload))
        if user != NOBODY:
            self.paho.username_pw_set(user, password or f"password of {user}")
        if will:
            self.paho.will_set(will[0], will[1], qos=1)
        self.paho.connect(HOST, port, clean_start=True)
        self.paho.loop_start()
        kind, code = self.wait("connected", "disconnected")
        self.connected = kind == "connected" and not code.is_failure

    def wait(self, *kinds):
        """The next answer of one of these kinds."""
        while True:
            kind, value = self.answers.get(timeout=PATIENCE_S)
            if kind in kinds:
                return kind, value

    def subscribe(self, pattern):
        self.paho.subscribe(pattern, qos=1)
        self.wait("subscribed", "disconnected")

    def publish(self, topic, payload, retain=False):
        """Returns when the broker has said yes or no."""
        self.paho.publish(topic, payload, qos=1, retain=retain)
        self.wait("published", "disconnected")

    def hears_before(self, payload, fence):
        """Whether `payload`, or anything when that is None, comes before `fence`."""
        while True:
            message = self.messages.get(timeout=PATIENCE_S)
            if message is None or message == fence:
                return False
            if payload in (None, message):
                return True

    def close(self):
        self.paho.disconnect()
        self.paho.loop_stop()


class Table:
    """All cases against one broker."""

    def __init__(self, port):
        self.port = port
        self.root = Client(port, "root", "root")
        self.root.subscribe("#")
        self.number = 0

    def outcome(self, user, client, action, pattern, topic):
        self.number += 1
        self.payload, self.fence = f"case {self.number}".encode(), f"fence {self.number}".encode()
        return "allow" if getattr(self, action)(user, client, pattern, topic) else "deny"

    def login(self, user, client, _pattern, password):
        password = None if password == "right" else password
        subject = Client(self.port, user, client, password)
        subject.close()
        return subject.connected

    def read(self, user, client, pattern, topic):
        subject = Client(self.port, user, client)
        subject.subscribe(pattern)
        subject.subscribe(f"client/{client}")
        if not topic.startswith("$"):
            self.root.publish(topic, self.payload)
        # Everyone may read this one.
        self.root.publish(f"client/{client}", self.fence)
        heard = subject.hears_before(None if topic.startswith("$") else self.payload, self.fence)
        subject.close()
        return heard

    def shared(self, user, client, pattern, topic):
        return self.read(user, client, f"$share/group/{pattern}", topic)

    def retained(self, user, client, pattern, topic):
        self.root.publish(topic, self.payload, retain=True)
        subject = Client(self.port, user, client)
        subject.subscribe(pattern)
        subject.subscribe(f"client/{client}")
        self.root.publish(f"client/{client}", self.fence)
        heard = subject.hears_before(self.payload, self.fence)
        subject.close()
        self.root.publish(topic, b"", retain=True)
        return heard

    def write(self, user, client, _pattern, topic):
        subject = Client(self.port, user, client)
        subject.publish(topic, self.payload)
        self.root.publish(FENCE, self.fence)
        heard = self.root.hears_before(self.payload, self.fence)
        subject.close()
        return heard

    def will(self, user, client, _pattern, topic):
        subject = Client(self.port, user, client, will=(topic, self.payload))
        if subject.connected:
            # Leaves with its will; whoever takes its place comes after the will.
            subject.paho.disconnect(reasoncode=ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message"))
            subject.paho.loop_stop()
        Client(self.port, user, client).close()
        self.root.publish(FENCE, self.fence)
        return self.root.hears_before(self.payload, self.fence)


def cases(path):
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            yield [word.replace("\\s", " ") for word in line.split()]


def configuration(folder, port):
    """A folder with a mosquitto.conf, its passwords and its rules."""
    passwords = folder / "passwords"
    passwords.touch(mode=0o600)
    for user in USERS:
        subprocess.run(["mosquitto_passwd", "-b", passwords, user, f"password of {user}"], check=True, capture_output=True)
    rules = folder / "acl"
    shutil.copy(HERE / "acl_table.acl", rules)
    rules.chmod(0o600)
    path = folder / "mosquitto.conf"
    lines = [f"listener {port} {HOST}", "allow_anonymous true", f"password_file {passwords}", f"acl_file {rules}"]
    path.write_text("\n".join(["persistence false", *lines]) + "\n")
    return path


def mosquitto(folder, port):
    # As root it would become somebody who cannot read the files.
    path = configuration(folder, port)
    path.write_text(path.read_text() + "user root\n")
    return [shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", str(path)]


def althing(folder, port):
    binary = os.environ.get("ALTHING_BIN", str(HERE.parent / "target/release/althing"))
    imported = subprocess.run(
        [binary, "config", "import", configuration(folder, port)], check=True, capture_output=True, text=True
    )
    (folder / "althing.toml").write_text(imported.stdout)
    return [binary, "serve", "--config", str(folder / "althing.toml"), "--set", "admin.enabled=false"]


def outcomes(name, command, table):
    """What each case comes to at one broker."""
    folder, port = Path(tempfile.mkdtemp(prefix="althing-acl-")), free_port()
    log = (folder / "log").open("wb")
    broker = subprocess.Popen(command(folder, port), cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        await_port(broker, port, folder)
        run = Table(port)
        return [run.outcome(*case[:5]) for case in table]
    except BaseException:
        print(f"{name}: {(folder / 'log').read_text(errors='replace')[-4000:]}", file=sys.stderr)
        raise
    finally:
        broker.terminate()
        broker.wait(PATIENCE_S)
        shutil.rmtree(folder, ignore_errors=True)


def await_port(broker, port, folder):
    end = time.monotonic() + PATIENCE_S
    while broker.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection((HOST, port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise RuntimeError(f"it does not listen: {(folder / 'log').read_text(errors='replace')}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    table = list(cases(HERE / "acl_table.txt"))
    theirs, ours = outcomes("mosquitto", mosquitto, table), outcomes("althing", althing, table)
    wrong = 0
    for case, their, our in zip(table, theirs, ours):
        if not their == our == case[5]:
            wrong += 1
            print(f"{' '.join(case[:5])}: the table says {case[5]}, mosquitto {their}, althing {our}")
    print(f"{len(table)} cases, {len(table) - wrong} the same at both and as the table says")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
