/** What the administrators' interface says of sessions, and what it does to them. */

import { get, remove, withQuery } from "../../api";

/** `Session` of the interface. */
export interface Session {
  client: string;
  realm: string;
  user: string | null;
  groups: string[];
  protocol: string;
  listener: string;
  address: string | null;
  tls: { version: string; cipher: string; certificate: string | null } | null;
  connected: boolean;
  connected_s: number | null;
  pace: "ready" | "slow" | "stalled";
  unsent_bytes: number | null;
  expiry_s: number;
  expires_in_s: number | null;
  will: boolean;
  subscriptions: number;
  queue_messages: number;
  queue_bytes: number;
  inflight_messages: number;
  window: number;
  drops: number;
  epoch: number;
}

export interface Subscription {
  client: string;
  filter: string;
  qos: number;
  no_local: boolean;
  retain_as_published: boolean;
  identifier: number;
}

/** Something that went wrong; `why` is a sentence. */
export interface Incident {
  at_ms: number;
  kind: string;
  why: string;
  remote?: string;
  times: number;
}

/** Something that happens now. */
export interface Happening {
  at_ms: number;
  what: string;
  way?: "in" | "out";
  topic?: string;
  qos?: number;
  retain?: boolean;
  payload_bytes?: number;
  details?: string;
  left_out?: number;
}

export interface Page<Item> {
  items: Item[];
  next?: string;
  total?: number;
}

/** Which sessions, and in which order. */
export interface Wanted {
  prefix: string;
  user: string;
  protocol: string;
  connected: "" | "true" | "false";
  /** A field of the interface, with `-` before it when the largest come first. Without it the order is any. */
  sort: string;
  offset: number;
}

export const PAGE = 50;

/** Every client id but the empty one is a part of the path; `.` and `..` would be taken for steps in it. */
const path = (of: string, client: string, realm: string) =>
  withQuery(`/api/v1/${of}/${encodeURIComponent(client).replace(/^\.+$/, (dots) => "%2E".repeat(dots.length))}`, { realm });

export const sessions = ({ prefix, user, protocol, connected, sort, offset }: Wanted, signal: AbortSignal) =>
  get<Page<Session>>(
    withQuery("/api/v1/sessions", { prefix, user, protocol, connected, sort, offset, limit: PAGE }),
    signal,
  );

export const session = (client: string, realm: string, signal: AbortSignal) =>
  get<Session>(path("sessions", client, realm), signal);

export const subscriptionsOf = (client: string, signal: AbortSignal) =>
  get<Page<Subscription>>(withQuery("/api/v1/subscriptions", { client, sort: "filter", limit: 200 }), signal);

export const incidentsOf = (client: string, signal: AbortSignal) =>
  get<Incident[]>(path("why", client, ""), signal);

/** Ends the connection; the session stays as long as it was asked to. */
export const kick = (it: Session) => remove(path("clients", it.client, it.realm));

/** Ends the session with everything that waits for it. */
export const end = (it: Session) => remove(path("sessions", it.client, it.realm));

/** Drops what waits. */
export const purge = (it: Session) =>
  remove<{ messages: number }>(withQuery(`/api/v1/sessions/${encodeURIComponent(it.client)}/queue`, { realm: it.realm }));
