/** Collections: what was saved, as a file that `althing run` plays from top to bottom. */

import type { Qos, Subscription } from "../../mqtt/codec";
import type { Properties } from "../../mqtt/spec";
import { fromBase64, payloadText, toBase64 } from "./payload";

/** One saved thing. The keys are those of the file. */
export interface Step {
  name?: string;
  /** A topic: publish there. */
  publish?: string;
  /** A topic: publish there, and wait for the answer. */
  request?: string;
  /** A filter: subscribe to it. */
  subscribe?: string;
  qos?: Qos;
  retain?: boolean;
  /** The payload as text; or in base64, if it is none. */
  payload?: string;
  payload_base64?: string;
  content_type?: string;
  response_topic?: string;
  correlation_data?: string;
  message_expiry_s?: number;
  user_properties?: [string, string][];
  no_local?: boolean;
  retain_as_published?: boolean;
  retain_handling?: 0 | 1 | 2;
}

export interface Collection {
  format: "althing-collection/1";
  name: string;
  steps: Step[];
}

export const FORMAT = "althing-collection/1";

/** A mistake in a file; the step counts from 1. */
export class WrongCollection extends Error {
  constructor(
    readonly mistake: "json" | "format" | "step",
    readonly step = 0,
  ) {
    super(mistake);
  }
}

export function writeCollection(name: string, steps: Step[]): string {
  const collection: Collection = { format: FORMAT, name, steps };
  return `${JSON.stringify(collection, null, 2)}\n`;
}

/** Reads a file. Steps that the console does not know (`expect`) stay as they are for the command line. */
export function readCollection(text: string): Collection {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new WrongCollection("json");
  }
  const collection = value as Partial<Collection> | null;
  if (collection?.format !== FORMAT || !Array.isArray(collection.steps)) throw new WrongCollection("format");
  collection.steps.forEach((step: unknown, index) => {
    if (!isStep(step)) throw new WrongCollection("step", index + 1);
  });
  return { format: FORMAT, name: String(collection.name ?? ""), steps: collection.steps };
}

function isStep(value: unknown): value is Step {
  if (typeof value !== "object" || value === null) return false;
  const step = value as Record<string, unknown>;
  const kinds = ["publish", "request", "subscribe", "expect"].filter((kind) => kind in step);
  if (kinds.length !== 1 || typeof step[kinds[0]!] !== "string") return false;
  const texts = ["name", "payload", "payload_base64", "content_type", "response_topic", "correlation_data"];
  if (texts.some((key) => key in step && typeof step[key] !== "string")) return false;
  return !("qos" in step) || [0, 1, 2].includes(step.qos as number);
}

/** What a step publishes. */
export function stepPayload(step: Step): Uint8Array {
  if (step.payload_base64 !== undefined) return fromBase64(step.payload_base64);
  return new TextEncoder().encode(step.payload ?? "");
}

export function payloadOfStep(payload: Uint8Array): Pick<Step, "payload" | "payload_base64"> {
  const text = payloadText(payload);
  return text === null ? { payload_base64: toBase64(payload) } : { payload: text };
}

export function stepProperties(step: Step): Properties {
  const properties: Properties = {};
  if (step.content_type) properties.contentType = step.content_type;
  if (step.response_topic) properties.responseTopic = step.response_topic;
  if (step.correlation_data) properties.correlationData = new TextEncoder().encode(step.correlation_data);
  if (step.message_expiry_s !== undefined) properties.messageExpiryInterval = step.message_expiry_s;
  if (step.user_properties?.length) properties.userProperty = step.user_properties;
  return properties;
}

export function stepSubscription(step: Step): Subscription {
  return {
    filter: step.subscribe ?? "",
    qos: step.qos ?? 0,
    noLocal: step.no_local ?? false,
    retainAsPublished: step.retain_as_published ?? false,
    retainHandling: step.retain_handling ?? 0,
  };
}
