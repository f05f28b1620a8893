/** CBOR (RFC 8949) as values, and values in its diagnostic notation (§8). */

export class Tagged {
  constructor(
    readonly tag: number | bigint,
    readonly value: Cbor,
  ) {}
}

/** A simple value without a name. */
export class Simple {
  constructor(readonly code: number) {}
}

export type Cbor = number | bigint | string | boolean | null | undefined | Uint8Array | Cbor[] | Map<Cbor, Cbor> | Tagged | Simple;

/** Deeper items are refused: nobody reads them, and each level costs a call. */
const DEPTH_MAX = 64;
const BREAK = Symbol("break");

/** One item, and nothing behind it. */
export function decodeCbor(bytes: Uint8Array): Cbor {
  const reader = new Reader(bytes);
  const value = reader.item(0);
  if (value === BREAK) throw new Error("a break without a beginning");
  if (reader.at < bytes.length) throw new Error(`${bytes.length - reader.at} bytes behind the item`);
  return value;
}

class Reader {
  at = 0;
  private readonly view: DataView;

  constructor(private readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  item(depth: number): Cbor | typeof BREAK {
    if (depth > DEPTH_MAX) throw new Error(`more than ${DEPTH_MAX} levels`);
    const initial = this.view.getUint8(this.take(1));
    const [major, info] = [initial >> 5, initial & 31];
    if (major === 7) return this.simple(info);
    const argument = this.argument(info, major);
    switch (major) {
      case 0:
        return argument ?? 0;
      case 1:
        return negative(argument ?? 0);
      case 2:
      case 3:
        return this.string(major, argument, depth);
      case 4:
        return this.array(argument, depth);
      case 5:
        return this.map(argument, depth);
      default:
        return new Tagged(argument ?? 0, this.whole(depth + 1));
    }
  }

  /** The argument of an item's head; `undefined` is an indefinite length. */
  private argument(info: number, major: number): number | bigint | undefined {
    if (info < 24) return info;
    if (info === 24) return this.view.getUint8(this.take(1));
    if (info === 25) return this.view.getUint16(this.take(2));
    if (info === 26) return this.view.getUint32(this.take(4));
    if (info === 27) return small(this.view.getBigUint64(this.take(8)));
    if (info === 31 && major >= 2 && major <= 5) return undefined;
    throw new Error(`a head that means nothing at byte ${this.at - 1}`);
  }

  private simple(info: number): Cbor | typeof BREAK {
    if (info === 20 || info === 21) return info === 21;
    if (info === 22) return null;
    if (info === 23) return undefined;
    if (info === 24) return new Simple(this.view.getUint8(this.take(1)));
    if (info === 25) return half(this.view.getUint16(this.take(2)));
    if (info === 26) return this.view.getFloat32(this.take(4));
    if (info === 27) return this.view.getFloat64(this.take(8));
    if (info === 31) return BREAK;
    if (info < 20) return new Simple(info);
    throw new Error(`a head that means nothing at byte ${this.at - 1}`);
  }

  private string(major: number, length: number | bigint | undefined, depth: number): Cbor {
    if (length !== undefined) {
      const from = this.take(Number(length));
      const part = this.bytes.subarray(from, this.at);
      return major === 2 ? part : new TextDecoder("utf-8", { fatal: true }).decode(part);
    }
    const parts: Cbor[] = [];
    for (let part = this.item(depth + 1); part !== BREAK; part = this.item(depth + 1)) parts.push(part);
    if (major === 3) return parts.map(String).join("");
    return Uint8Array.from(parts.flatMap((part) => (part instanceof Uint8Array ? [...part] : [])));
  }

  private array(length: number | bigint | undefined, depth: number): Cbor[] {
    const items: Cbor[] = [];
    for (let n = 0; length === undefined || n < length; n++) {
      const item = this.item(depth + 1);
      if (item === BREAK) {
        if (length === undefined) break;
        throw new Error("an array ends too early");
      }
      items.push(item);
    }
    return items;
  }

  private map(length: number | bigint | undefined, depth: number): Map<Cbor, Cbor> {
    const items = new Map<Cbor, Cbor>();
    for (let n = 0; length === undefined || n < length; n++) {
      const key = this.item(depth + 1);
      if (key === BREAK) {
        if (length === undefined) break;
        throw new Error("a map ends too early");
      }
      items.set(key, this.whole(depth + 1));
    }
    return items;
  }

  private whole(depth: number): Cbor {
    const item = this.item(depth);
    if (item === BREAK) throw new Error("a break where a value should be");
    return item;
  }

  private take(length: number): number {
    const from = this.at;
    if (from + length > this.bytes.length) throw new Error(`the bytes end within an item at byte ${from}`);
    this.at += length;
    return from;
  }
}

const small = (n: bigint) => (n <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(n) : n);
const negative = (n: number | bigint) => (typeof n === "bigint" ? -1n - n : -1 - n);

function half(bits: number): number {
  const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Diagnostic notation, in lines. */
export function diagnose(value: Cbor, indent = ""): string {
  const inner = `${indent}  `;
  const block = (open: string, lines: string[], close: string) =>
    lines.length === 0 ? open + close : `${open}\n${lines.map((line) => inner + line).join(",\n")}\n${indent}${close}`;
  if (value instanceof Uint8Array) return `h'${[...value].map((byte) => byte.toString(16).padStart(2, "0")).join("")}'`;
  if (value instanceof Tagged) return `${value.tag}(${diagnose(value.value, indent)})`;
  if (value instanceof Simple) return `simple(${value.code})`;
  if (Array.isArray(value)) return block("[", value.map((it) => diagnose(it, inner)), "]");
  if (value instanceof Map) {
    return block("{", [...value].map(([key, it]) => `${diagnose(key, inner)}: ${diagnose(it, inner)}`), "}");
  }
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}
