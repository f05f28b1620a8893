/** An MQTT client over WebSocket: one packet a frame out, any framing in, and every packet shown to who wants to see it. */

import { t } from "../texts";
import {
  type AckType,
  type Connect,
  MalformedPacket,
  type Message,
  type Packet,
  Splitter,
  type Subscription,
  decode,
  encodeAck,
  encodeConnect,
  encodeDisconnect,
  encodePing,
  encodePublish,
  encodeSubscribe,
  encodeUnsubscribe,
} from "./codec";
import { Flights } from "./flights";
import { type Properties, Type, codeName } from "./spec";
import { type Timers, browserTimers } from "./timers";

/** `waiting`: the connection is lost and the next attempt has its time. */
export type State = "offline" | "connecting" | "connected" | "waiting";

/** How to reach a broker, and as whom. */
export interface Options extends Connect {
  /** `ws://` or `wss://`. */
  url: string;
  /** Whether a lost connection is made again. */
  reconnects: boolean;
}

/** A message that came. */
export interface Delivery extends Message {
  dup: boolean;
}

/** What the other side said to a request; in 3.1.1 `code` is 0 where that has none. */
export interface Outcome {
  code: number;
  /** The code in words, with the reason that the server gave. */
  words: string;
  ok: boolean;
}

/** What happens, for who looks on. `words` is a sentence for people. */
export interface Events {
  state?: (state: State, words: string) => void;
  message?: (delivery: Delivery) => void;
  packet?: (way: "in" | "out", packet: Uint8Array) => void;
}

/** As much of the browser's WebSocket as is used. */
export interface Socket {
  binaryType: string;
  readonly protocol: string;
  onopen: ((event: unknown) => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number }) => void) | null;
  onerror: ((event: unknown) => void) | null;
  send(data: Uint8Array): void;
  close(code?: number): void;
}

/** What the client takes from the world; tests hand in their own. */
export interface World {
  timers: Timers;
  open: (url: string) => Socket;
}

const browser: World = {
  timers: browserTimers,
  open: (url) => new WebSocket(url, ["mqtt"]) as unknown as Socket,
};

/** A request that did not get its answer, because the connection or the session ended. */
export class Unanswered extends Error {}

/** How long a server may take to answer CONNECT or PINGREQ. */
const ANSWER_WITHIN_MS = 10_000;

/** The first wait before a new attempt, and the longest; each is drawn between half of it and all of it. */
const BACK_OFF_MS = 500;
const BACK_OFF_MAX_MS = 30_000;

/** Codes after which another attempt would end alike, or would throw out who took the session over. */
const FINAL_CODES = new Set([0x81, 0x82, 0x84, 0x85, 0x86, 0x87, 0x8a, 0x8c, 0x8e, 0x95, 0x98, 0x9c, 0x9d]);

type Waiter = { type: number; settle: (codes: number[], properties: Properties) => void; fail: (error: Error) => void };

export class Client {
  state: State = "offline";
  /** What the server said in its last CONNACK. */
  connack: Properties = {};

  private socket: Socket | null = null;
  private splitter = new Splitter();
  private readonly flights: Flights;
  private readonly subscriptions = new Map<string, { subscription: Subscription; properties: Properties }>();
  private readonly waiters = new Map<number, Waiter>();
  private readonly aliases = new Map<number, string>();
  private attempts = 0;
  private keepAliveMs = 0;
  private stopTimer = () => {};
  private stopPing = () => {};
  private stopPong = () => {};
  private farewell = "";

  constructor(
    readonly options: Options,
    private readonly events: Events,
    private readonly world: World = browser,
  ) {
    this.flights = new Flights(options.version, (packet) => this.send(packet));
  }

  /** Opens the connection; what comes of it, `state` tells. */
  connect() {
    if (this.state === "connected" || this.state === "connecting") return;
    this.stopTimer();
    this.farewell = "";
    this.become("connecting", t.mqtt.connecting(this.options.url));
    let socket: Socket;
    try {
      socket = this.world.open(this.options.url);
    } catch (error) {
      this.become("offline", t.mqtt.cannotOpen(this.options.url, (error as Error).message));
      return;
    }
    this.socket = socket;
    this.splitter = new Splitter();
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.send(encodeConnect(this.options));
    socket.onmessage = (event) => this.receive(event.data);
    socket.onclose = (event) => this.lost(event.code, "");
    // Not every WebSocket outside browsers says that it is closed, too.
    socket.onerror = () => this.lost(1006, "");
    this.stopTimer = this.world.timers.after(ANSWER_WITHIN_MS, () => this.giveUp(t.mqtt.silent));
  }

  /** Says goodbye; a code of 4 wants the will to be published. */
  disconnect(code = 0, properties: Properties = {}) {
    this.farewell = t.mqtt.disconnected;
    if (this.state === "connected") this.send(encodeDisconnect(this.options.version, code, properties));
    if (this.socket) this.socket.close(1000);
    this.lost(1000, "");
  }

  /** Publishes; resolves when the broker has answered for the QoS. What waits at a loss is sent again. */
  async publish(message: Message): Promise<Outcome> {
    if (this.state === "offline") throw new Unanswered(t.mqtt.connectFirst);
    if (message.qos === 0) {
      if (this.state !== "connected") throw new Unanswered(t.mqtt.doesNotWait);
      this.send(encodePublish(this.options.version, message, 0, false));
      return { code: 0, words: t.mqtt.sent, ok: true };
    }
    const { code, properties, type } = await this.flights.add(message);
    return this.outcome(type, code, properties);
  }

  /** Subscribes; one outcome a filter. They are subscribed again when a new connection finds no session. */
  async subscribe(subscriptions: Subscription[], properties: Properties = {}): Promise<Outcome[]> {
    const id = this.flights.nextId();
    const packet = encodeSubscribe(this.options.version, id, subscriptions, properties);
    const outcomes = await this.ask(Type.SUBACK, id, packet);
    subscriptions.forEach((subscription, index) => {
      if (outcomes[index]?.ok) this.subscriptions.set(subscription.filter, { subscription, properties });
    });
    return outcomes;
  }

  async unsubscribe(filters: string[]): Promise<Outcome[]> {
    for (const filter of filters) this.subscriptions.delete(filter);
    const id = this.flights.nextId();
    const outcomes = await this.ask(Type.UNSUBACK, id, encodeUnsubscribe(this.options.version, id, filters));
    // UNSUBACK of 3.1.1 has no codes.
    return outcomes.length > 0 ? outcomes : filters.map(() => ({ code: 0, words: "Success", ok: true }));
  }

  private ask(type: number, id: number, packet: Uint8Array): Promise<Outcome[]> {
    if (this.state !== "connected") return Promise.reject(new Unanswered(t.mqtt.connectFirst));
    return new Promise((resolve, fail) => {
      const settle = (codes: number[], properties: Properties) =>
        resolve(codes.map((code) => this.outcome(type, code, properties)));
      this.waiters.set(id, { type, settle, fail });
      this.flights.taken.add(id);
      this.send(packet);
    });
  }

  private outcome(type: number, code: number, properties: Properties): Outcome {
    const words = codeName(type, this.options.version, code);
    const reason = properties.reasonString ? `${words}: ${properties.reasonString}` : words;
    return { code, words: reason, ok: code < 0x80 };
  }

  private receive(data: unknown) {
    if (!this.socket) return;
    try {
      if (!(data instanceof ArrayBuffer)) throw new MalformedPacket("a text frame came: MQTT is in binary ones");
      for (const bytes of this.splitter.push(new Uint8Array(data))) {
        this.events.packet?.("in", bytes);
        this.take(decode(this.options.version, bytes));
      }
    } catch (error) {
      if (!(error instanceof MalformedPacket)) throw error;
      if (this.options.version === 5 && this.state === "connected") this.send(encodeDisconnect(5, 0x81));
      this.giveUp(t.mqtt.malformed(error.message));
    }
  }

  private take(packet: Packet) {
    if ((packet.type === Type.CONNACK) !== (this.state === "connecting")) {
      throw new MalformedPacket("CONNACK is the first packet, and comes once");
    }
    switch (packet.type) {
      case Type.CONNACK:
        return this.welcomed(packet.sessionPresent, packet.code, packet.properties);
      case Type.PUBLISH:
        return this.delivered(packet);
      case Type.PUBREL:
        return this.send(encodeAck(Type.PUBCOMP, packet.id, this.flights.released(packet.id) ? 0 : this.unknown()));
      case Type.PUBACK:
      case Type.PUBREC:
      case Type.PUBCOMP:
        return this.flights.acknowledged(packet.type as AckType, packet.id, packet.code, packet.properties);
      case Type.SUBACK:
      case Type.UNSUBACK: {
        const waiter = this.waiters.get(packet.id);
        if (waiter?.type !== packet.type) throw new MalformedPacket("an acknowledgement is for nothing we asked");
        this.waiters.delete(packet.id);
        this.flights.taken.delete(packet.id);
        return waiter.settle(packet.codes, packet.properties);
      }
      case Type.PINGRESP:
        return this.stopPong();
      case Type.DISCONNECT: {
        const { words } = this.outcome(packet.type, packet.code, packet.properties);
        if (FINAL_CODES.has(packet.code)) this.farewell = t.mqtt.goodbye(words);
        return this.giveUp(t.mqtt.goodbye(words));
      }
      case Type.AUTH:
        throw new MalformedPacket("AUTH came without an Authentication Method of ours");
    }
  }

  /** 0x92 is of 5.0; in 3.1.1 PUBCOMP has no code. */
  private unknown(): number {
    return this.options.version === 5 ? 0x92 : 0;
  }

  private welcomed(sessionPresent: boolean, code: number, properties: Properties) {
    this.stopTimer();
    if (code !== 0) {
      const { words } = this.outcome(Type.CONNACK, code, properties);
      const isFinal = this.options.version === 4 ? code !== 3 : FINAL_CODES.has(code);
      if (isFinal) this.farewell = t.mqtt.refused(words);
      return this.giveUp(t.mqtt.refused(words));
    }
    this.connack = properties;
    this.attempts = 0;
    this.aliases.clear();
    if (properties.assignedClientIdentifier) this.options.clientId = properties.assignedClientIdentifier;
    this.keepAliveMs = (properties.serverKeepAlive ?? this.options.keepAliveSeconds) * 1_000;
    this.become("connected", sessionPresent ? t.mqtt.resumed : t.mqtt.connected);
    this.armPing();
    this.flights.resume(sessionPresent, properties.receiveMaximum ?? 0xffff);
    if (!sessionPresent) this.subscribeAgain();
  }

  private subscribeAgain() {
    for (const { subscription, properties } of this.subscriptions.values()) {
      // Whether it worked is in the packets; who subscribed has had an answer already.
      this.subscribe([subscription], properties).catch(() => {});
    }
  }

  private delivered(packet: Extract<Packet, { type: typeof Type.PUBLISH }>) {
    const topic = this.resolveAlias(packet.topic, packet.properties.topicAlias);
    const isNew = packet.qos < 2 || this.flights.received(packet.id);
    if (packet.qos === 1) this.send(encodeAck(Type.PUBACK, packet.id));
    if (packet.qos === 2) this.send(encodeAck(Type.PUBREC, packet.id));
    if (!isNew) return;
    const { payload, qos, retain, dup, properties } = packet;
    const delivery = { topic, payload, qos, retain, dup, properties };
    this.events.message?.(delivery);
  }

  /** §3.3.2.3.4 */
  private resolveAlias(topic: string, alias: number | undefined): string {
    if (alias === undefined) {
      if (topic === "") throw new MalformedPacket("a PUBLISH has neither a topic nor an alias");
      return topic;
    }
    if (alias === 0 || alias > (this.options.properties.topicAliasMaximum ?? 0)) {
      throw new MalformedPacket(`the Topic Alias ${alias} is beyond the maximum that we have said`);
    }
    if (topic !== "") this.aliases.set(alias, topic);
    const known = this.aliases.get(alias);
    if (known === undefined) throw new MalformedPacket(`the Topic Alias ${alias} stands for no topic yet`);
    return known;
  }

  private send(packet: Uint8Array) {
    if (!this.socket) return;
    this.events.packet?.("out", packet);
    this.socket.send(packet);
    if (this.state === "connected") this.armPing();
  }

  /** PINGREQ when nothing has been sent for the keep alive; no answer to it in time is a loss (§3.1.2.10). */
  private armPing() {
    this.stopPing();
    if (this.keepAliveMs === 0) return;
    this.stopPing = this.world.timers.after(this.keepAliveMs, () => {
      this.stopPong();
      this.stopPong = this.world.timers.after(ANSWER_WITHIN_MS, () => this.giveUp(t.mqtt.noPong));
      this.send(encodePing());
    });
  }

  /** Ends the connection from our side. */
  private giveUp(words: string) {
    this.socket?.close(1000);
    this.lost(1000, words);
  }

  private lost(code: number, words: string) {
    const socket = this.socket;
    for (const stop of [this.stopTimer, this.stopPing, this.stopPong]) stop();
    this.socket = null;
    if (socket) socket.onopen = socket.onmessage = socket.onclose = socket.onerror = null;
    for (const [id, waiter] of this.waiters) {
      this.flights.taken.delete(id);
      waiter.fail(new Unanswered(t.mqtt.lostBefore));
    }
    this.waiters.clear();
    this.flights.pause();
    if (this.state === "offline") return;
    const why = this.farewell || words || closeWords(code, this.state);
    if (this.farewell || !this.options.reconnects) {
      this.flights.abandon(new Unanswered(t.mqtt.notAcknowledged(why)));
      this.become("offline", why);
      return;
    }
    const longest = Math.min(BACK_OFF_MAX_MS, BACK_OFF_MS * 2 ** this.attempts++);
    const waitMs = Math.round(longest * (1 + this.world.timers.random()) * 0.5);
    this.become("waiting", t.mqtt.again(why, (waitMs / 1_000).toFixed(1)));
    this.stopTimer = this.world.timers.after(waitMs, () => this.connect());
  }

  private become(state: State, words: string) {
    this.state = state;
    this.events.state?.(state, words);
  }
}

/** Why a WebSocket closed (RFC 6455 §7.4.1). Browsers do not tell pages why one could not be opened. */
function closeWords(code: number, state: State): string {
  if (state === "connecting")
    return t.mqtt.notMade;
  return code === 1006 ? t.mqtt.lost : t.mqtt.closed(code);
}
