/** Packets explained bit by bit: a tree of spans with the names, the values and the sections of the specification. */

import {
  type Version,
  BLOCKS,
  PROPERTIES,
  type Block,
  Type,
  WILL_BLOCK,
  codeName,
  packetName,
  requiredFlags,
} from "./spec";

/** A part of a packet: whole bytes, or some bits of one. */
export interface Span {
  /** The first byte, and the first one after it. */
  from: number;
  to: number;
  /** The most and the least significant bit, if it is not all of the byte. */
  bits?: [number, number];
  name: string;
  value: string;
  /** Where the specification describes it, as `§3.1.2.4`. */
  section: string;
  children?: Span[];
}

/** A packet explained. Without a mistake the leaves cover each bit of it once. */
export interface Annotation {
  name: string;
  spans: Span[];
  /** What is wrong from there on, if the bytes are no packet. */
  mistake?: { at: number; text: string };
}

/** Explains a whole packet. CONNECT says its version itself; for all others it is an argument. */
export function annotate(version: Version, packet: Uint8Array): Annotation {
  const walk = new Walk(version, packet);
  let mistake: Annotation["mistake"];
  try {
    walk.packet();
  } catch (error) {
    if (!(error instanceof Stop)) throw error;
    mistake = { at: error.at, text: error.message };
  }
  const annotation = { name: packetName((packet[0] ?? 0) >> 4), spans: walk.spans };
  return mistake ? { ...annotation, mistake } : annotation;
}

/** The parts that have no parts, in the order of the bytes. */
export function leaves(spans: Span[]): Span[] {
  return spans.flatMap((span) => (span.children ? leaves(span.children) : [span]));
}

/** The bits of a span at their place: `..10 ....`; empty for whole bytes. */
export function bitPattern(span: Span, packet: Uint8Array): string {
  if (!span.bits) return "";
  const [high, low] = span.bits;
  const drawn = [7, 6, 5, 4, 3, 2, 1, 0].map((bit) =>
    bit <= high && bit >= low ? String((packet[span.from]! >> bit) & 1) : ".",
  );
  return `${drawn.slice(0, 4).join("")} ${drawn.slice(4).join("")}`;
}

class Stop extends Error {
  constructor(
    readonly at: number,
    text: string,
  ) {
    super(text);
  }
}

const QOS_WORDS = ["at most once delivery", "at least once delivery", "exactly once delivery", "reserved"];
const RETAIN_HANDLING = [
  "retained messages at the time of the subscribe",
  "retained messages only if the subscription is new",
  "no retained messages",
  "reserved",
];
const DATA_NAMES = { text: "Text", data: "Data" } as const;

type Show = keyof typeof DATA_NAMES;

class Walk {
  spans: Span[] = [];
  private position = 0;
  private end: number;
  private type = 0;

  constructor(
    private version: Version,
    private readonly bytes: Uint8Array,
  ) {
    this.end = bytes.length;
  }

  packet() {
    this.group("Fixed header", this.in("2.1.1", "2.2"), () => this.fixedHeader());
    const { type } = this;
    if (type === Type.CONNECT) this.connect();
    else if (type === Type.CONNACK) this.variableHeader(() => this.connack());
    else if (type === Type.PUBLISH) this.publish();
    else if (type >= Type.PUBACK && type <= Type.PUBCOMP) this.variableHeader(() => this.acknowledgement());
    else if (type === Type.SUBSCRIBE || type === Type.UNSUBSCRIBE) this.filters();
    else if (type === Type.SUBACK || type === Type.UNSUBACK) this.codes();
    else if (type === Type.DISCONNECT || type === Type.AUTH) this.goodbye();
    if (this.left() > 0) throw new Stop(this.position, "the packet has bytes after its end");
  }

  /** §2.1.1 */
  private fixedHeader() {
    const first = this.u8();
    this.type = first >> 4;
    const isKnown = this.type > 0 && (this.type < Type.AUTH || this.version === 5);
    const name = packetName(this.type);
    this.bits([7, 4], "MQTT Control Packet type", `${this.type}, ${name}`, this.in("2.1.2", "2.2.1"));
    if (this.type === Type.PUBLISH) {
      this.bits([3, 3], "DUP", first & 8 ? "1, perhaps a repeat" : "0, the first attempt", "3.3.1.1");
      this.bits([2, 1], "QoS", qosWords((first >> 1) & 3), "3.3.1.2");
      this.bits([0, 0], "RETAIN", first & 1 ? "1, retained" : "0", "3.3.1.3");
      if (((first >> 1) & 3) === 3) throw new Stop(0, "there is no QoS 3");
    } else {
      const flags = (first & 15).toString(2).padStart(4, "0");
      this.bits([3, 0], "Reserved", `0b${flags}`, this.in("2.1.3", "2.2.2"));
      if (isKnown && (first & 15) !== requiredFlags(this.type)) throw new Stop(0, `${name} has other flags`);
    }
    if (!isKnown) throw new Stop(0, "the type is reserved");
    const from = this.position;
    const remaining = this.variable("the Remaining Length");
    this.span(from, "Remaining Length", `${count(remaining, "byte")} follow`, this.in("2.1.4", "2.2.3"));
    if (remaining !== this.left()) {
      throw new Stop(this.end, `the packet is not complete: ${count(remaining - this.left(), "byte")} missing`);
    }
  }

  /** §3.1 */
  private connect() {
    let flags = 0;
    this.variableHeader(() => {
      this.text("Protocol Name", "3.1.2.1");
      const level = this.u8();
      // The version of a CONNECT is its own.
      this.version = level === 5 ? 5 : 4;
      const words = level === 5 ? "MQTT 5.0" : level === 4 ? "MQTT 3.1.1" : "no known version";
      this.span(this.position - 1, this.in("Protocol Version", "Protocol Level"), `${level}, ${words}`, "3.1.2.2");
      if (level !== 4 && level !== 5) throw new Stop(this.position - 1, `there is no protocol level ${level}`);
      flags = this.connectFlags();
      this.u16("Keep Alive", "3.1.2.10", (seconds) => (seconds === 0 ? "0, no limit" : count(seconds, "second")));
      if (this.version === 5) this.properties(BLOCKS[Type.CONNECT]!);
    });
    this.payload("3.1.3", () => {
      this.text("Client Identifier", "3.1.3.1");
      if (flags & 0b100) {
        if (this.version === 5) this.properties(WILL_BLOCK, "Will Properties");
        this.text("Will Topic", this.in("3.1.3.3", "3.1.3.2"));
        this.data(this.in("Will Payload", "Will Message"), this.in("3.1.3.4", "3.1.3.3"), "data");
      }
      if (flags & 0x80) this.text("User Name", this.in("3.1.3.5", "3.1.3.4"));
      if (flags & 0x40) this.data("Password", this.in("3.1.3.6", "3.1.3.5"), "data");
    });
  }

  /** §3.1.2.3 */
  private connectFlags(): number {
    const flags = this.u8();
    const yes = (bit: number, words: string) => ((flags >> bit) & 1 ? `1, ${words}` : "0");
    const clean = flags & 2 ? "1, a new session" : "0, resume the session";
    this.group("Connect Flags", "3.1.2.3", () => {
      this.bits([7, 7], "User Name Flag", yes(7, "follows in the payload"), "3.1.2.8");
      this.bits([6, 6], "Password Flag", yes(6, "follows in the payload"), "3.1.2.9");
      this.bits([5, 5], "Will Retain", yes(5, "to be retained"), "3.1.2.7");
      this.bits([4, 3], "Will QoS", qosWords((flags >> 3) & 3), "3.1.2.6");
      this.bits([2, 2], "Will Flag", yes(2, "there is a will"), "3.1.2.5");
      this.bits([1, 1], this.in("Clean Start", "Clean Session"), clean, "3.1.2.4");
      this.bits([0, 0], "Reserved", String(flags & 1), "3.1.2.3");
    });
    return flags;
  }

  /** §3.2 */
  private connack() {
    const flags = this.u8();
    this.group("Connect Acknowledge Flags", "3.2.2.1", () => {
      this.bits([7, 1], "Reserved", String(flags >> 1), "3.2.2.1");
      const words = flags & 1 ? "1, the session is resumed" : "0, a new session";
      this.bits([0, 0], "Session Present", words, this.in("3.2.2.1.1", "3.2.2.2"));
    });
    this.reasonCode(this.in("3.2.2.2", "3.2.2.3"));
    if (this.version === 5) this.properties(BLOCKS[Type.CONNACK]!);
  }

  /** §3.3 */
  private publish() {
    this.variableHeader(() => {
      this.text("Topic Name", "3.3.2.1");
      if (this.bytes[0]! & 0b110) this.u16("Packet Identifier", "3.3.2.2", String);
      if (this.version === 5) this.properties(BLOCKS[Type.PUBLISH]!);
    });
    const from = this.position;
    this.position = this.end;
    this.span(from, "Payload", textOrLength(this.bytes.subarray(from, this.end)), "3.3.3");
  }

  /** §3.4 to §3.7 */
  private acknowledgement() {
    const chapter = `3.${this.type}`;
    this.u16("Packet Identifier", `${chapter}.2`, String);
    if (this.left() > 0) this.reasonCode(this.in(`${chapter}.2.1`, `${chapter}.2`));
    if (this.left() > 0) this.properties(BLOCKS[this.type]!);
  }

  /** §3.8, §3.10 */
  private filters() {
    const chapter = `3.${this.type}`;
    this.identified();
    this.payload(`${chapter}.3`, () => {
      while (this.left() > 0) {
        this.text("Topic Filter", `${chapter}.3`);
        if (this.type === Type.SUBSCRIBE) this.subscriptionOptions();
      }
    });
  }

  /** §3.8.3.1 */
  private subscriptionOptions() {
    const options = this.u8();
    const section = this.in("3.8.3.1", "3.8.3");
    this.group(this.in("Subscription Options", "Requested QoS"), section, () => {
      if (this.version === 4) {
        this.bits([7, 2], "Reserved", String(options >> 2), section);
        this.bits([1, 0], "Requested QoS", qosWords(options & 3), section);
        return;
      }
      const handling = (options >> 4) & 3;
      const published = options & 8 ? "1, RETAIN stays as it was" : "0, RETAIN is cleared";
      this.bits([7, 6], "Reserved", String(options >> 6), section);
      this.bits([5, 4], "Retain Handling", `${handling}, ${RETAIN_HANDLING[handling]}`, section);
      this.bits([3, 3], "Retain As Published", published, section);
      this.bits([2, 2], "No Local", options & 4 ? "1, not what I publish myself" : "0", section);
      this.bits([1, 0], "Maximum QoS", qosWords(options & 3), section);
    });
  }

  /** §3.9, §3.11 */
  private codes() {
    this.identified();
    if (this.type === Type.UNSUBACK && this.version === 4) return;
    const section = `3.${this.type}.3`;
    this.payload(section, () => {
      while (this.left() > 0) this.reasonCode(section);
    });
  }

  /** The variable header of the packets that ask for filters, and of the answers to them. */
  private identified() {
    this.variableHeader(() => {
      this.u16("Packet Identifier", `3.${this.type}.2`, String);
      if (this.version === 5) this.properties(BLOCKS[this.type]!);
    });
  }

  /** §3.14, §3.15. Without a body both mean the code 0. */
  private goodbye() {
    if (this.left() === 0) return;
    this.variableHeader(() => {
      this.reasonCode(`3.${this.type}.2.1`);
      if (this.left() > 0) this.properties(BLOCKS[this.type]!);
    });
  }

  /** §2.2.2 */
  private properties(block: Block, name = "Properties") {
    this.group(name, block.section, () => {
      const from = this.position;
      const length = this.variable("the Property Length");
      this.span(from, "Property Length", count(length, "byte"), `${block.section}.1`);
      if (length > this.left()) throw new Stop(from, "the Property Length goes beyond the packet");
      const end = this.end;
      this.end = this.position + length;
      while (this.left() > 0) this.property(block);
      this.end = end;
    });
  }

  private property(block: Block) {
    const from = this.position;
    const identifier = this.u8();
    const row = PROPERTIES[identifier];
    const hex = `0x${identifier.toString(16).toUpperCase().padStart(2, "0")}`;
    const place = block.identifiers.indexOf(identifier);
    if (!row || place < 0) {
      this.span(from, "Property Identifier", `${hex}, ${row?.name ?? "unknown"}`, "2.2.2.2");
      throw new Stop(from, "this property does not belong here");
    }
    // The first subsection is about the Property Length.
    const section = `${block.section}.${place + 2}`;
    this.group(
      row.name,
      section,
      () => {
        this.span(from, "Property Identifier", `${hex}, ${row.name}`, "2.2.2.2");
        if (row.form === "pair") {
          this.text("User Property: name", section);
          this.text("User Property: value", section);
        } else if (row.form === "text" || row.form === "data") {
          this.data(row.name, section, row.form);
        } else {
          const at = this.position;
          const [value, words] = this.number(row.form, row.unit, row.meanings);
          this.span(at, row.name, words, section);
          if (row.form === "flag" && value > 1) throw new Stop(at, `${row.name} is neither 0 nor 1`);
        }
      },
      from,
    );
  }

  private number(form: string, unit = "", meanings: [string, string] = ["", ""]): [number, string] {
    const size = form === "flag" ? 1 : form === "short" ? 2 : 4;
    const value = form === "variable" ? this.variable("the identifier") : this.integer(size);
    if (form === "flag") return [value, value > 1 ? String(value) : `${value}, ${meanings[value]}`];
    if (form === "expiry" && value === 0) return [value, "0, ends with the connection"];
    if (form === "expiry" && value === 0xffff_ffff) return [value, "the session does not expire"];
    if (form === "expiry") return [value, count(value, "second")];
    return [value, unit ? count(value, unit) : String(value)];
  }

  private reasonCode(section: string) {
    const code = this.u8();
    const hex = code.toString(16).toUpperCase().padStart(2, "0");
    const words = codeName(this.type, this.version, code);
    this.span(this.position - 1, this.in("Reason Code", "Return Code"), `0x${hex} ${words}`, section);
  }

  private variableHeader(inside: () => void) {
    this.group("Variable header", this.type === Type.CONNECT ? "3.1.2" : `3.${this.type}.2`, inside);
  }

  private payload(section: string, inside: () => void) {
    this.group("Payload", section, inside);
  }

  private u16(name: string, section: string, show: (value: number) => string) {
    const from = this.position;
    this.span(from, name, show(this.integer(2)), section);
  }

  private text(name: string, section: string) {
    this.data(name, section, "text");
  }

  /** Text or data with its length before it (§1.5.4, §1.5.6). */
  private data(name: string, section: string, show: Show) {
    const from = this.position;
    const length = this.integer(2);
    this.span(from, `${name}: length`, count(length, "byte"), section);
    if (length > this.left()) throw new Stop(this.position, `${DATA_NAMES[show]} goes beyond the packet`);
    const data = this.bytes.subarray(this.position, this.position + length);
    this.position += length;
    const text = decodeUtf8(data);
    const value = show === "data" ? textOrLength(data) : text === null ? "not UTF-8" : quoted(text);
    this.span(from + 2, name, value, section);
    if (show === "text" && text === null) throw new Stop(from + 2, `${name} is not UTF-8`);
  }

  private left(): number {
    return this.end - this.position;
  }

  private u8(): number {
    if (this.left() < 1) throw new Stop(this.position, "the packet ends too early");
    return this.bytes[this.position++]!;
  }

  private integer(size: number): number {
    if (this.left() < size) throw new Stop(this.position, "the packet ends too early");
    let value = 0;
    for (let index = 0; index < size; index++) value = value * 256 + this.u8();
    return value;
  }

  /** §1.5.5 */
  private variable(what: string): number {
    const from = this.position;
    let value = 0;
    for (let index = 0; index < 4; index++) {
      const byte = this.u8();
      value += (byte & 0x7f) * 128 ** index;
      if (byte < 0x80) return value;
    }
    throw new Stop(from, `${what} has more than four bytes`);
  }

  /** What the walk inside finds is a part of one span. */
  private group(name: string, section: string, inside: () => void, from?: number) {
    const outer = this.spans;
    const children: Span[] = [];
    this.spans = children;
    try {
      inside();
    } finally {
      this.spans = outer;
      const begin = from ?? children[0]?.from ?? this.position;
      if (children.length > 0) {
        outer.push({ from: begin, to: this.position, name, value: "", section: `§${section}`, children });
      }
    }
  }

  private span(from: number, name: string, value: string, section: string) {
    this.spans.push({ from, to: this.position, name, value, section: `§${section}` });
  }

  /** Bits of the byte that was read last. */
  private bits(bits: [number, number], name: string, value: string, section: string) {
    const from = this.position - 1;
    this.spans.push({ from, to: this.position, bits, name, value, section: `§${section}` });
  }

  private in(v5: string, v311: string): string {
    return this.version === 5 ? v5 : v311;
  }
}

function qosWords(qos: number): string {
  return `${qos}, ${QOS_WORDS[qos]}`;
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function decodeUtf8(bytes: Uint8Array): string | null {
  try {
    return utf8.decode(bytes);
  } catch {
    return null;
  }
}

function quoted(text: string): string {
  return JSON.stringify(text);
}

/** Bytes that may be text: in quotes if they are, their number otherwise. */
function textOrLength(bytes: Uint8Array): string {
  const text = decodeUtf8(bytes);
  // biome-ignore lint: control characters are what is looked for.
  return text === null || /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/.test(text)
    ? count(bytes.length, "byte")
    : quoted(text);
}
