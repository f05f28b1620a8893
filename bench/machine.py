"""What the comparisons share: brokers as processes on a core of their own, and what the machine says about itself."""

import datetime
import os
import platform
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time

BROKER_CORE, GENERATOR_CORE = "0", "1"


def find_mosquitto():
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    found = shutil.which("mosquitto", path=path)
    if not found:
        sys.exit("Error: mosquitto is not installed. On Debian and Ubuntu: apt-get install mosquitto "
                 "(and, if the package starts its service, systemctl disable --now mosquitto).")
    return found


def raise_descriptor_limit():
    """The brokers and the generator inherit it; 10,000 connections need it on both sides."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def describe(mosquitto, broker_cores=BROKER_CORE):
    """Date, commit, versions and machine, in one sentence."""
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    version = subprocess.run([mosquitto, "-h"], capture_output=True, text=True).stdout.splitlines()[0]
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    today = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    load = os.getloadavg()[0]
    return (f"{today}, commit {commit or '?'}, {version}. {model}, {os.cpu_count()} cores, Linux {platform.release()}, "
            f"load before {load:.1f}. Broker on core {broker_cores}, generator on core {GENERATOR_CORE}; loopback TCP, "
            "MQTT 3.1.1")


def on_core(core, realtime=False):
    """These words replace themselves by the command, so that its process id is the one that was started."""
    return (["chrt", "--fifo", "1"] if realtime else []) + ["taskset", "-c", core]


def cpu_s(pid):
    """The processor time that a process has used."""
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return sum(int(field) for field in fields[11:13]) / os.sysconf("SC_CLK_TCK")


def free_port(first):
    for port in range(first, first + 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    sys.exit(f"Error: no free port from {first} on")


def wait_for(broker, port, seconds=10):
    """Whether the broker listens before the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and broker.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        except OSError:
            time.sleep(0.02)
    return False


def stop(broker):
    broker.send_signal(signal.SIGTERM)
    try:
        broker.wait(timeout=5)
    except subprocess.TimeoutExpired:
        broker.kill()
        broker.wait()
