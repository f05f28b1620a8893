import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { annotate, bitPattern, leaves, type Span } from "../src/mqtt/annotate";
import type { Version } from "../src/mqtt/spec";
import { hex } from "./bytes";

/** What `althing decode mqtt --json` says of the same bytes: offset, length, bits, name, value, section. */
type Field = [number, number, [number, number] | null, string, string, string];
type Case = { version: Version; type: string; hex: string; fields: Field[] };

const cases: Case[] = readFileSync("test/annotations.jsonl", "utf8")
  .trimEnd()
  .split("\n")
  .map((line) => JSON.parse(line));

test("every packet is explained as the command line explains it", () => {
  assert.equal(new Set(cases.map((it) => it.type)).size, 15, "all types are there");
  for (const it of cases) {
    const found = annotate(it.version, hex(it.hex));
    assert.equal(found.mistake, undefined, it.hex);
    assert.equal(found.name, it.type);
    const fields = leaves(found.spans).map((span): Field => [
      span.from,
      span.to - span.from,
      span.bits ?? null,
      span.name,
      span.value,
      span.section,
    ]);
    // The order of fields that share their bytes is of no matter; §3.14.2 of 3.1.1 has no codes.
    assert.deepEqual(fields, it.fields, `${it.type} ${it.hex}`);
  }
});

test("the leaves cover each bit once, and every span lies within its parent", () => {
  for (const it of cases) {
    const bytes = hex(it.hex);
    const { spans } = annotate(it.version, bytes);
    const covered = new Uint8Array(bytes.length);
    for (const span of leaves(spans)) {
      const [high, low] = span.bits ?? [7, 0];
      const mask = (0xff >> (7 - (high - low))) << low;
      for (let at = span.from; at < span.to; at++) {
        assert.equal(covered[at]! & mask, 0, `${it.hex}: ${span.name} overlaps`);
        covered[at]! |= mask;
      }
    }
    assert.ok(
      covered.every((bits) => bits === 0xff),
      it.hex,
    );
    const walk = (outer: Span) => {
      for (const span of outer.children ?? []) {
        assert.ok(span.from >= outer.from && span.to <= outer.to, `${it.hex}: ${span.name} in ${outer.name}`);
        walk(span);
      }
    };
    spans.forEach(walk);
  }
});

test("any bytes are explained as far as they go", () => {
  for (const it of cases) {
    const bytes = hex(it.hex);
    for (let length = 0; length < bytes.length; length++) {
      const cut = annotate(it.version, bytes.subarray(0, length));
      assert.ok(cut.mistake, `${it.hex} cut to ${length}`);
      assert.ok(cut.mistake.at <= length);
    }
    for (let at = 0; at < bytes.length; at++) {
      for (const value of [0x00, 0x7f, 0x80, 0xff]) annotate(it.version, bytes.with(at, value));
    }
  }
});

test("a mistake says where and what", () => {
  const why = (version: Version, text: string) => annotate(version, hex(text)).mistake;
  assert.deepEqual(why(4, "30050003612f"), { at: 6, text: "the packet is not complete: 1 byte missing" });
  assert.deepEqual(why(5, "8004000100 00".replace(" ", "")), { at: 0, text: "SUBSCRIBE has other flags" });
  assert.deepEqual(why(4, "36020000"), { at: 0, text: "there is no QoS 3" });
  assert.deepEqual(why(4, "c0ffffffff7f"), { at: 1, text: "the Remaining Length has more than four bytes" });
  assert.deepEqual(why(5, "2005000002 1401".replace(" ", "")), { at: 5, text: "this property does not belong here" });
});

test("bits are drawn at their place", () => {
  const packet = hex("3b00");
  const patterns = leaves(annotate(4, packet).spans).map((span) => bitPattern(span, packet));
  assert.deepEqual(patterns.slice(0, 4), ["0011 ....", ".... 1...", ".... .01.", ".... ...1"]);
});
