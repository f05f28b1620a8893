"""Chromium on the console: every page used as a person uses it, and libraries of the web inside a real page."""

import asyncio
import functools

from node import Node
from raw import publish as publish_packet
from raw import connect as connect_packet
from report import case_of, expect, within
from web import Web

TABLE = []
case = case_of(TABLE)
PAGES = ["overview", "topics", "client", "clients", "security"]
# The tree of topics, and what frames may take while it is scrolled: 95 of 100, in milliseconds. A page on a machine that
# does something else at the same time still looks smooth then.
TREE = "[role=treegrid]"
FRAME_MS_MAX = 60


def column(table):
    """The cases of a table, each in a fresh profile of one Chromium that has logged in."""

    async def run(client, broker, report, wanted):
        chosen = [(number, *row) for number, row in enumerate(table) if wanted(row[0])]
        if broker.name != "althing" or not chosen:
            return
        node = Node("browser.mjs", lambda _: None)
        await node.start()
        try:
            await node.ask("enter", url=broker.console())
            for number, name, function in chosen:
                browser = Browser(broker, f"{client}/{number}")
                browser.node = node
                await report.run(client, name, browser.attempt(function), None)
        finally:
            await node.ask("end")
            await node.end()

    return run


run = column(TABLE)


class Browser(Web):
    """A prompt, and a page."""

    def __getattr__(self, verb):
        """The verbs of browser.mjs."""
        if verb.startswith("_") or verb == "node":
            raise AttributeError(verb)
        return functools.partial(self.node.ask, verb)

    def console(self, page="", query=""):
        return self.url("/") + (f"#/{page}{query}" if page else "")

    async def is_sound(self, errors=True):
        """Nothing serious for axe, and nothing in the browser's console."""
        expect(await self.axe(), [], "what axe finds serious")
        if errors:
            expect(await self.errors(), [], "what the browser's console says")

    async def in_page(self, code, argument=None):
        return await self.node.ask("run", code=code, argument=argument)


def _each_page(page):
    @case(f"{page}: opens, in light and dark, without a serious fault")
    async def _(web):
        await web.publish("-t", web.topic, "-m", "21.5", "-r", "-q", "1")
        for dark in (False, True):
            await web.open(url=web.console(page), dark=dark)
            await web.see(role="heading")
            await web.see(text="live", exact=True)
            await web.is_sound()
        await web.publish("-t", web.topic, "-n", "-r", "-q", "1")


for _page in PAGES:
    _each_page(_page)


@case("the policy of the page: nothing inline, nothing from elsewhere")
async def _(web):
    answer = await web.well("/")
    policy = answer.headers["content-security-policy"]
    for word in ("default-src 'none'", "default-src 'self'"):
        if word in policy:
            break
    else:
        raise AssertionError(f"a policy that begins with nothing or with itself: {policy}")
    expect("unsafe" in policy, False, f"a word that opens it, in {policy}")
    expect(answer.headers["x-content-type-options"], "nosniff", "X-Content-Type-Options")


MQTT_JS = """async ([topic, url]) => {
  const client = await mqtt.connectAsync(url, { protocolVersion: 5, reconnectPeriod: 0 });
  const got = [];
  const came = new Promise((resolve) => client.on("message", (name, payload, packet) => {
    got.push([name, payload.toString(), packet.qos, packet.retain]);
    if (got.length === 4) resolve([...got]);
  }));
  await client.publishAsync(`${topic}/kept`, "k", { qos: 1, retain: true });
  await client.subscribeAsync(`${topic}/+`, { qos: 2 });
  for (const qos of [0, 1, 2]) await client.publishAsync(`${topic}/q${qos}`, `${qos}`, { qos });
  const messages = await came;
  await client.publishAsync(`${topic}/kept`, "", { qos: 1, retain: true });
  await client.endAsync();
  return messages;
}"""


@case("MQTT.js in a page: wildcard, each QoS, a retained message")
async def _(web):
    await web.open(url=web.console())
    await web.library(module="mqtt/dist/mqtt.min", name="mqtt")
    got = await web.in_page(MQTT_JS, [web.topic, web.url("/mqtt").replace("http", "ws")])
    wanted = [[f"{web.topic}/kept", "k", 1, True]] + [[f"{web.topic}/q{qos}", str(qos), qos, False] for qos in range(3)]
    expect(sorted(got), sorted(wanted), "the messages")


ECHO = """([url]) => new Promise((resolve, reject) => {
  const socket = new WebSocket(url);
  socket.onopen = () => socket.send("Hello");
  socket.onmessage = ({ data }) => { resolve([data, socket.extensions]); socket.close(); };
  socket.onerror = reject;
})"""


@case("the browser's own WebSocket: the echo, compressed")
async def _(web):
    await web.open(url=web.console())
    text, extensions = await web.in_page(ECHO, [web.url("/ws/echo").replace("http", "ws")])
    expect((text, "permessage-deflate" in extensions), ("Hello OK", True), "the echo, and its extension")


EVENTS = """([path]) => new Promise((resolve, reject) => {
  const source = new EventSource(path);
  const got = [];
  const take = ({ type, data }) => { got.push([type, JSON.parse(data).payload]); if (got.length === 2) { source.close(); resolve(got); } };
  source.addEventListener("retained", (event) => { take(event); fetch(path, { method: "POST", body: "new" }); });
  source.addEventListener("message", take);
  source.onerror = reject;
})"""


@case("the browser's own EventSource and fetch")
async def _(web):
    await web.put(f"/topics/{web.topic}", b"old")
    await web.open(url=web.console())
    got = await web.in_page(EVENTS, [f"/topics/{web.topic}"])
    expect(got, [["retained", "old"], ["message", "new"]], "the events")
    await web.well(f"/topics/{web.topic}", "-X", "DELETE")


@case("topics: a message of mosquitto_pub is seen in the tree, found by text and by filter")
async def _(web):
    await web.open(url=web.console("topics"))
    await web.see(selector=TREE)
    leaf = web.topic.replace("/", "-")
    await web.publish("-t", f"seen/{leaf}/a", "-m", "23.5", "-r", "-q", "1")
    await web.publish("-t", f"seen/{leaf}/b", "-m", "24.5", "-r", "-q", "1")
    await web.fill(label="Topics that contain this text", value=leaf)
    await web.see(within="Topics", text="23.5")
    await web.choose(label="What to search by", value="filter")
    await web.fill(label="Topics that match this filter, with + and #", value=f"seen/{leaf}/+")
    await web.see(within="Topics", text="24.5")
    await web.is_sound()
    for name in "ab":
        await web.publish("-t", f"seen/{leaf}/{name}", "-n", "-r", "-q", "1")


@case("topics: retained values are deleted after a counted confirmation")
async def _(web):
    for number in range(5):
        await web.put(f"/topics/gone/{number}/x", b"%d" % number)
    await web.open(url=web.console("topics", "/gone/0/x"))
    await web.see(text="Clear this and all below")
    await web.open(url=web.console("topics", "/gone"))
    await web.click(text="Clear this and all below")
    await web.click(role="button", name="Clear 5 values")
    await web.gone(role="dialog")
    expect((await web.curl("/topics/gone/3/x")).status, 404, "the status of a deleted value")
    await web.is_sound()


@case("topics: $SYS is there")
async def _(web):
    await web.open(url=web.console("topics"))
    await web.fill(label="Topics that contain this text", value="$SYS/broker/uptime")
    await web.see(within="Topics", text="uptime")


@case("topics: a hundred thousand, scrolled")
async def _(web):
    # What nobody looks at is not counted: the page comes first.
    await web.open(url=web.console("topics"))
    await web.see(selector=TREE)
    reader, writer = await asyncio.open_connection("127.0.0.1", web.broker.port)
    writer.write(connect_packet(""))
    for start in range(0, 100_000, 1_000):
        numbers = range(start, start + 1_000)
        writer.write(b"".join(publish_packet(f"many/{number // 100}/{number % 100}", b"%d" % number) for number in numbers))
        await writer.drain()
    writer.write(b"\xc0\x00")
    await within(reader.readuntil(b"\xd0\x00"), "the answer to a ping behind all of them")
    await web.choose(label="What to search by", value="filter")
    await web.fill(label="Topics that match this filter, with + and #", value="many/+/+")
    await web.see(within="Topics", text="many")

    async def all_rows():
        while await web.in_page(f"() => document.querySelector('{TREE}').scrollHeight") < 100_000:
            await asyncio.sleep(0.1)

    await within(all_rows(), "rows of all topics")
    times = sorted(await web.frames(selector=TREE, count=300))
    middle, most, worst = times[len(times) // 2], times[len(times) * 95 // 100], times[-1]
    print(f"     frames of 100,000 topics: {middle:.1f} ms in the middle, {most:.1f} ms for 95 %, {worst:.1f} ms at worst")
    expect(most <= FRAME_MS_MAX, True, f"{most:.1f} ms for 95 % of the frames")
    rows = await web.count(selector=f"{TREE} [role=row]")
    expect(rows < 200, True, f"{rows} rows in the page")
    writer.close()
    await web.is_sound()


@case("left open under a flood, the page keeps its size")
async def _(web):
    await web.open(url=web.console("topics", f"/{web.topic}/0"))
    reader, writer = await asyncio.open_connection("127.0.0.1", web.broker.port)
    writer.write(connect_packet(""))

    async def flood(rounds):
        for number in range(rounds):
            writer.write(b"".join(publish_packet(f"{web.topic}/{leaf}", b"%d" % number * 50) for leaf in range(200)))
            await writer.drain()
            await asyncio.sleep(0.02)

    await flood(200)
    before = await web.heap()
    await flood(200)
    grown = await web.heap() - before
    expect(grown < 8 << 20, True, f"{grown >> 10} KiB more")
    writer.close()
    await web.is_sound()
