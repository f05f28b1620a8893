"""Node-RED without its editor: flows from mqtt in to mqtt out, in MQTT 5 and 3.1.1 (flows.json).

Node-RED reads the broker's port from the environment. Its broker nodes announce themselves with a retained birth
message and leave a will, so that nothing here needs to guess when a flow is up or gone.
"""

import asyncio
import json
import os
from pathlib import Path

from broker import HOST
from peers import Options
from peers_paho import PahoPeer
from report import case_of, expect, within

FOLDER = Path(__file__).resolve().parent
VERSIONS = {5: "5", 4: "3.1.1"}

# A flow answers for `node-red/VERSION/in/…` on `node-red/VERSION/out/…`.
TABLE = []
case = case_of(TABLE)


async def run(client, broker, report, wanted):
    table = [(name, function) for name, function in TABLE if wanted(f"flow: {name}")]
    if not table:
        return
    flows = Flows(broker)
    try:
        await report.run(client, "flow: starts", flows.start(), None)
        for name, function in table:
            await report.run(client, f"flow: {name}", function(flows), None)
        await report.run(client, "flow: the will when it is killed", flows.kill(), None)
    finally:
        await flows.end()


class Flows:
    """Node-RED with the flows, and a paho peer that watches them."""

    def __init__(self, broker):
        self.broker, self.process, self.peer = broker, None, None
        self.folder = broker.folder / "node-red"
        self.log = broker.folder / "node-red.log"

    async def start(self):
        self.peer = PahoPeer(HOST, self.broker.port, 5, Options("node-red-watcher"))
        await self.peer.connect()
        for version in VERSIONS.values():
            await self.peer.subscribe(f"node-red/{version}/state", 1)
        self.folder.mkdir()
        (self.folder / "package.json").write_text(json.dumps({"name": "interop-flows", "private": True}))
        environment = {**os.environ, "BROKER_PORT": str(self.broker.port), "NO_UPDATE_NOTIFIER": "1"}
        with self.log.open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                "node",
                str(FOLDER / "node_modules" / "node-red" / "red.js"),
                "--settings",
                str(FOLDER / "node-red-settings.cjs"),
                "--userDir",
                str(self.folder),
                str(FOLDER / "flows.json"),
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        up = {(await self.state())[:2] for _ in VERSIONS}
        expect(up, {(f"node-red/{version}/state", b"up") for version in VERSIONS.values()}, "the birth messages")
        for version in VERSIONS.values():
            await self.peer.subscribe(f"node-red/{version}/out/#", 2)

    async def state(self):
        # Node-RED loads for some seconds on a busy machine.
        message = await within(self.peer.messages.get(), "a state from Node-RED", 60)
        return message.topic, message.payload, message.retain

    async def through(self, version, name, payload, qos=0, retain=False, **properties):
        """Sends a message through the flow; returns what comes out."""
        await self.peer.publish(f"node-red/{version}/in/{name}", payload, qos, retain, **properties)
        message = await self.peer.next()
        expect(message.topic, f"node-red/{version}/out/{name}", "the topic")
        return message

    async def kill(self):
        self.process.kill()
        gone = {(await self.state())[:2] for _ in VERSIONS}
        expect(gone, {(f"node-red/{version}/state", b"gone") for version in VERSIONS.values()}, "the wills")

    async def end(self):
        if self.process and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        if self.peer and not self.peer.closed.done():
            await self.peer.drop()


@case("mqtt in → mqtt out, each QoS")
async def _(flows):
    for version in VERSIONS.values():
        for qos in (0, 1, 2):
            message = await flows.through(version, f"qos/{qos}", b"hi", qos)
            expect((message.payload, message.qos, message.retain), (b"hi", qos, False), f"MQTT {version}: the message")


@case("binary, empty and large payloads")
async def _(flows):
    for version in VERSIONS.values():
        for payload in (bytes(range(256)), b"", b"z" * (1 << 20)):
            expect(
                (await flows.through(version, "payload", payload, 1)).payload, payload, f"MQTT {version}: the payload"
            )


@case("the retain flag set by a flow")
async def _(flows):
    for version in VERSIONS.values():
        await flows.through(version, "keep", b"kept", 1)
        reader = PahoPeer(HOST, flows.broker.port, 5, Options(f"node-red-reader-{version}"))
        await reader.connect()
        await reader.subscribe(f"node-red/{version}/out/keep", 1)
        message = await reader.next()
        expect((message.payload, message.retain), (b"kept", True), f"MQTT {version}: the message")
        await reader.publish(f"node-red/{version}/out/keep", b"", 1, retain=True)
        await reader.disconnect()
        expect((await flows.peer.next()).payload, b"", "the clearing message")


@case("MQTT 5 properties")
async def _(flows):
    properties = {
        "content_type": "application/json",
        "response_topic": "r/t",
        "correlation_data": b"\0\1",
        "user": [("k", "v"), ("l", "w")],
    }
    message = await flows.through("5", "properties", b"{}", 1, **properties)
    expect({name: message.properties.get(name) for name in properties}, properties, "the properties")


@case("200 messages in order")
async def _(flows):
    for version in VERSIONS.values():
        sent = [b"%d" % number for number in range(200)]
        for payload in sent:
            await flows.peer.publish(f"node-red/{version}/in/order", payload, 1)
        expect([(await flows.peer.next()).payload for _ in sent], sent, f"MQTT {version}: the payloads")
