import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, type Delivery, type Options, Unanswered } from "../src/mqtt/client";
import { Requests } from "../src/mqtt/requests";
import { toHex, utf8 } from "./bytes";
import { FakeWorld, settled } from "./world";

const options: Options = {
  url: "ws://broker/mqtt",
  version: 5,
  clientId: "c",
  cleanStart: true,
  keepAliveSeconds: 30,
  properties: { topicAliasMaximum: 2 },
  reconnects: true,
};
const CONNACK = "2003000000";
const message = { topic: "t", payload: utf8("x"), qos: 1 as const, retain: false, properties: {} };

function start(changes: Partial<Options> = {}) {
  const world = new FakeWorld();
  const states: string[] = [];
  const messages: Delivery[] = [];
  const packets: string[] = [];
  const events = {
    state: (state: string, words: string) => void states.push(`${state}: ${words}`),
    message: (delivery: Delivery) => void messages.push(delivery),
    packet: (way: string, packet: Uint8Array) => void packets.push(`${way} ${toHex(packet)}`),
  };
  const client = new Client({ ...options, ...changes }, events, world);
  client.connect();
  return { world, client, states, messages, packets };
}

function connected(changes: Partial<Options> = {}, connack = changes.version === 4 ? "20020000" : CONNACK) {
  const house = start(changes);
  house.world.socket.onopen?.({});
  house.world.socket.sent();
  house.world.socket.says(connack);
  return house;
}

test("a connection is made and ended, and every packet is shown", () => {
  const { world, client, states, packets } = start();
  assert.deepEqual(world.socket.sent(), [], "nothing before the socket is open");
  world.socket.onopen?.({});
  world.socket.says(CONNACK);
  client.disconnect();
  assert.equal(world.socket.isClosed, true);
  assert.deepEqual(packets, ["out 101100044d5154540502001e03220002000163", "in 2003000000", "out e000"]);
  assert.deepEqual(states, [
    "connecting: connecting to ws://broker/mqtt",
    "connected: connected",
    "offline: disconnected",
  ]);
});

test("a refusal is told in words and not tried again", () => {
  const { world, states } = connected({}, "2009 00 86 06 1f 0003 626164".replaceAll(" ", ""));
  assert.equal(states.at(-1), "offline: refused: Bad User Name or Password: bad");
  world.pass(100_000);
  assert.equal(world.sockets.length, 1);
});

test("a broker that is busy is tried again, each time later", () => {
  const { world, states } = connected({}, "2003008900");
  assert.match(states.at(-1)!, /^waiting: refused: Server busy; trying again in 0.4 s/);
  world.pass(375);
  assert.equal(world.sockets.length, 2);
  world.socket.onclose?.({ code: 1006 });
  assert.match(states.at(-1)!, /trying again in 0.8 s/);
  for (let attempt = 0; attempt < 10; attempt++) {
    world.pass(30_000);
    world.socket.onclose?.({ code: 1006 });
  }
  assert.match(states.at(-1)!, /trying again in 22.5 s/, "never longer than 30 s");
});

test("a broker that says nothing is given up", () => {
  const { world, states } = start({ reconnects: false });
  world.socket.onopen?.({});
  world.pass(10_000);
  assert.equal(states.at(-1), "offline: the broker does not answer");
  assert.equal(world.socket.isClosed, true);
});

test("QoS 1 and 2 outwards", async () => {
  const { world, client } = connected();
  const one = client.publish(message);
  const two = client.publish({ ...message, qos: 2 });
  assert.deepEqual(world.socket.sent(), ["3207000174000100" + "78", "3407000174000200" + "78"]);
  world.socket.says("40020001", "50020002");
  assert.deepEqual(world.socket.sent(), ["62020002"]);
  assert.deepEqual(await one, { code: 0, words: "Success", ok: true });
  world.socket.says("70020002");
  assert.equal((await two).ok, true);
});

test("a refused publish says why", async () => {
  const { world, client } = connected();
  const publish = client.publish({ ...message, qos: 2 });
  world.socket.says("5003000187");
  assert.deepEqual(await publish, { code: 0x87, words: "Not authorized", ok: false });
});

test("the window of the broker is kept", async () => {
  const { world, client } = connected({}, "20060000 03210002".replaceAll(" ", ""));
  const all = [1, 2, 3].map(() => client.publish(message));
  assert.equal(world.socket.sent().length, 2);
  world.socket.says("40020001");
  assert.deepEqual(world.socket.sent(), ["320700017400030078"]);
  world.socket.says("40020002", "40020003");
  assert.equal((await Promise.all(all)).length, 3);
});

test("QoS 2 inwards comes once", () => {
  const { world, messages } = connected();
  world.socket.says("3407000174000900" + "79", "3c07000174000900" + "79");
  assert.deepEqual(world.socket.sent(), ["50020009", "50020009"]);
  world.socket.says("62020009", "62020009");
  assert.deepEqual(world.socket.sent(), ["70020009", "7003000992"]);
  assert.equal(messages.length, 1);
});

test("what was under way is sent again in a session that is resumed", () => {
  const { world, client } = connected({ cleanStart: false });
  void client.publish(message);
  void client.publish({ ...message, qos: 2 });
  world.socket.says("50020002");
  world.socket.onclose?.({ code: 1006 });
  void client.publish({ ...message, topic: "u" });
  world.pass(1_000);
  world.socket.onopen?.({});
  world.socket.sent();
  world.socket.says("2003010000");
  assert.deepEqual(world.socket.sent(), ["3a0700017400010078", "62020002", "320700017500030078"]);
});

test("without the session, what was not received is new, and filters are subscribed again", async () => {
  const { world, client } = connected();
  const subscribe = client.subscribe([{ filter: "a", qos: 1 }], { subscriptionIdentifier: [3] });
  world.socket.says("90040001 00 01".replaceAll(" ", ""));
  await subscribe;
  const received = client.publish({ ...message, qos: 2 });
  world.socket.says("50020002");
  void client.publish(message);
  world.socket.onclose?.({ code: 1006 });
  world.pass(1_000);
  world.socket.onopen?.({});
  world.socket.sent();
  world.socket.says(CONNACK);
  assert.deepEqual(world.socket.sent(), ["320700017400040078", "82090005020b0300016101"]);
  assert.equal((await received).ok, true);
});

test("subscribing and unsubscribing are answered filter by filter", async () => {
  const { world, client } = connected({ version: 4, properties: {} });
  const subscribe = client.subscribe([
    { filter: "a", qos: 2 },
    { filter: "b", qos: 0 },
  ]);
  assert.deepEqual(world.socket.sent(), ["820a0001000161020001" + "6200"]);
  world.socket.says("900400010180");
  const words = (await subscribe).map((it) => it.words);
  assert.deepEqual(words, ["Success - Maximum QoS 1", "Failure"]);
  const unsubscribe = client.unsubscribe(["a"]);
  world.socket.says("b0020002");
  assert.deepEqual(await unsubscribe, [{ code: 0, words: "Success", ok: true }]);
});

test("requests that a loss leaves without an answer are told", async () => {
  const { world, client } = connected({ reconnects: false });
  const lost = [client.subscribe([{ filter: "a", qos: 0 }]), client.publish(message)];
  world.socket.onclose?.({ code: 1006 });
  for (const it of lost) await assert.rejects(it, Unanswered);
  await assert.rejects(client.publish(message), /connect first/);
});

test("topic aliases of the broker are understood, and bounded", () => {
  const { world, messages, states } = connected();
  world.socket.says("30080001740323000278", "3007 0000 03230002 79".replaceAll(" ", ""));
  assert.deepEqual(
    messages.map((it) => [it.topic, toHex(it.payload)]),
    [
      ["t", "78"],
      ["t", "79"],
    ],
  );
  world.socket.says("30070000032300" + "0379");
  assert.match(states.at(-1)!, /Topic Alias 3 is beyond/);
  assert.deepEqual(world.socket.sent(), ["e00181"]);
});

test("pings keep the connection, and their silence ends it", () => {
  const { world, client, states } = connected();
  world.pass(29_000);
  void client.publish({ ...message, qos: 0 });
  world.socket.sent();
  world.pass(29_999);
  assert.deepEqual(world.socket.sent(), [], "what is sent counts");
  world.pass(1);
  assert.deepEqual(world.socket.sent(), ["c000"]);
  world.socket.says("d000");
  world.pass(30_000);
  assert.deepEqual(world.socket.sent(), ["c000"]);
  world.pass(10_000);
  assert.match(states.at(-1)!, /^waiting: the broker does not answer pings/);
});

test("a session that is taken over is not taken back", () => {
  const { world, states } = connected();
  world.socket.says("e0018e");
  assert.equal(states.at(-1), "offline: the broker has disconnected: Session taken over");
  world.pass(100_000);
  assert.equal(world.sockets.length, 1);
});

test("rubbish and text frames end the connection", () => {
  for (const frame of ["2003000000", "f00000", "d00100", "ffffffffff", "0000"]) {
    const { world, states } = connected({ reconnects: false });
    world.socket.says(frame);
    assert.match(states.at(-1)!, /^offline: the broker has sent what is no packet/, frame);
  }
  const { world, states } = connected({ reconnects: false });
  world.socket.onmessage?.({ data: "text" });
  assert.match(states.at(-1)!, /text frame/);
});

test("a request finds its answer among others", async () => {
  const { world, client, messages } = connected();
  const requests = new Requests(client, world.timers);
  const asked = requests.ask({ ...message, qos: 0 }, 1_000);
  assert.match(world.socket.sent()[0]!, /^82/);
  world.socket.says("9004000100" + "00");
  await settled();
  const [publish] = world.socket.sent();
  assert.match(publish!, /080012616c7468696e672f726573706f6e73652f63/);
  const topic = "0012616c7468696e672f726573706f6e73652f63";
  world.socket.says(`3021${topic}0b090008` + "00".repeat(8) + "6e");
  world.socket.says(`3021${topic}0b090008` + "80".repeat(8) + "79");
  for (const it of messages) requests.take(it);
  assert.equal(toHex((await asked).payload), "79");
  const late = requests.ask({ ...message, qos: 0 }, 1_000);
  await settled();
  world.pass(1_000);
  await assert.rejects(late, /no answer came on althing\/response\/c within 1 s/);
});
