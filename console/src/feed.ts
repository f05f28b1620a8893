import { signal } from "@preact/signals";
import { ask, post, Problem } from "./api";

/** The live feed: one stream of events, and a view that says what they should be about. */

export interface Listener {
  name: string;
  protocol: string;
  address: string;
  tls: boolean;
}

export interface Overview {
  version: string;
  uptime_s: number;
  /** Connections by protocol. */
  connections: Record<string, number>;
  connections_by_listener: Record<string, number>;
  rates: {
    messages_in: number;
    messages_out: number;
    bytes_in: number;
    bytes_out: number;
    dropped: number;
  };
  /** Of one processor: 1 keeps one busy. */
  cpu: number;
  rss_bytes: number;
  retained: { messages: number; bytes: number };
  sessions: number;
  subscriptions: number;
  queued: { messages: number; bytes: number };
  inflight_messages: number;
  queues: number;
  store: { durability: string; has_room: boolean; bytes?: number; bytes_max?: number };
  listeners: Listener[];
  /** Whole sentences. */
  warnings: string[];
}

/** A payload as the feed carries it: `text` when it is UTF-8, otherwise `base64`; cut after some bytes. */
export interface Payload {
  text?: string;
  base64?: string;
  /** The whole length. */
  bytes: number;
  truncated: boolean;
}

export interface Value extends Payload {
  qos: number;
  retain: boolean;
  protocol: string;
  client: string;
  /** Absent for a retained value that came before anybody looked. */
  at_ms?: number;
  content_type?: string;
}

/** A value of the selected topic. */
export interface TopicValue extends Value {
  topic: string;
  /** Messages that came so soon before this one that they are not shown. */
  left_out?: number;
}

export interface TreeRow {
  id: number;
  depth: number;
  /** The level. */
  name: string;
  /** The whole name down to here. */
  topic: string;
  open: boolean;
  /** Levels right below. */
  children: number;
  /** Topics below. */
  topics: number;
  /** Messages since somebody looks, here and below. */
  count: number;
  /** Messages a second, here and below. */
  rate: number;
  retained: boolean;
  last?: Value;
}

export interface Tree {
  topics_total: number;
  /** Whether there are more topics than the broker looks after for this tree. */
  capped: boolean;
  rows_total: number;
  first: number;
  rows: TreeRow[];
}

/** What the page wants to see. */
export interface View {
  first: number;
  count: number;
  search: string;
  filter: string;
  selected: string | null;
}

export const feedState = signal<"connecting" | "live" | "lost">("connecting");
export const overview = signal<Overview | null>(null);
export const tree = signal<Tree | null>(null);
/** What is wrong with the view, such as a filter that is none. */
export const viewProblem = signal("");

/** Called for each value of the selected topic. */
export const valueListeners = new Set<(value: TopicValue) => void>();
/** Called for each overview, for those who keep a history. */
export const overviewListeners = new Set<(overview: Overview) => void>();

/** Views are posted at most so often. */
const VIEW_EVERY_MS = 60;
const RETRY_MS_MAX = 10_000;

let source: EventSource | null = null;
let id: string | number | null = null;
let retries = 0;
let retryTimer = 0;

const view: View = { first: 0, count: 0, search: "", filter: "", selected: null };
/** The nodes that are open: their ids, which last as long as the broker watches its topics, by their topics. */
const opened = new Map<string, number>();
/** Topics whose nodes are to be opened as soon as they are in sight. */
const awaited = new Set<string>();
const AWAITED_MAX = 1000;
let changes: Partial<View> & { open?: number[]; close?: number[] } = {};
let viewTimer = 0;
let viewAt = 0;

/** Begins to listen; the result ends it. */
export function startFeed(): () => void {
  connect();
  return () => {
    window.clearTimeout(retryTimer);
    source?.close();
    source = null;
    id = null;
  };
}

/** Changes what the feed is about. */
export function look(change: Partial<View>): void {
  Object.assign(view, change);
  Object.assign(changes, change);
  schedule();
}

/** Opens a node of the tree, or closes it. */
export function unfold(row: Pick<TreeRow, "id" | "topic">, isOpen: boolean): void {
  const [to, other] = isOpen ? (["open", "close"] as const) : (["close", "open"] as const);
  if (isOpen) opened.set(row.topic, row.id);
  else opened.delete(row.topic);
  awaited.delete(row.topic);
  changes[to] = [...(changes[to] ?? []), row.id];
  changes[other] = changes[other]?.filter((id) => id !== row.id);
  schedule();
}

/** Has the nodes above a topic opened when they come into sight. */
export function reveal(topic: string): void {
  for (let end = topic.indexOf("/"); end >= 0; end = topic.indexOf("/", end + 1)) expect(topic.slice(0, end));
}

function expect(topic: string): void {
  if (awaited.size < AWAITED_MAX) awaited.add(topic);
}

/** Opens what is awaited. */
function meet(row: TreeRow): void {
  if (!awaited.has(row.topic) || row.children === 0) return;
  if (row.open) awaited.delete(row.topic);
  else unfold(row, true);
}

function connect(): void {
  source?.close();
  const stream = new EventSource("/api/v1/feed");
  source = stream;
  const on = <T>(name: string, take: (data: T) => void) =>
    stream.addEventListener(name, (event) => take(JSON.parse((event as MessageEvent<string>).data) as T));
  on<{ id: string | number }>("hello", (hello) => {
    feedState.value = "live";
    retries = 0;
    id = hello.id;
    // Where the broker has begun to watch anew the ids are others, and the topics are recognised instead.
    changes = { ...view, open: [...opened.values()] };
    for (const topic of opened.keys()) expect(topic);
    schedule();
  });
  on<Overview>("overview", (data) => {
    overview.value = data;
    overviewListeners.forEach((listener) => listener(data));
  });
  on<Tree>("tree", (data) => {
    tree.value = data;
    if (awaited.size > 0) data.rows.forEach(meet);
  });
  on<TopicValue>("value", (data) => valueListeners.forEach((listener) => listener(data)));
  stream.onerror = () => {
    stream.close();
    if (source !== stream) return;
    id = null;
    feedState.value = "lost";
    retryTimer = window.setTimeout(retry, Math.min(RETRY_MS_MAX, 500 * 2 ** retries++));
  };
}

/** An `EventSource` does not say why it failed: a question does, and shows the login when that is why. */
async function retry(): Promise<void> {
  await ask();
  if (source) connect();
}

function schedule(): void {
  if (id === null || viewTimer) return;
  const wait = Math.max(0, viewAt + VIEW_EVERY_MS - performance.now());
  viewTimer = window.setTimeout(() => void sendView(), wait);
}

async function sendView(): Promise<void> {
  viewTimer = 0;
  viewAt = performance.now();
  if (id === null) return;
  const body = changes;
  changes = {};
  try {
    await post(`/api/v1/feed/${id}`, body);
    viewProblem.value = "";
  } catch (error) {
    // When the broker is away the stream itself tells it, and says hello again.
    if (error instanceof Problem && error.status === 400) viewProblem.value = error.message;
  }
}
