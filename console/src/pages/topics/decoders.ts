import { effect, signal } from "@preact/signals";
import type { Payload, Value } from "../../feed";
import { t } from "../../texts";
import { decodeCbor, diagnose, Tagged } from "./cbor";

/** How a payload is read. Nothing is guessed from the bytes: what the publisher declared decides, or who looks. */
export const decoders = ["declared", "text", "json", "cbor", "hex"] as const;
export type Decoder = (typeof decoders)[number];

/** What was chosen, for every topic. */
export const chosen = signal<Decoder>(decoders.find((name) => name === localStorage.getItem("decoder")) ?? "declared");
effect(() => localStorage.setItem("decoder", chosen.value));

export interface Decoded {
  /** The reading that was used. */
  as: Exclude<Decoder, "declared">;
  text: string;
  /** What it holds, for those who look for numbers in it. */
  value?: unknown;
  /** Why it cannot be read so; `text` is another reading then. */
  error?: string;
}

/** What a content type says, as far as we know it. */
export function declared(value: { content_type?: string; text?: string }): Exclude<Decoder, "declared"> {
  const type = value.content_type?.split(";")[0]?.trim().toLowerCase() ?? "";
  if (type === "application/json" || type.endsWith("+json")) return "json";
  if (type === "application/cbor" || type.endsWith("+cbor")) return "cbor";
  if (type.startsWith("text/")) return "text";
  // Nothing is declared: that it is UTF-8 is no guess.
  return value.text === undefined ? "hex" : "text";
}

export function decode(value: Payload & Pick<Value, "content_type">, decoder: Decoder): Decoded {
  const as = decoder === "declared" ? declared(value) : decoder;
  try {
    if (as === "json") {
      const parsed: unknown = JSON.parse(plain(value));
      return { as, text: JSON.stringify(parsed, null, 2), value: parsed };
    }
    if (as === "cbor") {
      const parsed = decodeCbor(bytesOf(value));
      return { as, text: diagnose(parsed), value: parsed };
    }
    if (as === "text") {
      const text = plain(value);
      return { as, text, value: number(text) };
    }
  } catch (error) {
    const other = value.text === undefined ? "hex" : "text";
    const why = value.truncated ? t.topics.truncatedUndecodable : error instanceof Error ? error.message : String(error);
    return { as: other, text: other === "hex" ? hex(bytesOf(value)) : plain(value), error: t.topics.undecodable(as, why) };
  }
  return { as: "hex", text: hex(bytesOf(value)) };
}

/** One line of a payload, for a row: never more than it shows. */
export function preview(value: Payload): string {
  if (value.bytes === 0) return t.topics.emptyPayload;
  if (value.text !== undefined) return value.text.length > 200 ? `${value.text.slice(0, 200)}…` : value.text;
  const bytes = bytesOf({ ...value, base64: value.base64?.slice(0, 44) ?? "" });
  return [...bytes.subarray(0, 24)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

export function bytesOf(value: Pick<Payload, "text" | "base64">): Uint8Array {
  if (value.text !== undefined) return new TextEncoder().encode(value.text);
  return Uint8Array.from(atob(value.base64 ?? ""), (letter) => letter.charCodeAt(0));
}

/** The places of numbers in a value: `""` is the value itself, `a.b[0]` what is inside. */
export function numericPaths(value: unknown, path = "", found: string[] = [], depth = 0): string[] {
  if (found.length >= 40 || depth > 8) return found;
  if (typeof value === "number" || typeof value === "boolean") found.push(path);
  else for (const [key, inner] of entries(value)) numericPaths(inner, join(path, key), found, depth + 1);
  return found;
}

/** The number at a path. */
export function numberAt(value: unknown, path: string): number | null {
  let here = value;
  for (const key of split(path)) {
    here = entries(here).find(([name]) => String(name) === key)?.[1];
  }
  if (typeof here === "boolean") return here ? 1 : 0;
  return typeof here === "number" && Number.isFinite(here) ? here : null;
}

function entries(value: unknown): [string | number, unknown][] {
  if (value instanceof Tagged) return entries(value.value);
  if (value instanceof Map) return [...value].map(([key, inner]) => [String(key), inner]);
  if (Array.isArray(value)) return value.slice(0, 64).map((inner, index) => [index, inner]);
  if (value && typeof value === "object" && !(value instanceof Uint8Array)) return Object.entries(value);
  return [];
}

// A key may hold dots and brackets of its own, so the parts of a path stand apart by a character that no path shows.
const SEPARATOR = "\u001f";
const join = (path: string, key: string | number) => (path ? `${path}${SEPARATOR}${key}` : String(key));
const split = (path: string) => (path ? path.split(SEPARATOR) : []);
/** A path as people write it. */
export const pathText = (path: string) => split(path).map((key) => (/^\d+$/.test(key) ? `[${key}]` : `.${key}`)).join("");

function plain(value: Payload): string {
  return value.text ?? new TextDecoder("utf-8", { fatal: true }).decode(bytesOf(value));
}

function number(text: string): number | undefined {
  return /^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$/.test(text) ? Number(text) : undefined;
}

/** Eight bytes a line: place, bytes, letters. */
function hex(bytes: Uint8Array): string {
  const lines = [];
  for (let at = 0; at < bytes.length; at += 8) {
    const row = [...bytes.subarray(at, at + 8)];
    const digits = row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const letters = row.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : "·")).join("");
    lines.push(`${at.toString(16).padStart(6, "0")}  ${digits.padEnd(23)}  ${letters}`);
  }
  return lines.join("\n");
}
