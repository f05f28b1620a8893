import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, type Delivery, type Options } from "../src/mqtt/client";
import type { Qos } from "../src/mqtt/codec";
import { Requests } from "../src/mqtt/requests";
import type { Version } from "../src/mqtt/spec";
import { utf8 } from "./bytes";

/** A broker that speaks MQTT over WebSocket, mosquitto or ours. */
const url = process.env.MQTT_URL;
const given = url ? test : test.skip;
const unique = `${process.pid}-${Date.now()}`;

/** A client that is connected, and what has come to it. */
async function join(changes: Partial<Options> = {}) {
  const messages: Delivery[] = [];
  const watchers = new Set<() => void>();
  const wake = () => watchers.forEach((watcher) => watcher());
  const frames: number[] = [];
  const options: Options = {
    url: url!,
    version: 5,
    clientId: `console-${unique}-${Math.random()}`,
    cleanStart: true,
    keepAliveSeconds: 30,
    properties: { topicAliasMaximum: 10 },
    reconnects: false,
    ...changes,
  };
  let state = "";
  const client = new Client(options, {
    state: (now, words) => {
      state = `${now}: ${words}`;
      wake();
    },
    message: (delivery) => {
      messages.push(delivery);
      wake();
    },
    packet: (_, packet) => frames.push(packet.length),
  });
  const until = (holds: () => boolean) =>
    new Promise<void>((resolve) => {
      const look = () => {
        if (!holds()) return;
        watchers.delete(look);
        resolve();
      };
      watchers.add(look);
      look();
    });
  client.connect();
  await until(() => !state.startsWith("connecting"));
  return { client, messages, until, state: () => state, frames };
}

for (const version of [4, 5] as Version[]) {
  const properties = {};
  given(`every QoS there and back, version ${version}`, async () => {
    const { client, messages, until, state } = await join({ version, properties });
    assert.match(state(), /^connected/);
    const topic = `console/${unique}/${version}`;
    const [granted] = await client.subscribe([{ filter: `${topic}/+`, qos: 2 }]);
    assert.deepEqual([granted!.code, granted!.ok], [2, true]);
    for (const qos of [0, 1, 2] as Qos[]) {
      const payload = utf8("é".repeat(40_000 * qos));
      const outcome = await client.publish({ topic: `${topic}/${qos}`, payload, qos, retain: false, properties });
      assert.equal(outcome.ok, true);
    }
    await until(() => messages.length === 3);
    assert.deepEqual(
      messages.map((it) => [it.topic, it.qos, it.payload.length]),
      [0, 1, 2].map((qos) => [`${topic}/${qos}`, qos, 80_000 * qos]),
    );
    assert.equal((await client.unsubscribe([`${topic}/+`]))[0]!.ok, true);
    client.disconnect();
    assert.match(state(), /^offline: disconnected/);
  });
}

given("properties, identifiers, retained and the will", async () => {
  const topic = `console/${unique}/will`;
  const watcher = await join();
  await watcher.client.subscribe([{ filter: `${topic}/#`, qos: 1, retainAsPublished: true }], {
    subscriptionIdentifier: [300],
    userProperty: [["why", "test"]],
  });
  const will = {
    topic,
    payload: utf8("gone"),
    qos: 1 as const,
    retain: true,
    properties: { contentType: "text/plain" },
  };
  const other = await join({ will });
  const properties = {
    payloadFormatIndicator: 1,
    messageExpiryInterval: 60,
    contentType: "text/x",
    responseTopic: "r",
    correlationData: utf8("k"),
    userProperty: [
      ["a", "1"],
      ["a", "2"],
    ] as [string, string][],
  };
  await other.client.publish({ topic: `${topic}/p`, payload: utf8("x"), qos: 1, retain: false, properties });
  await watcher.until(() => watcher.messages.length === 1);
  const came = watcher.messages[0]!.properties;
  assert.deepEqual([came.subscriptionIdentifier, came.userProperty], [[300], properties.userProperty]);
  assert.deepEqual([came.contentType, came.responseTopic, came.payloadFormatIndicator], ["text/x", "r", 1]);
  other.client.disconnect(4);
  await watcher.until(() => watcher.messages.length === 2);
  assert.deepEqual([watcher.messages[1]!.retain, watcher.messages[1]!.properties.contentType], [true, "text/plain"]);
  const clear = { topic, payload: utf8(""), qos: 1 as const, retain: true, properties: {} };
  await watcher.client.publish(clear);
  watcher.client.disconnect();
});

given("a session is resumed, and what waited comes", async () => {
  const topic = `console/${unique}/session`;
  const session = { clientId: `console-${unique}-s`, cleanStart: false, properties: { sessionExpiryInterval: 60 } };
  const before = await join(session);
  await before.client.subscribe([{ filter: topic, qos: 1 }]);
  before.client.disconnect();
  const other = await join();
  await other.client.publish({ topic, payload: utf8("waited"), qos: 1, retain: false, properties: {} });
  other.client.disconnect();
  const after = await join(session);
  assert.equal(after.state(), "connected: connected; the session is resumed");
  await after.until(() => after.messages.length === 1);
  after.client.disconnect(0, { sessionExpiryInterval: 0 });
});

given("a thousand messages at once keep their order and the window", async () => {
  const topic = `console/${unique}/many`;
  const { client, messages, until } = await join();
  await client.subscribe([{ filter: topic, qos: 2 }]);
  const numbers = Array.from({ length: 1_000 }, (_, index) => index);
  const publish = (it: number) =>
    client.publish({ topic, payload: utf8(String(it)), qos: 2, retain: false, properties: {} });
  const outcomes = await Promise.all(numbers.map(publish));
  assert.ok(outcomes.every((it) => it.ok));
  await until(() => messages.length === numbers.length);
  assert.deepEqual(
    messages.map((it) => Number(new TextDecoder().decode(it.payload))),
    numbers,
  );
  client.disconnect();
});

given("request and response", async () => {
  const topic = `console/${unique}/echo`;
  const server = await join();
  await server.client.subscribe([{ filter: topic, qos: 1 }]);
  const asker = await join();
  const requests = new Requests(asker.client);
  const asked = requests.ask({ topic, payload: utf8("ping"), qos: 1, retain: false, properties: {} }, 10_000);
  await server.until(() => server.messages.length === 1);
  const { responseTopic, correlationData } = server.messages[0]!.properties;
  const reply = { topic: responseTopic!, payload: utf8("pong"), qos: 1 as const, retain: false };
  await server.client.publish({ ...reply, properties: { correlationData: correlationData! } });
  await asker.until(() => asker.messages.length === 1);
  requests.take(asker.messages[0]!);
  assert.equal(new TextDecoder().decode((await asked).payload), "pong");
  server.client.disconnect();
  asker.client.disconnect();
});

given("a wrong port is told", async () => {
  const { state } = await join({ url: "ws://127.0.0.1:1/mqtt" });
  assert.match(state(), /^offline: the connection could not be made/);
});
