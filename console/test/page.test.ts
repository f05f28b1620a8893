import assert from "node:assert/strict";
import { test } from "node:test";
import { WrongCollection, readCollection, stepPayload, writeCollection } from "../src/pages/client/collection";
import { filterMistake, matches } from "../src/pages/client/filters";
import { encodePayload, payloadLine, payloadText } from "../src/pages/client/payload";
import { Ring, Sampler } from "../src/pages/client/ring";
import { toHex, utf8 } from "./bytes";

test("filters match as MQTT 5.0 §4.7 says", () => {
  const yes = [
    ["a/b", "a/b"],
    ["a/#", "a"],
    ["a/#", "a/b/c"],
    ["#", "a/b"],
    ["+/+", "/a"],
    ["/+", "/a"],
    ["a/+/c", "a//c"],
    ["$share/g/a/+", "a/b"],
    ["$SYS/#", "$SYS/uptime"],
  ];
  const no = [
    ["a/b", "a/c"],
    ["a/+", "a"],
    ["a/+", "a/b/c"],
    ["+", "/a"],
    ["#", "$SYS/uptime"],
    ["+/uptime", "$SYS/uptime"],
    ["a/b/#", "a"],
  ];
  for (const [filter, topic] of yes) assert.ok(matches(filter!, topic!), `${filter} ${topic}`);
  for (const [filter, topic] of no) assert.ok(!matches(filter!, topic!), `${filter} ${topic}`);
});

test("filters that are none are told apart", () => {
  const found = ["", "a/#/b", "a#", "a+/b", "$share/g", "$share/+/a", "a/+/#", "$share/g/a"].map(filterMistake);
  assert.deepEqual(found, ["empty", "hash", "hash", "plus", "share", "share", null, null]);
});

test("a ring keeps the last, by number and by bytes", () => {
  const ring = new Ring<number>(3, 100);
  for (let item = 1; item <= 1_000; item++) ring.push(item, 1);
  assert.deepEqual([ring.length, ring.total, ring.at(0), ring.at(2), ring.at(3)], [3, 1_000, 998, 1_000, undefined]);
  ring.push(1_001, 99);
  assert.deepEqual([ring.length, ring.at(0)], [2, 1_000]);
  ring.push(1_002, 500);
  assert.deepEqual([ring.length, ring.at(0)], [1, 1_002], "the last one stays, however large");
});

test("a flood is sampled, and the sampling ends with it", () => {
  const sampler = new Sampler(10);
  const kept = (atMs: number, messages: number) =>
    Array.from({ length: messages }, () => sampler.keeps(atMs)).filter(Boolean).length;
  assert.equal(kept(0, 10), 10);
  kept(100, 1_000);
  assert.equal(kept(200, 1_000), 10);
  assert.equal(sampler.every, 100);
  kept(300, 5);
  assert.equal(kept(400, 5), 5);
  kept(500, 1_000);
  kept(600, 1);
  sampler.rest(1_000);
  assert.equal(sampler.every, 1);
});

test("payloads are read as they are written, and nothing is guessed", () => {
  assert.equal(toHex(encodePayload("00 FF,0x10", "hex")), "00ff10");
  assert.equal(toHex(encodePayload("/wA=", "base64")), "ff00");
  assert.throws(() => encodePayload("0", "hex"));
  assert.throws(() => encodePayload("{", "json"));
  assert.equal(payloadText(encodePayload("ff00", "hex")), null);
  assert.equal(payloadText(utf8("é\n")), "é\n");
  assert.equal(payloadLine(utf8(`${"x".repeat(399)}é`), 100), `${"x".repeat(100)} …`);
  assert.equal(payloadLine(encodePayload("ff00", "hex"), 100), "ff 00");
});

test("a collection survives the way into a file and back", () => {
  const steps = [
    { subscribe: "a/#", qos: 1 as const },
    { publish: "a", payload_base64: "/wA=" },
    { expect: "a", payload: "x", within_ms: 5 },
  ];
  const read = readCollection(writeCollection("house", steps));
  assert.deepEqual([read.name, read.steps], ["house", steps]);
  assert.equal(toHex(stepPayload(read.steps[1]!)), "ff00");
  const mistake = (text: string) => {
    try {
      readCollection(text);
    } catch (error) {
      return error instanceof WrongCollection && [error.mistake, error.step];
    }
    return null;
  };
  assert.deepEqual(mistake("{"), ["json", 0]);
  assert.deepEqual(mistake('{"format":"x","steps":[]}'), ["format", 0]);
  assert.deepEqual(mistake('{"format":"althing-collection/1","steps":[{"publish":"a"},{"publish":1}]}'), ["step", 2]);
});
