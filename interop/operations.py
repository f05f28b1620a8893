"""Running a broker: how it ends, what the service manager and the log hear, `--lan`, and the commands for administrators.

Each case has a broker of its own.
"""

import asyncio
import contextlib
import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from broker import HOST, ROOT
from raw import DISCONNECT, PUBACK, SUBACK, House, properties, publish, subscribe
from report import Skip, case_of, expect, within

TABLE = []
case = case_of(TABLE)

USE_ANOTHER_SERVER, SHUTTING_DOWN, NOT_AUTHORISED = 0x9C, 0x8B, 0x87


async def run(client, broker, report, wanted):
    for number, (name, function) in enumerate(TABLE):
        if wanted(name):
            house = Operated(broker, f"operations/{number}")
            await report.run(client, name, house.attempt(function), broker.deviates.get(name))


class Operated(House):
    """A house that also has the command line."""

    async def althing(self, *words, code=0):
        """The output of a command on this broker."""
        return await self.command("--data", self.broker.data, first=words, code=code)

    async def command(self, *words, first=(), code=0):
        command = [str(self.broker.binary()), *map(str, (*first, *words))]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.broker.folder
        )
        out, err = await within(process.communicate(), " ".join(command))
        if process.returncode != code:
            raise AssertionError(f"{' '.join(command)}: exit code {process.returncode}, expected {code}: {err.decode()}")
        return out.decode() + err.decode()

    async def objects(self, *words):
        """What a command prints as JSON, one object a line."""
        return [json.loads(line) for line in (await self.althing(*words, "--json")).splitlines()]

    def signal(self, number):
        self.broker.process.send_signal(number)

    async def ended(self):
        return await within(self.broker.process.wait(), "the end of the broker")

    async def logged(self, wanted, path=None):
        """Waits for a line of the log that contains this."""

        async def look():
            while True:
                with contextlib.suppress(FileNotFoundError):
                    for line in (path or self.broker.log).read_text().splitlines():
                        if wanted in line:
                            return line
                await asyncio.sleep(0.02)

        return await within(look(), f"a line with {wanted!r} in the log")


def reason_of(body):
    """The code of a DISCONNECT, and its properties as they are."""
    return (body[0] if body else 0), body[2:]


@case("SIGTERM: MQTT 5 hears that the broker stops, the session is kept, exit code 0")
async def _(house):
    await house.another_broker()
    keeper = await house.subscribed("a/#", client_id="keeper", props=properties(b"\x11\0\0\x0f\xff"))
    house.signal(signal.SIGTERM)
    code, rest = reason_of(await keeper.expect_packet(DISCONNECT, "DISCONNECT"))
    expect(code, SHUTTING_DOWN, "the reason")
    assert b"stopping" in rest, f"no reason string in {rest!r}"
    await keeper.expect_end()
    expect(await house.ended(), 0, "the exit code")
    await house.broker.start()
    await house.connected(client_id="keeper", flags=0, props=properties(b"\x11\0\0\x0f\xff"))
    sessions = await house.objects("sessions")
    expect([(it["client"], it["subscriptions"]) for it in sessions], [("keeper", 1)], "the sessions after the start")


@case("SIGTERM: goodbyes are spread, name the other server, and nobody is let in meanwhile")
async def _(house):
    await house.another_broker(settings=["mqtt.server_reference=other.example:1883", "server.drain_ms=1500"])
    peers = [await house.connected(client_id=f"peer-{number}") for number in range(4)]
    house.signal(signal.SIGTERM)
    await house.logged("nobody is let in any more")
    order = []

    async def leave(number):
        code, rest = reason_of(await peers[number].expect_packet(DISCONNECT, "DISCONNECT"))
        expect(code, USE_ANOTHER_SERVER, "the reason")
        assert b"other.example:1883" in rest, f"no server reference in {rest!r}"
        order.append(number)
        if len(order) == 1:
            with contextlib.suppress(ConnectionRefusedError):
                await asyncio.open_connection(HOST, house.broker.port)
                raise AssertionError("somebody was let in")
            expect(order, [number], "who has heard goodbye so far")
        await peers[number].expect_end()

    await asyncio.gather(*(leave(number) for number in range(4)))
    expect(await house.ended(), 0, "the exit code")


@case("SIGTERM: mosquitto_sub hears it and the broker does not wait for a client that never closes")
async def _(house):
    await house.another_broker(settings=["server.drain_timeout_ms=500"])
    subscriber = await asyncio.create_subprocess_exec(
        "stdbuf", "-oL", "mosquitto_sub", "-p", str(house.broker.port), "-V", "5", "-d", "-t", "a", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        while b"SUBACK" not in await within(subscriber.stdout.readline(), "SUBACK"):
            pass
        await house.open()
        house.signal(signal.SIGTERM)
        expect(await house.ended(), 0, "the exit code")
        while b"DISCONNECT (139)" not in (line := await within(subscriber.stdout.readline(), "DISCONNECT 139")):
            assert line, "mosquitto_sub ended without having heard it"
    finally:
        with contextlib.suppress(ProcessLookupError):
            subscriber.kill()
        await subscriber.wait()


@case("a second signal ends the broker at once")
async def _(house):
    await house.another_broker(settings=["server.drain_ms=600000", "server.drain_timeout_ms=600000"])
    for number in range(2):
        await house.connected(client_id=f"peer-{number}")
    house.signal(signal.SIGTERM)
    await house.logged("saying goodbye")
    house.signal(signal.SIGTERM)
    expect(await house.ended(), 0, "the exit code")
    await house.logged("leaving at once")


@case("SIGINT does not spread goodbyes")
async def _(house):
    await house.another_broker(settings=["server.drain_ms=600000"])
    peer = await house.connected()
    house.signal(signal.SIGINT)
    await peer.expect_disconnect(SHUTTING_DOWN)
    expect(await house.ended(), 0, "the exit code")


@case("the service manager hears ready, alive and stopping")
async def _(house):
    house.only_althing("has no such words")
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        path = house.broker.folder / "notify.sock"
        path.unlink(missing_ok=True)
        manager.bind(str(path))
        manager.setblocking(False)
        told = []

        async def hears(word):
            while not any(word in line for line in told):
                told.extend((await within(loop.sock_recv(manager, 4096), word)).decode().splitlines())

        try:
            # The manager says for which process the watchdog is.
            script = 'WATCHDOG_PID=$$ exec "$@"'
            await house.another_broker(
                around=["env", f"NOTIFY_SOCKET={path}", "WATCHDOG_USEC=200000", "sh", "-c", script, "sh"]
            )
            await hears("READY=1")
            assert not any("STOPPING" in line for line in told), told
            told.clear()
            for _ in range(2):
                await hears("WATCHDOG=1")
                told.clear()
            house.signal(signal.SIGTERM)
            await hears("STOPPING=1")
            await hears("EXTEND_TIMEOUT_USEC=")
            expect(await house.ended(), 0, "the exit code")
        finally:
            path.unlink(missing_ok=True)


@case("the unit file is one for systemd")
async def _(house):
    house.only_althing("has another")
    if not shutil.which("systemd-analyze"):
        raise Skip("there is no systemd-analyze here")
    unit = (ROOT / "packaging/althing.service").read_text().replace("/usr/local/bin/althing", str(house.broker.binary()))
    version = int(re.search(r"systemd (\d+)", subprocess.check_output(["systemd-analyze", "--version"], text=True))[1])
    if version < 253:
        unit = unit.replace("Type=notify-reload", "Type=notify")
    path = house.broker.folder / "althing.service"
    path.write_text(unit)
    checked = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True)
    expect((checked.returncode, checked.stderr), (0, ""), "systemd-analyze verify")


@case("SIGUSR1 opens the file of the log anew")
async def _(house):
    house.only_althing("logs otherwise")
    path = Path(house.broker.folder) / "rotated.log"
    await house.another_broker(settings=[f"log.file={path}", "log.format=json"])
    line = json.loads(await house.logged("mqtt listens on", path))
    expect(line["level"], "INFO", "the level")
    moved = path.rename(path.with_suffix(".1"))
    house.signal(signal.SIGUSR1)
    await house.logged("SIGUSR1", path)
    await house.connected(client_id="later")
    await house.logged("later", path)
    assert "later" not in moved.read_text(), "the old file is written on"


@case("who comes and goes is told under $SYS")
async def _(house):
    await house.another_broker()
    watcher = await house.subscribed("$SYS/broker/clients/+/connected", "$SYS/broker/clients/+/disconnected")
    other = await house.connected(client_id="a/b")
    first, topic, event = await event_of(watcher)
    expect((first & 1, topic), (0, "$SYS/broker/clients/a%2Fb/connected"), "retain and topic")
    expect((event["client"], event["protocol"], event["resumed"]), ("a/b", "mqtt", False), "the event")
    other.close()
    _, topic, event = await event_of(watcher)
    expect((topic, event["reason"]), ("$SYS/broker/clients/a%2Fb/disconnected", "connection_lost"), "the event")


async def event_of(connection):
    first, body = await connection.packet()
    end = 2 + int.from_bytes(body[:2], "big")
    return first, body[2:end].decode(), json.loads(body[end + 1 + body[end] :])


@case("--lan: the printed lines work from another address, and nothing else does")
async def _(house):
    house.only_althing("has no such flag")
    await house.another_broker()
    # Its folder and its binary are of use; a broker is started here, as a person would.
    await house.broker.stop()
    first = await lan(house)
    expect(first.count("shown this once"), 1, "the password is shown")
    line = next(line for line in first.splitlines() if line.strip().startswith("mosquitto_sub") and "--cafile" in line)
    words = shlex.split(line)
    again = await lan(house, words)
    expect(again.count("shown this once"), 0, "the password is shown again")
    fingerprint = re.compile(r"SHA-256 ([0-9A-F:]{95})")
    expect(fingerprint.search(again)[1], fingerprint.search(first)[1], "the CA")


async def lan(house, words=None):
    """Starts with --lan and comes in as the printed line says, or as an earlier one did. Returns the greeting."""
    offset = str(house.broker.port - 1883 - 8000)
    command = [str(house.broker.binary()), "serve", "--lan", "--data", str(house.broker.data), "--port-offset", offset]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        greeting = ""
        while "althing pub -h" not in greeting:
            greeting += (await within(process.stdout.readline(), "the greeting")).decode()
        if words is None:
            line = next(it for it in greeting.splitlines() if it.strip().startswith("mosquitto_sub") and "--cafile" in it)
            words = shlex.split(line)
        await comes_in(words)
        at = {name: words[words.index(name) + 1] for name in ("-h", "-p", "--cafile", "-P")}
        for wrong in (
            ["-u", "admin", "-P", "wrong", "--cafile", at["--cafile"]],
            ["--cafile", at["--cafile"]],
            ["-u", "admin", "-P", at["-P"]],
        ):
            refused = subprocess.run(["mosquitto_pub", "-h", at["-h"], "-p", at["-p"], *wrong, "-t", "x", "-m", "y"], capture_output=True)
            assert refused.returncode != 0, f"let in with {wrong}"
        return greeting
    finally:
        process.send_signal(signal.SIGTERM)
        expect(await within(process.wait(), "the end"), 0, "the exit code")


async def comes_in(words):
    """The printed mosquitto_sub hears what is published with the same options."""
    subscriber = await asyncio.create_subprocess_exec(
        "stdbuf", "-oL", *words, "-d", "-C", "1", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        while b"SUBACK" not in (line := await within(subscriber.stdout.readline(), "SUBACK")):
            assert line, f"{words} did not come in"
        options = words[1 : words.index("-t")]
        publisher = await asyncio.create_subprocess_exec("mosquitto_pub", *options, "-t", "demo/hello", "-m", "hi")
        expect(await within(publisher.wait(), "mosquitto_pub"), 0, "mosquitto_pub's exit code")
        out, _ = await within(subscriber.communicate(), "the message")
        assert b"demo/hello hi" in out, out
    finally:
        with contextlib.suppress(ProcessLookupError):
            subscriber.kill()
        await subscriber.wait()


@case("--lan does not overrule the configuration")
async def _(house):
    house.only_althing("has no such flag")
    for setting, words in [
        ("identity.anonymous=everywhere", "without a password"),
        ("mqtt.bind=0.0.0.0:1", "is not encrypted on loopback"),
        ("tls.certificate=a.pem", "makes its own certificate"),
    ]:
        said = await house.command("serve", "--lan", "--data", house.broker.folder / "lan", "--set", setting, code=2)
        assert words in said, said


@case("lists: clients, sessions, subscriptions, queues, last values")
async def _(house):
    await house.another_broker()
    keeper = await house.subscribed("a/#", "$share/g/b", client_id="keeper", options=1, props=properties(b"\x11\0\0\x0f\xff"))
    keeper.close()
    await house.logged('"keeper" at')
    sender = await house.connected(client_id="sender\x1b[2J")
    for number in range(3):
        sender.send(publish(f"a/{number}", b"x" * (number + 1), qos=1, flags=1, identifier=number + 1))
        await sender.expect_packet(PUBACK, "PUBACK")
    expect([it["client"] for it in await house.objects("clients")], ["sender\x1b[2J"], "the clients")
    [keeper] = [it for it in await house.objects("sessions") if it["client"] == "keeper"]
    expect((keeper["connected"], keeper["queue_messages"], keeper["subscriptions"]), (False, 3, 2), "the session")
    [one] = await house.objects("sessions", "keeper")
    expect(one["queue_bytes"], keeper["queue_bytes"], "the same session by its id")
    filters = [it["filter"] for it in await house.objects("subscriptions", "keeper", "--sort", "filter")]
    expect(filters, ["$share/g/b", "a/#"], "its subscriptions")
    [queue] = await house.objects("queues")
    expect(queue["members_total"], 1, "the members of the group")
    table = await house.althing("clients")
    assert "\x1b" not in table and "sender\\u{1b}[2J" in table, table
    sorted_list = await house.objects("retained", "ls", "a/#", "--sort", "-payload_bytes", "--limit", "2")
    expect([it["topic"] for it in sorted_list], ["a/2", "a/1"], "the largest last values")
    assert "there are more than 2" in await house.althing("retained", "ls", "a/#", "--limit", "2")
    assert "by one of" in await house.althing("clients", "--sort", "beauty", code=2)
    assert "is not connected" in await house.althing("clients", "nobody", code=4)


@case("last values are removed, not before a dry run says which")
async def _(house):
    await house.another_broker(settings=["server.sys_interval_s=0"])
    sender = await house.connected()
    for topic in ("a/1", "a/2", "b"):
        sender.send(publish(topic, b"x", qos=1, flags=1))
        await sender.expect_packet(PUBACK, "PUBACK")
    assert "2 last values would be removed" in await house.althing("retained", "rm", "a/#", "--dry-run")
    expect(len(await house.objects("retained", "ls")), 3, "last values after the dry run")
    assert "2 last values removed" in await house.althing("retained", "rm", "a/#")
    expect([it["topic"] for it in await house.objects("retained", "ls")], ["b"], "what is left")


@case("kick: the connection, or the session")
async def _(house):
    await house.another_broker()
    lasting = properties(b"\x11\0\0\x0f\xff")
    for words, left in ([(), 1], [("--session",), 0]):
        peer = await house.connected(client_id="peer", flags=0, props=lasting)
        await house.althing("kick", "peer", *words)
        await peer.expect_disconnect(0x98)
        expect(len(await house.objects("sessions")), left, f"sessions after kick {words}")
    assert "not connected" in await house.althing("kick", "peer", code=4)


@case("why: refusals, closings and unheard messages, in words")
async def _(house):
    rule = 'authorisation.rules=[{topic = "b", actions = "subscribe", allow = false}]'
    await house.another_broker(settings=[rule])
    peer = await house.connected(client_id="peer")
    peer.send(publish("$SYS/x", b"", qos=1))
    body = await peer.expect_packet(PUBACK, "PUBACK")
    expect(body[2], NOT_AUTHORISED, "PUBACK's code")
    assert len(body) > 4, "PUBACK says no reason string"
    peer.send(subscribe("a", "b"))
    body = await peer.expect_packet(SUBACK, "SUBACK")
    assert b"you may not subscribe to b" in body and body[-2:] == bytes([0, NOT_AUTHORISED]), body
    peer.send(publish("nowhere", b""))
    await peer.expect_alive()
    peer.send(bytes([0xF0, 0x02, 0, 0, 0]), b"\xff")
    await peer.packet()
    kinds = {it["kind"]: it["why"] for it in await house.objects("why", "peer")}
    expect(sorted(kinds), ["closed", "refused", "unheard"], "what is remembered")
    assert "nowhere" in kinds["unheard"], kinds
    stranger = await house.open()
    stranger.send(b"GET / HTTP/1.1\r\n\r\n")
    await stranger.expect_end()
    *_, closed = await house.objects("why", "--address", HOST)
    expect((closed["kind"], closed["listener"]), ("closed", "mqtt"), "the stranger's end")
    assert closed["reason"] != "connection_lost", closed
    assert "nothing went wrong" in await house.althing("why", "somebody-else")
    assert "peer: " in await house.althing("why")


@case("top, health and their exit codes")
async def _(house):
    await house.another_broker()
    await house.connected(client_id="peer")
    [look] = await house.objects("top", "--once", "--interval", "100ms")
    expect((look["protocols"], look["clients"][0]["client"]), ({"mqtt": 1}, "peer"), "top")
    assert "messages/s" in await house.althing("top", "--once", "--interval", "100ms")
    expect((await house.althing("health")).strip(), "ok", "health")
    expect((await house.althing("health", "--live")).strip(), "ok", "health --live")
    await house.broker.stop()
    assert "no broker runs here" in await house.althing("health", code=3)
    assert "no broker runs here" in await house.althing("clients", code=3)


@case("over HTTP the commands want the token")
async def _(house):
    await house.another_broker()
    url = re.search(r"admin  (http://\S+)", house.broker.log.read_text())[1]
    token = re.search(r"token, shown only now: (\S+)", house.broker.log.read_text())[1]
    assert "ALTHING_TOKEN" in await house.command("clients", "--url", url, code=4)
    assert "ALTHING_TOKEN" in await house.command("clients", "--url", url, "--token", "wrong", code=4)
    await house.command("clients", "--url", url, "--token", token)
    await house.command("health", "--url", url)
