/** The page's connection: it outlives the page, so that one can look at another and come back. */

import { signal } from "@preact/signals";
import { Client, type Delivery, type Options, type Outcome, type State } from "../../mqtt/client";
import type { Message, Subscription } from "../../mqtt/codec";
import { Requests } from "../../mqtt/requests";
import type { Properties, Version } from "../../mqtt/spec";
import { t } from "../../texts";
import { matches } from "./filters";
import { Ring, Sampler } from "./ring";

/** What the form says. */
export interface Form {
  url: string;
  clientId: string;
  version: Version;
  cleanStart: boolean;
  sessionExpiryS: number;
  keepAliveS: number;
  username: string;
  password: string;
  reconnects: boolean;
  userProperties: [string, string][];
  will: { topic: string; payload: string; qos: 0 | 1 | 2; retain: boolean; delayS: number } | null;
}

/** A subscription with the number of its colour, which is its identifier too. */
export interface Listening {
  subscription: Subscription;
  identifier: number;
  outcome: Outcome | null;
  count: number;
}

/** A message of the list. */
export interface Row extends Delivery {
  number: number;
  atMs: number;
  /** The identifiers of the subscriptions that it matches. */
  colours: number[];
}

/** A packet of the list. */
export interface Packet {
  number: number;
  atMs: number;
  way: "in" | "out";
  version: Version;
  bytes: Uint8Array;
}

export const ROWS_MAX = 5_000;
const RING_BYTES_MAX = 32 << 20;
const PACKETS_MAX = 2_000;

/** So many of each tenth of a second are kept; 3,000 a second can be drawn without a stutter. */
const WINDOW_MAX = 300;

/** How often what came is drawn. */
const DRAW_EVERY_MS = 100;

export const form = signal<Form>(initialForm());
export const state = signal<State>("offline");
/** What the state is about, in words, with the time. */
export const stateWords = signal("");
export const listening = signal<Listening[]>([]);
/** Grows when there is something new to draw. */
export const drawn = signal(0);
export const paused = signal(false);
export const connectedAs = signal("");

export const rows = new Ring<Row>(ROWS_MAX, RING_BYTES_MAX);
export const packets = new Ring<Packet>(PACKETS_MAX, RING_BYTES_MAX);
export const rowSampler = new Sampler(WINDOW_MAX);
export const packetSampler = new Sampler(WINDOW_MAX);
/** Messages that came, kept or not. */
export let messagesTotal = 0;

let client: Client | null = null;
let requests: Requests | null = null;
let isDirty = false;
let drawing = 0;
let nextIdentifier = 1;

export function connect() {
  client?.disconnect();
  const options = optionsOf(form.value);
  remember(form.value);
  listening.value = [];
  nextIdentifier = 1;
  client = new Client(options, {
    state: (now, words) => {
      state.value = now;
      stateWords.value = words;
      if (now === "connected") connectedAs.value = client?.options.clientId ?? options.clientId;
    },
    message: take,
    packet: (way, bytes) => show(way, bytes, options.version),
  });
  requests = new Requests(client);
  client.connect();
}

export function disconnect(withWill = false) {
  client?.disconnect(withWill && client.options.version === 5 ? 4 : 0);
}

/** Subscribes, and gives the filter its colour; an error stays at the filter. */
export async function subscribe(subscription: Subscription): Promise<void> {
  const current = here();
  const known = listening.value.find((it) => it.subscription.filter === subscription.filter);
  const identifier = known?.identifier ?? nextIdentifier++;
  const row: Listening = { subscription, identifier, outcome: null, count: known?.count ?? 0 };
  put(row);
  const hasIdentifiers = current.options.version === 5 && current.connack.subscriptionIdentifiersAvailable !== 0;
  try {
    const properties = hasIdentifiers ? { subscriptionIdentifier: [identifier] } : {};
    const [outcome] = await current.subscribe([subscription], properties);
    put({ ...row, outcome: outcome ?? null });
  } catch (error) {
    listening.value = listening.value.filter((it) => it.identifier !== identifier);
    throw error;
  }
}

function put(row: Listening) {
  const others = listening.value.filter((it) => it.identifier !== row.identifier);
  listening.value = [...others, row].sort((one, other) => one.identifier - other.identifier);
}

export async function unsubscribe(row: Listening): Promise<void> {
  if (row.outcome?.ok && state.value === "connected") await here().unsubscribe([row.subscription.filter]);
  listening.value = listening.value.filter((it) => it.identifier !== row.identifier);
}

export function publish(message: Message): Promise<Outcome> {
  return here().publish(forVersion(message));
}

export function request(message: Message, timeoutMs: number): Promise<Delivery> {
  here();
  return requests!.ask(message, timeoutMs);
}

export function clearRows() {
  rows.clear();
  messagesTotal = 0;
  for (const row of listening.value) row.count = 0;
  draw();
}

export function clearPackets() {
  packets.clear();
  draw();
}

function here(): Client {
  if (!client) throw new Error(t.mqtt.connectFirst);
  return client;
}

/** 3.1.1 has no properties. */
function forVersion(message: Message): Message {
  return client?.options.version === 5 ? message : { ...message, properties: {} };
}

function take(delivery: Delivery) {
  requests?.take(delivery);
  messagesTotal++;
  // Who the broker says it is for; only without identifiers the filters have to tell.
  const named = delivery.properties.subscriptionIdentifier;
  const isFor = (it: Listening) =>
    named ? named.includes(it.identifier) : matches(it.subscription.filter, delivery.topic);
  const matching = listening.value.filter(isFor);
  for (const it of matching) it.count++;
  const atMs = Date.now();
  if (!paused.value && rowSampler.keeps(atMs)) {
    const colours = matching.map((it) => it.identifier);
    rows.push({ ...delivery, number: messagesTotal, atMs, colours }, delivery.payload.length + delivery.topic.length + 64);
  }
  drawSoon();
}

function show(way: "in" | "out", bytes: Uint8Array, version: Version) {
  const atMs = Date.now();
  if (paused.value || !packetSampler.keeps(atMs)) return;
  packets.push({ number: packets.total + 1, atMs, way, version, bytes }, bytes.length + 64);
  drawSoon();
}

/** Whatever comes, the page is drawn ten times a second at most. */
function drawSoon() {
  isDirty = true;
  if (drawing) return;
  draw();
  drawing = window.setInterval(() => {
    const now = Date.now();
    const wasSampling = rowSampler.every > 1 || packetSampler.every > 1;
    rowSampler.rest(now);
    packetSampler.rest(now);
    if (isDirty || wasSampling) return draw();
    window.clearInterval(drawing);
    drawing = 0;
  }, DRAW_EVERY_MS);
}

function draw() {
  isDirty = false;
  drawn.value++;
}

function optionsOf(said: Form): Options {
  const isV5 = said.version === 5;
  const properties: Properties = {};
  if (isV5) {
    properties.topicAliasMaximum = 100;
    if (said.sessionExpiryS > 0) properties.sessionExpiryInterval = said.sessionExpiryS;
    const named = said.userProperties.filter(([name]) => name !== "");
    if (named.length > 0) properties.userProperty = named;
  }
  const options: Options = {
    url: said.url,
    clientId: said.clientId,
    version: said.version,
    // [MQTT-3.1.3-7]: without an id 3.1.1 has no session to resume.
    cleanStart: said.cleanStart || said.clientId === "",
    keepAliveSeconds: said.keepAliveS,
    properties,
    reconnects: said.reconnects,
  };
  if (said.username) options.username = said.username;
  if (said.password) options.password = said.password;
  if (said.will?.topic) {
    const { topic, payload, qos, retain, delayS } = said.will;
    const willProperties: Properties = isV5 && delayS > 0 ? { willDelayInterval: delayS } : {};
    options.will = { topic, payload: new TextEncoder().encode(payload), qos, retain, properties: willProperties };
  }
  return options;
}

export function generatedId(): string {
  const letters = crypto.getRandomValues(new Uint8Array(6));
  return `console-${Array.from(letters, (byte) => "abcdefghijkmnpqrstuvwxyz23456789"[byte % 32]).join("")}`;
}

/** MQTT over WebSocket of the broker that has sent this page. */
export function ownUrl(): string {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/mqtt`;
}

const KEY = "client.form";

function initialForm(): Form {
  const fresh: Form = {
    url: ownUrl(),
    clientId: generatedId(),
    version: 5,
    cleanStart: true,
    sessionExpiryS: 0,
    keepAliveS: 60,
    username: "",
    password: "",
    reconnects: true,
    userProperties: [],
    will: null,
  };
  try {
    return { ...fresh, ...(JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Form>) };
  } catch {
    return fresh;
  }
}

/** Everything but the password is there again next time; a client id only where there is a session to resume. */
function remember(said: Form) {
  const { password: _, clientId, url, ...kept } = said;
  const stored: Partial<Form> = { ...kept };
  if (!said.cleanStart) stored.clientId = clientId;
  if (url !== ownUrl()) stored.url = url;
  localStorage.setItem(KEY, JSON.stringify(stored));
}
