import assert from "node:assert/strict";
import { test } from "node:test";
import { type Cbor, decodeCbor, diagnose } from "../src/pages/topics/cbor";
import { diff } from "../src/pages/topics/diff";
import { hex } from "./bytes";

const read = (digits: string) => diagnose(decodeCbor(hex(digits))).replace(/\n\s*/g, "");

test("CBOR reads as RFC 8949, Appendix A", () => {
  const examples: [string, string][] = [
    ["00", "0"],
    ["1903e8", "1000"],
    ["1bffffffffffffffff", "18446744073709551615"],
    ["3bffffffffffffffff", "-18446744073709551616"],
    ["3903e7", "-1000"],
    ["f93c00", "1"],
    ["f90001", "5.960464477539063e-8"],
    ["f9c400", "-4"],
    ["fa47c35000", "100000"],
    ["fb3ff199999999999a", "1.1"],
    ["f97c00", "Infinity"],
    ["f97e00", "NaN"],
    ["f5", "true"],
    ["f6", "null"],
    ["f7", "undefined"],
    ["f8ff", "simple(255)"],
    ["c11a514b67b0", "1(1363896240)"],
    ["4401020304", "h'01020304'"],
    ["62225c", '"\\"\\\\"'],
    ["8301820203820405", "[1,[2,3],[4,5]]"],
    ["a26161016162820203", '{"a": 1,"b": [2,3]}'],
    ["5f42010243030405ff", "h'0102030405'"],
    ["7f657374726561646d696e67ff", '"streaming"'],
    ["9f018202039f0405ffff", "[1,[2,3],[4,5]]"],
    ["bf61610161629f0203ffff", '{"a": 1,"b": [2,3]}'],
  ];
  for (const [digits, text] of examples) assert.equal(read(digits), text, digits);
});

test("what is no CBOR is refused", () => {
  for (const digits of ["", "18", "1c", "ff", "0000", "62c328", "5bffffffffffffffff", "a1", "81ff", "9f", "a1f6ff", "81".repeat(100) + "00"]) {
    assert.throws(() => decodeCbor(hex(digits)), digits);
  }
});

test("a map keeps keys that are no texts", () => {
  const map = decodeCbor(hex("a20102f503")) as Map<Cbor, Cbor>;
  assert.deepEqual([...map], [[1, 2], [true, 3]]);
});

test("a difference keeps what both have in common", () => {
  const lines = diff("a\nb\nc", "a\nc\nd").map(({ kind, text }) => `${kind} ${text}`);
  assert.deepEqual(lines, ["same a", "gone b", "same c", "new d"]);
  assert.deepEqual(diff("x", "x").map((line) => line.kind), ["same"]);
});
