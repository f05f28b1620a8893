/** MQTT 3.1.1 and 5.0 packets as bytes: a client's are written, a server's are read. */

import { BLOCKS, PROPERTIES, type Properties, Type, type Version, WILL_BLOCK, packetName, requiredFlags } from "./spec";

export type Qos = 0 | 1 | 2;

/** What a will and a PUBLISH have in common. */
export interface Message {
  topic: string;
  payload: Uint8Array;
  qos: Qos;
  retain: boolean;
  properties: Properties;
}

/** CONNECT (§3.1). */
export interface Connect {
  version: Version;
  clientId: string;
  /** Clean Session in 3.1.1. */
  cleanStart: boolean;
  keepAliveSeconds: number;
  username?: string;
  password?: string;
  will?: Message;
  properties: Properties;
}

/** A filter with its options (§3.8.3.1); 3.1.1 knows the QoS alone. */
export interface Subscription {
  filter: string;
  qos: Qos;
  noLocal?: boolean;
  retainAsPublished?: boolean;
  retainHandling?: 0 | 1 | 2;
}

/** A packet of a server. */
export type Packet =
  | { type: typeof Type.CONNACK; sessionPresent: boolean; code: number; properties: Properties }
  | ({ type: typeof Type.PUBLISH; dup: boolean; id: number } & Message)
  | { type: AckType; id: number; code: number; properties: Properties }
  | { type: typeof Type.SUBACK | typeof Type.UNSUBACK; id: number; codes: number[]; properties: Properties }
  | { type: typeof Type.DISCONNECT | typeof Type.AUTH; code: number; properties: Properties }
  | { type: typeof Type.PINGRESP };

export type AckType = typeof Type.PUBACK | typeof Type.PUBREC | typeof Type.PUBREL | typeof Type.PUBCOMP;

/** What the other side sent is no packet; the text is a sentence for people. */
export class MalformedPacket extends Error {}

export function encodeConnect(connect: Connect): Uint8Array {
  const { version, will, username, password } = connect;
  const body = new Writer();
  body.text("MQTT");
  body.u8(version);
  let flags = connect.cleanStart ? 0b10 : 0;
  if (will) flags |= 0b100 | (will.qos << 3) | (will.retain ? 0b10_0000 : 0);
  if (password !== undefined) flags |= 0b100_0000;
  if (username !== undefined) flags |= 0b1000_0000;
  body.u8(flags);
  body.u16(connect.keepAliveSeconds);
  if (version === 5) body.properties(BLOCKS[Type.CONNECT]!.identifiers, connect.properties);
  body.text(connect.clientId);
  if (will) {
    if (version === 5) body.properties(WILL_BLOCK.identifiers, will.properties);
    body.text(will.topic);
    body.data(will.payload);
  }
  if (username !== undefined) body.text(username);
  if (password !== undefined) body.text(password);
  return body.packet(Type.CONNECT, 0);
}

export function encodePublish(version: Version, message: Message, id: number, dup: boolean): Uint8Array {
  const body = new Writer();
  body.text(message.topic);
  if (message.qos > 0) body.u16(id);
  if (version === 5) body.properties(BLOCKS[Type.PUBLISH]!.identifiers, message.properties);
  body.bytes(message.payload);
  return body.packet(Type.PUBLISH, (dup ? 0b1000 : 0) | (message.qos << 1) | (message.retain ? 1 : 0));
}

/** PUBACK, PUBREC, PUBREL and PUBCOMP; the code 0 is left out, which both versions read alike. */
export function encodeAck(type: AckType, id: number, code = 0): Uint8Array {
  const body = new Writer();
  body.u16(id);
  if (code !== 0) body.u8(code);
  return body.packet(type, requiredFlags(type));
}

export function encodeSubscribe(
  version: Version,
  id: number,
  subscriptions: Subscription[],
  properties: Properties,
): Uint8Array {
  const body = new Writer();
  body.u16(id);
  if (version === 5) body.properties(BLOCKS[Type.SUBSCRIBE]!.identifiers, properties);
  for (const { filter, qos, noLocal, retainAsPublished, retainHandling } of subscriptions) {
    body.text(filter);
    const options = (noLocal ? 0b100 : 0) | (retainAsPublished ? 0b1000 : 0) | ((retainHandling ?? 0) << 4);
    body.u8(version === 5 ? qos | options : qos);
  }
  return body.packet(Type.SUBSCRIBE, requiredFlags(Type.SUBSCRIBE));
}

export function encodeUnsubscribe(
  version: Version,
  id: number,
  filters: string[],
  properties: Properties = {},
): Uint8Array {
  const body = new Writer();
  body.u16(id);
  if (version === 5) body.properties(BLOCKS[Type.UNSUBSCRIBE]!.identifiers, properties);
  for (const filter of filters) body.text(filter);
  return body.packet(Type.UNSUBSCRIBE, requiredFlags(Type.UNSUBSCRIBE));
}

export function encodePing(): Uint8Array {
  return new Writer().packet(Type.PINGREQ, 0);
}

export function encodeDisconnect(version: Version, code: number, properties: Properties = {}): Uint8Array {
  const body = new Writer();
  const hasProperties = Object.keys(properties).length > 0;
  if (version === 5 && (code !== 0 || hasProperties)) {
    body.u8(code);
    if (hasProperties) body.properties(BLOCKS[Type.DISCONNECT]!.identifiers, properties);
  }
  return body.packet(Type.DISCONNECT, 0);
}

/** Reads one whole packet of a server. */
export function decode(version: Version, bytes: Uint8Array): Packet {
  const type = bytes[0]! >> 4;
  const flags = bytes[0]! & 0x0f;
  const reader = new Reader(bytes, 1);
  const length = reader.variable();
  if (length !== reader.left()) throw new MalformedPacket("the Remaining Length is not that of the packet");
  if (type !== Type.PUBLISH && flags !== requiredFlags(type)) {
    throw new MalformedPacket(`the flags of ${packetName(type)} are not the ones it must have`);
  }
  const packet = decodeBody(version, type, flags, reader);
  if (reader.left() > 0) throw new MalformedPacket(`${packetName(type)} has bytes after its end`);
  return packet;
}

function decodeBody(version: Version, type: number, flags: number, reader: Reader): Packet {
  const properties = () => (version === 5 && reader.left() > 0 ? reader.properties() : {});
  switch (type) {
    case Type.CONNACK: {
      const sessionPresent = (reader.u8() & 1) !== 0;
      return { type, sessionPresent, code: reader.u8(), properties: properties() };
    }
    case Type.PUBLISH:
      return decodePublish(version, flags, reader);
    case Type.PUBACK:
    case Type.PUBREC:
    case Type.PUBREL:
    case Type.PUBCOMP: {
      const id = reader.id();
      return { type, id, code: reader.left() > 0 ? reader.u8() : 0, properties: properties() };
    }
    case Type.SUBACK:
    case Type.UNSUBACK: {
      const id = reader.id();
      const read = properties();
      return { type, id, codes: [...reader.rest()], properties: read };
    }
    case Type.PINGRESP:
      return { type };
    case Type.DISCONNECT:
    case Type.AUTH:
      if (version === 4) break;
      return { type, code: reader.left() > 0 ? reader.u8() : 0, properties: properties() };
  }
  throw new MalformedPacket(`a server does not send ${packetName(type)}`);
}

function decodePublish(version: Version, flags: number, reader: Reader): Packet {
  const qos = (flags >> 1) & 0b11;
  if (qos === 3) throw new MalformedPacket("a PUBLISH has QoS 3");
  const topic = reader.text();
  const id = qos > 0 ? reader.id() : 0;
  const properties = version === 5 ? reader.properties() : {};
  const payload = reader.rest();
  const [dup, retain] = [(flags & 0b1000) !== 0, (flags & 1) !== 0];
  return { type: Type.PUBLISH, topic, id, qos: qos as Qos, dup, retain, properties, payload };
}

/** Cuts a stream of frames into packets, whose borders need not be those of the frames ([MQTT-6.0.0-2]). */
export class Splitter {
  private chunks: Uint8Array[] = [];
  private held = 0;

  /** Takes what a frame brought, and gives the packets that are complete with it. Each byte is copied at most twice. */
  push(chunk: Uint8Array): Uint8Array[] {
    this.chunks.push(chunk);
    this.held += chunk.length;
    const packets = [];
    for (let length = this.packetLength(); length !== null && length <= this.held; length = this.packetLength()) {
      packets.push(this.take(length));
    }
    return packets;
  }

  /** How long the first packet is with its fixed header, once enough of that is there. */
  private packetLength(): number | null {
    let [value, position] = [0, 0];
    for (const chunk of this.chunks) {
      for (let index = 0; index < chunk.length; index++, position++) {
        if (position === 0) continue;
        value += (chunk[index]! & 0x7f) * 128 ** (position - 1);
        if (chunk[index]! < 0x80) return value + position + 1;
        if (position === 4) throw new MalformedPacket("a Remaining Length has more than four bytes");
      }
    }
    return null;
  }

  private take(length: number): Uint8Array {
    if (this.chunks.length > 1 && this.chunks[0]!.length < length) this.chunks = [concat(this.chunks)];
    const first = this.chunks[0]!;
    const packet = first.subarray(0, length);
    if (first.length === length) this.chunks.shift();
    else this.chunks[0] = first.subarray(length);
    this.held -= length;
    return packet;
  }
}

function concat(chunks: Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    whole.set(chunk, offset);
    offset += chunk.length;
  }
  return whole;
}

const utf8 = new TextEncoder();
const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The body of a packet as it grows. */
class Writer {
  private out: number[] = [];
  private tail: Uint8Array = new Uint8Array();

  u8(value: number) {
    this.out.push(value & 0xff);
  }

  u16(value: number) {
    this.out.push((value >> 8) & 0xff, value & 0xff);
  }

  u32(value: number) {
    this.u16(value >>> 16);
    this.u16(value);
  }

  variable(value: number) {
    for (; value > 0x7f; value = Math.floor(value / 128)) this.u8((value & 0x7f) | 0x80);
    this.u8(value);
  }

  data(data: Uint8Array) {
    if (data.length > 0xffff) throw new RangeError("a text or data of MQTT has at most 65,535 bytes");
    this.u16(data.length);
    for (const byte of data) this.out.push(byte);
  }

  text(text: string) {
    this.data(utf8.encode(text));
  }

  /** What ends the packet, without a length of its own. */
  bytes(bytes: Uint8Array) {
    this.tail = bytes;
  }

  /** The properties among `identifiers` that are there, with their length before them. */
  properties(identifiers: number[], properties: Properties) {
    const block = new Writer();
    for (const identifier of identifiers) block.property(identifier, properties);
    this.variable(block.out.length);
    for (const byte of block.out) this.out.push(byte);
  }

  private property(identifier: number, properties: Properties) {
    const row = PROPERTIES[identifier]!;
    const value = properties[row.key];
    if (value === undefined) return;
    // Those that may stand several times are lists.
    const isList = row.form === "pair" || row.form === "variable";
    for (const item of isList ? (value as (number | [string, string])[]) : [value]) {
      this.u8(identifier);
      if (row.form === "flag") this.u8(item as number);
      else if (row.form === "short") this.u16(item as number);
      else if (row.form === "long" || row.form === "expiry") this.u32(item as number);
      else if (row.form === "variable") this.variable(item as number);
      else if (row.form === "text") this.text(item as string);
      else if (row.form === "data") this.data(item as Uint8Array);
      else for (const text of item as [string, string]) this.text(text);
    }
  }

  packet(type: number, flags: number): Uint8Array {
    const header = new Writer();
    header.u8((type << 4) | flags);
    const length = this.out.length + this.tail.length;
    if (length > 268_435_455) throw new RangeError("a packet of MQTT has at most 268,435,455 bytes");
    header.variable(length);
    return concat([Uint8Array.from(header.out), Uint8Array.from(this.out), this.tail]);
  }
}

/** What is left of a packet. */
class Reader {
  constructor(
    private readonly packet: Uint8Array,
    private position: number,
    private readonly end = packet.length,
  ) {}

  left(): number {
    return this.end - this.position;
  }

  take(length: number): Uint8Array {
    if (length > this.left()) throw new MalformedPacket("a packet ends within a field");
    this.position += length;
    return this.packet.subarray(this.position - length, this.position);
  }

  rest(): Uint8Array {
    return this.take(this.left());
  }

  u8(): number {
    return this.take(1)[0]!;
  }

  u16(): number {
    return this.u8() * 0x100 + this.u8();
  }

  u32(): number {
    return this.u16() * 0x1_0000 + this.u16();
  }

  /** §2.2.1 */
  id(): number {
    const id = this.u16();
    if (id === 0) throw new MalformedPacket("a Packet Identifier is 0");
    return id;
  }

  /** §1.5.5 */
  variable(): number {
    let value = 0;
    for (let factor = 1; factor <= 128 ** 3; factor *= 128) {
      const byte = this.u8();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
    throw new MalformedPacket("a variable byte integer has more than four bytes");
  }

  data(): Uint8Array {
    return this.take(this.u16());
  }

  text(): string {
    try {
      return strictUtf8.decode(this.data());
    } catch (error) {
      throw error instanceof MalformedPacket ? error : new MalformedPacket("a text is not UTF-8");
    }
  }

  properties(): Properties {
    const length = this.variable();
    if (length > this.left()) throw new MalformedPacket("a Property Length goes beyond the packet");
    const block = new Reader(this.packet, this.position, this.position + length);
    this.take(length);
    const properties: Properties = {};
    while (block.left() > 0) block.property(properties);
    return properties;
  }

  private property(properties: Properties) {
    const identifier = this.u8();
    const row = PROPERTIES[identifier];
    if (!row) throw new MalformedPacket(`there is no property 0x${identifier.toString(16)}`);
    if (row.form === "pair") {
      (properties.userProperty ??= []).push([this.text(), this.text()]);
      return;
    }
    if (row.form === "variable") {
      (properties.subscriptionIdentifier ??= []).push(this.variable());
      return;
    }
    if (properties[row.key] !== undefined) throw new MalformedPacket(`${row.name} is there twice`);
    const values: Record<string, unknown> = properties as Record<string, unknown>;
    if (row.form === "flag") values[row.key] = this.u8();
    else if (row.form === "short") values[row.key] = this.u16();
    else if (row.form === "text") values[row.key] = this.text();
    else if (row.form === "data") values[row.key] = this.data();
    else values[row.key] = this.u32();
  }
}
