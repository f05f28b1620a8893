"""Administration from outside: curl against the whole interface, and a Prometheus that scrapes the metrics.

Each case has a broker of its own.
"""

import asyncio
import contextlib
import json
import re
import shutil
import urllib.parse

from broker import HOST, free_port
from operations import Operated, reason_of
from raw import DISCONNECT, publish
from report import Skip, case_of, expect, within

TABLE = []
case = case_of(TABLE)

ADMINISTRATIVE_ACTION = 0x98


async def run(client, broker, report, wanted):
    for number, (name, function) in enumerate(TABLE):
        if wanted(name):
            house = Administered(broker, f"administration/{number}")
            await report.run(client, name, house.attempt(function), broker.deviates.get(name))


class Administered(Operated):
    """A house whose broker is administered by HTTP."""

    async def administered(self):
        self.port = free_port()
        await self.another_broker(settings=[f"admin.bind={HOST}:{self.port}"])
        self.url = f"http://{HOST}:{self.port}"

    async def curl(self, *words):
        """The status and the body of an answer."""
        if not shutil.which("curl"):
            raise Skip("curl is not installed")
        command = ["curl", "--silent", "--show-error", "--max-time", "10", "--write-out", "\n%{http_code}", *words]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await within(process.communicate(), " ".join(command))
        expect(process.returncode, 0, f"{' '.join(command)}: {err.decode()}")
        body, _, status = out.decode().rpartition("\n")
        return int(status), body

    async def ask(self, path, *words):
        """The JSON that the socket in the data directory answers."""
        socket = ["--unix-socket", str(self.broker.data / "admin.sock")]
        status, body = await self.curl(*socket, *words, f"http://localhost{path}")
        expect(status, 200, f"the status of {path}: {body}")
        return json.loads(body)

    async def begins(self, path):
        """An event stream without an end says hello through the socket in the data directory."""
        socket = str(self.broker.data / "admin.sock")
        command = ["curl", "--silent", "--no-buffer", "--unix-socket", socket, f"http://localhost{path}"]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        try:
            await within(process.stdout.readuntil(b"event: hello\n"), " ".join(command))
        finally:
            process.kill()
            await process.wait()


@case("curl: everything that can be read answers through the socket, and nothing without a token")
async def _(house):
    await house.administered()
    await house.connected(client_id="reader")
    document = await house.ask("/api/v1/openapi.json")
    queries = {
        "/api/v1/retained/value": "?topic=$SYS/broker/version",
        "/api/v1/rules/explain": "?action=publish&topic=a",
        "/api/v1/trace": "?client=reader&seconds=1",
    }
    paths = [path for path, methods in document["paths"].items() if "get" in methods]
    assert len(paths) > 15, paths
    for path in paths:
        asked = path.replace("{client}", "reader") + queries.get(path, "")
        if path == "/api/v1/feed":
            await house.begins(asked)
        else:
            socket = str(house.broker.data / "admin.sock")
            status, _ = await house.curl("--unix-socket", socket, f"http://localhost{asked}")
            expect(status, 200, f"the status of {asked} through the socket")
        status, body = await house.curl(house.url + asked)
        expect((status, json.loads(body)["status"]), (401, 401), f"the status of {asked} without a token")
    for path in ["/healthz", "/livez", "/readyz", "/metrics"]:
        expect((await house.curl(house.url + path))[0], 200, f"the status of {path} without a token")


@case("curl: the token of the first start opens, a kick ends the connection, a dry run removes nothing")
async def _(house):
    await house.administered()
    token = re.search(r"token[^\n]*?: (\S{43})", house.broker.log.read_text())
    assert token, house.broker.tail()
    bearer = ["--header", f"Authorization: Bearer {token[1]}"]
    peer = await house.connected(client_id="kicked")
    peer.send(publish("last/value", b"x", flags=1))
    await peer.expect_alive()
    status, body = await house.curl(*bearer, "--request", "DELETE", f"{house.url}/api/v1/retained?filter=last/%23&dry_run=true")
    expect((status, json.loads(body)["matched"]), (200, 1), "a dry run")
    status, body = await house.curl(*bearer, f"{house.url}/api/v1/retained/value?topic=last/value")
    expect((status, json.loads(body)["text"]), (200, "x"), "the last value after the dry run")
    status, _ = await house.curl(*bearer, "--request", "DELETE", f"{house.url}/api/v1/clients/kicked")
    expect(status, 200, "the status of a kick")
    code, _ = reason_of(await peer.expect_packet(DISCONNECT, "DISCONNECT"))
    expect(code, ADMINISTRATIVE_ACTION, "the reason")
    await peer.expect_end()


@case("curl: users, rules and bans hold without a restart, and a mistake changes nothing")
async def _(house):
    await house.administered()
    socket = ["--unix-socket", str(house.broker.data / "admin.sock")]

    async def put(path, document):
        body = ["--header", "Content-Type: application/json", "--data", json.dumps(document)]
        return (await house.curl(*socket, "--request", "PUT", *body, f"http://localhost{path}"))[0]

    expect(await put("/api/v1/users/ann", {"password": "secret", "groups": ["admin"]}), 200, "a new user")
    login = ["--header", "Content-Type: application/json", "--data", '{"username":"ann","password":"secret"}']
    expect((await house.curl(*login, f"{house.url}/api/v1/session"))[0], 200, "her login, at once")
    expect(await put("/api/v1/rules", {"rules": [{"topic": "secret/#", "allow": False}]}), 200, "a new rule")
    decided = await house.ask("/api/v1/rules/explain?action=publish&topic=secret/x")
    expect(decided["allowed"], False, "what the new rule denies, at once")
    expect(await put("/api/v1/rules", {"rules": [{"topic": "a"}]}), 400, "a rule that is none")
    expect(len((await house.ask("/api/v1/rules"))["managed"]), 1, "the rules after the mistake")
    peer = await house.connected(client_id="banned")
    expect(await put("/api/v1/bans", {"clients": ["banned"]}), 200, "a ban")
    await peer.expect_packet(DISCONNECT, "DISCONNECT")
    await peer.expect_end()


@case("Prometheus scrapes the metrics and answers queries about them")
async def _(house):
    if not shutil.which("prometheus"):
        raise Skip("prometheus is not installed")
    await house.administered()
    await house.connected(client_id="counted")
    port, folder = free_port(), house.broker.folder / "prometheus"
    folder.mkdir()
    config = folder / "prometheus.yml"
    config.write_text(
        f"""
        global: {{scrape_interval: 1s}}
        scrape_configs:
          - job_name: althing
            static_configs: [{{targets: ["{HOST}:{house.port}"]}}]
        """
    )
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={HOST}:{port}",
            stdout=log,
            stderr=log,
        )
    try:
        for query, wanted in [
            ('up{job="althing"}', 1),
            ("althing_clients", 1),
            ('althing_connections{listener="mqtt",protocol="mqtt"}', 1),
            ("althing_process_resident_memory_bytes > bool 0", 1),
        ]:
            expect(await within(answered(house, port, query), query), wanted, query)
        # The type and the unit have come along.
        status, body = await house.curl(f"http://{HOST}:{port}/api/v1/metadata?metric=althing_delivery_latency_seconds")
        told = json.loads(body)["data"]["althing_delivery_latency_seconds"][0]
        expect((status, told["type"], told["unit"]), (200, "histogram", "seconds"), "what Prometheus knows of the latency")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def answered(house, port, query):
    """Asks until there is a value: nothing else tells that the first scrape is over."""
    url = f"http://{HOST}:{port}/api/v1/query?query={urllib.parse.quote(query)}"
    while True:
        with contextlib.suppress(AssertionError):
            status, body = await house.curl(url)
            result = json.loads(body)["data"]["result"] if status == 200 else []
            if result:
                return float(result[0]["value"][1])
        await asyncio.sleep(0.1)
