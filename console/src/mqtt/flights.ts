/** Messages above QoS 0 under way, in both directions (5.0 §4.3, §4.4, §4.9). */

import { type AckType, type Message, encodeAck, encodePublish } from "./codec";
import { type Properties, Type, type Version } from "./spec";

/** How a publish ended: the packet that said so, with its code. */
export interface Acknowledgement {
  type: number;
  code: number;
  properties: Properties;
}

interface Flight {
  message: Message;
  /** 0 while it waits for room in the window. */
  id: number;
  /** PUBREC has come: PUBREL is what the other side waits for. */
  isReceived: boolean;
  resolve: (acknowledgement: Acknowledgement) => void;
  fail: (error: Error) => void;
}

export class Flights {
  /** Packet identifiers that wait for an answer; ours and those of SUBSCRIBE and UNSUBSCRIBE. */
  readonly taken = new Set<number>();
  /** In the order in which they were published. */
  private readonly flying = new Map<number, Flight>();
  private waiting: Flight[] = [];
  /** QoS 2 messages of the other side that it has not released. */
  private readonly unreleased = new Set<number>();
  private lastId = 0;
  /** How many may be under way; 0 without a connection. */
  private window = 0;

  constructor(
    private readonly version: Version,
    private readonly send: (packet: Uint8Array) => void,
  ) {}

  /** A packet identifier that is not in use (§2.2.1). */
  nextId(): number {
    if (this.taken.size >= 0xffff) throw new RangeError("all 65,535 packet identifiers are in use");
    do this.lastId = (this.lastId % 0xffff) + 1;
    while (this.taken.has(this.lastId));
    return this.lastId;
  }

  add(message: Message): Promise<Acknowledgement> {
    return new Promise((resolve, fail) => {
      this.waiting.push({ message, id: 0, isReceived: false, resolve, fail });
      this.fill();
    });
  }

  /** PUBACK, PUBREC or PUBCOMP. */
  acknowledged(type: AckType, id: number, code: number, properties: Properties) {
    const flight = this.flying.get(id);
    const qos = type === Type.PUBACK ? 1 : 2;
    if (!flight || flight.message.qos !== qos) {
      // [MQTT-4.3.3-4]: a PUBREC that we do not know, as after a restart, is answered all the same.
      if (type === Type.PUBREC && code < 0x80) this.send(encodeAck(Type.PUBREL, id, this.version === 5 ? 0x92 : 0));
      return;
    }
    if (type === Type.PUBREC && code < 0x80) {
      flight.isReceived = true;
      this.send(encodeAck(Type.PUBREL, id));
      return;
    }
    this.flying.delete(id);
    this.taken.delete(id);
    flight.resolve({ type, code, properties });
    this.fill();
  }

  /** A QoS 2 message has come; whether it is new. */
  received(id: number): boolean {
    const isNew = !this.unreleased.has(id);
    this.unreleased.add(id);
    return isNew;
  }

  /** PUBREL has come; whether there was something to release. */
  released(id: number): boolean {
    return this.unreleased.delete(id);
  }

  /** A new connection: what is under way is sent again, in order (§4.4); without the session, as new messages. */
  resume(sessionPresent: boolean, window: number) {
    const flights = [...this.flying.values()];
    this.window = window;
    if (sessionPresent) {
      for (const { message, id, isReceived } of flights) {
        this.send(isReceived ? encodeAck(Type.PUBREL, id) : encodePublish(this.version, message, id, true));
      }
    } else {
      this.unreleased.clear();
      this.flying.clear();
      for (const flight of flights) {
        this.taken.delete(flight.id);
        // The broker has had it: to send it again would double it.
        if (flight.isReceived) flight.resolve({ type: Type.PUBREC, code: 0, properties: {} });
      }
      this.waiting = [...flights.filter((flight) => !flight.isReceived), ...this.waiting];
    }
    this.fill();
  }

  /** The connection is lost: what is published from now on waits. */
  pause() {
    this.window = 0;
  }

  /** There will be no connection any more. */
  abandon(error: Error) {
    const flights = [...this.flying.values(), ...this.waiting];
    for (const id of this.flying.keys()) this.taken.delete(id);
    this.flying.clear();
    this.waiting = [];
    this.window = 0;
    for (const flight of flights) flight.fail(error);
  }

  private fill() {
    while (this.flying.size < this.window && this.waiting.length > 0) {
      const flight = this.waiting.shift()!;
      flight.id = this.nextId();
      this.taken.add(flight.id);
      this.flying.set(flight.id, flight);
      this.send(encodePublish(this.version, flight.message, flight.id, false));
    }
  }
}
