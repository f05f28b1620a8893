import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as codec from "../src/mqtt/codec";
import { annotate } from "../src/mqtt/annotate";
import { type Properties, Type } from "../src/mqtt/spec";
import { hex, toHex, utf8 } from "./bytes";

const message = { topic: "a/b", payload: utf8("hi"), qos: 0 as const, retain: false, properties: {} };

test("what a client sends", () => {
  const connect = { version: 4 as const, clientId: "c123", cleanStart: true, keepAliveSeconds: 60, properties: {} };
  assert.equal(toHex(codec.encodeConnect(connect)), "101000044d5154540402003c000463313233");
  const will = { ...message, topic: "w", qos: 1 as const, retain: true, properties: { willDelayInterval: 5 } };
  const whole = { ...connect, version: 5 as const, username: "u", password: "p", will };
  assert.equal(
    toHex(codec.encodeConnect(whole)),
    "102400044d51545405ee003c0000046331323305180000000500017700026869000175000170",
  );
  assert.equal(toHex(codec.encodePublish(4, { ...message, retain: true }, 0, false)), "31070003612f626869");
  assert.equal(toHex(codec.encodePublish(5, { ...message, qos: 2 }, 10, true)), "3c0a0003612f62000a006869");
  assert.equal(toHex(codec.encodeAck(Type.PUBREL, 10)), "6202000a");
  assert.equal(toHex(codec.encodeAck(Type.PUBCOMP, 10, 0x92)), "7003000a92");
  const all = { filter: "s/#", qos: 1 as const, noLocal: true, retainAsPublished: true, retainHandling: 2 as const };
  assert.equal(toHex(codec.encodeSubscribe(4, 1, [all], {})), "820800010003732f2301");
  assert.equal(
    toHex(codec.encodeSubscribe(5, 1, [all], { subscriptionIdentifier: [7] })),
    "820b0001020b070003732f232d",
  );
  assert.equal(toHex(codec.encodeUnsubscribe(5, 2, ["a"])), "a206000200000161");
  assert.equal(toHex(codec.encodePing()), "c000");
  assert.equal(toHex(codec.encodeDisconnect(4, 4)), "e000");
  assert.equal(toHex(codec.encodeDisconnect(5, 0)), "e000");
  assert.equal(toHex(codec.encodeDisconnect(5, 4, { reasonString: "x" })), "e00604041f000178");
});

test("what a server sends comes back as it was meant", () => {
  const read = (version: 4 | 5, text: string) => codec.decode(version, hex(text));
  assert.deepEqual(read(4, "20020100"), { type: Type.CONNACK, sessionPresent: true, code: 0, properties: {} });
  assert.deepEqual(read(5, "2006000003210014"), {
    type: Type.CONNACK,
    sessionPresent: false,
    code: 0,
    properties: { receiveMaximum: 20 },
  });
  assert.deepEqual(read(4, "9005000100 0280"), { type: Type.SUBACK, id: 1, codes: [0, 2, 0x80], properties: {} });
  assert.deepEqual(read(4, "b0020002"), { type: Type.UNSUBACK, id: 2, codes: [], properties: {} });
  assert.deepEqual(read(5, "e000"), { type: Type.DISCONNECT, code: 0, properties: {} });
});

test("every property survives the way there and back", () => {
  const properties: Properties = {
    payloadFormatIndicator: 1,
    messageExpiryInterval: 0xffff_fffe,
    topicAlias: 3,
    responseTopic: "r/é",
    correlationData: hex("00ff"),
    userProperty: [
      ["a", "1"],
      ["a", "2"],
    ],
    subscriptionIdentifier: [1, 268_435_455],
    contentType: "text/plain",
  };
  const packet = codec.encodePublish(5, { ...message, qos: 1, properties }, 9, false);
  assert.deepEqual(codec.decode(5, packet), { type: Type.PUBLISH, dup: false, id: 9, ...message, qos: 1, properties });
});

test("what is no packet is refused with a sentence", () => {
  const cases: [4 | 5, string, RegExp][] = [
    [4, "36050003612f62", /QoS 3/],
    [4, "320500016100 00", /Identifier is 0/],
    [4, "300300ff61", /ends within a field/],
    [4, "30040002c328", /not UTF-8/],
    [4, "41020001", /flags/],
    [4, "1000", /does not send CONNECT/],
    [4, "e000", /does not send DISCONNECT/],
    [4, "d00100", /after its end/],
    [5, "20050000027f01", /no property 0x7f/],
    [5, "2009000006210001210002", /twice/],
    [5, "20050000092100", /beyond the packet/],
  ];
  for (const [version, text, words] of cases) {
    assert.throws(
      () => codec.decode(version, hex(text)),
      (error) => error instanceof codec.MalformedPacket && words.test(error.message),
      text,
    );
  }
});

test("packets are found however the frames are cut", () => {
  const lines = readFileSync("test/annotations.jsonl", "utf8").trimEnd().split("\n");
  const packets = lines.map((line) => JSON.parse(line).hex as string);
  const stream = hex(packets.join(""));
  for (const size of [1, 2, 3, 7, 64, stream.length]) {
    const splitter = new codec.Splitter();
    const found: string[] = [];
    for (let at = 0; at < stream.length; at += size) {
      found.push(...splitter.push(stream.slice(at, at + size)).map(toHex));
    }
    assert.deepEqual(found, packets, `frames of ${size} bytes`);
  }
  assert.throws(() => new codec.Splitter().push(hex("30ffffffff01")), codec.MalformedPacket);
});

test("a large packet in tiny frames is copied a bounded number of times", () => {
  const payload = new Uint8Array(200_000).fill(7);
  const packet = codec.encodePublish(4, { ...message, payload }, 0, false);
  const splitter = new codec.Splitter();
  let found: Uint8Array[] = [];
  for (let at = 0; at < packet.length; at++) found = splitter.push(packet.subarray(at, at + 1));
  assert.equal(found.length, 1);
  assert.deepEqual(found[0], packet);
});

test("what the codec writes, the annotations read", () => {
  const properties: Properties = { topicAlias: 1, userProperty: [["k", "v"]] };
  assert.equal(annotate(5, codec.encodePublish(5, { ...message, properties }, 0, false)).mistake, undefined);
});
