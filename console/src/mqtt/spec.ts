/** What the MQTT specifications call things, how they write them, and where: tables that the codec and the annotations share. */

/** The protocol level: 3.1.1 or 5.0. */
export type Version = 4 | 5;

/** MQTT Control Packet types (5.0 §2.1.2, table 2-1). */
export const Type = {
  CONNECT: 1,
  CONNACK: 2,
  PUBLISH: 3,
  PUBACK: 4,
  PUBREC: 5,
  PUBREL: 6,
  PUBCOMP: 7,
  SUBSCRIBE: 8,
  SUBACK: 9,
  UNSUBSCRIBE: 10,
  UNSUBACK: 11,
  PINGREQ: 12,
  PINGRESP: 13,
  DISCONNECT: 14,
  AUTH: 15,
} as const;

const TYPE_NAMES = ["Reserved", ...Object.keys(Type)];

/** The name of a packet type. */
export function packetName(type: number): string {
  return TYPE_NAMES[type] ?? "Reserved";
}

/** The flags that stand in the first byte of every packet but PUBLISH (5.0 §2.1.3). */
export function requiredFlags(type: number): number {
  return type === Type.PUBREL || type === Type.SUBSCRIBE || type === Type.UNSUBSCRIBE ? 0b0010 : 0;
}

/** How the value of a property is written (5.0 table 2-4). */
export type Form = "flag" | "short" | "long" | "expiry" | "variable" | "text" | "data" | "pair";

/** A property: its key in `Properties`, its name, its form, and what its number counts or its two values mean. */
export interface PropertyRow {
  key: keyof Properties;
  name: string;
  form: Form;
  unit?: string;
  meanings?: [string, string];
}

/** The properties that a packet carries; those that are absent are not there. */
export interface Properties {
  payloadFormatIndicator?: number;
  messageExpiryInterval?: number;
  contentType?: string;
  responseTopic?: string;
  correlationData?: Uint8Array;
  /** One in SUBSCRIBE; in PUBLISH one for each subscription that matches. */
  subscriptionIdentifier?: number[];
  sessionExpiryInterval?: number;
  assignedClientIdentifier?: string;
  serverKeepAlive?: number;
  authenticationMethod?: string;
  authenticationData?: Uint8Array;
  requestProblemInformation?: number;
  willDelayInterval?: number;
  requestResponseInformation?: number;
  responseInformation?: string;
  serverReference?: string;
  reasonString?: string;
  receiveMaximum?: number;
  topicAliasMaximum?: number;
  topicAlias?: number;
  maximumQos?: number;
  retainAvailable?: number;
  userProperty?: [string, string][];
  maximumPacketSize?: number;
  wildcardSubscriptionAvailable?: number;
  subscriptionIdentifiersAvailable?: number;
  sharedSubscriptionAvailable?: number;
}

const SUPPORTED: [string, string] = ["not supported", "supported"];

/** Property identifiers (5.0 table 2-4). */
export const PROPERTIES: Record<number, PropertyRow> = {
  0x01: {
    key: "payloadFormatIndicator",
    name: "Payload Format Indicator",
    form: "flag",
    meanings: ["unspecified bytes", "UTF-8 encoded character data"],
  },
  0x02: { key: "messageExpiryInterval", name: "Message Expiry Interval", form: "long", unit: "second" },
  0x03: { key: "contentType", name: "Content Type", form: "text" },
  0x08: { key: "responseTopic", name: "Response Topic", form: "text" },
  0x09: { key: "correlationData", name: "Correlation Data", form: "data" },
  0x0b: { key: "subscriptionIdentifier", name: "Subscription Identifier", form: "variable" },
  0x11: { key: "sessionExpiryInterval", name: "Session Expiry Interval", form: "expiry" },
  0x12: { key: "assignedClientIdentifier", name: "Assigned Client Identifier", form: "text" },
  0x13: { key: "serverKeepAlive", name: "Server Keep Alive", form: "short", unit: "second" },
  0x15: { key: "authenticationMethod", name: "Authentication Method", form: "text" },
  0x16: { key: "authenticationData", name: "Authentication Data", form: "data" },
  0x17: {
    key: "requestProblemInformation",
    name: "Request Problem Information",
    form: "flag",
    meanings: ["only where it is a must", "wherever it is allowed"],
  },
  0x18: { key: "willDelayInterval", name: "Will Delay Interval", form: "long", unit: "second" },
  0x19: {
    key: "requestResponseInformation",
    name: "Request Response Information",
    form: "flag",
    meanings: ["not wanted", "wanted"],
  },
  0x1a: { key: "responseInformation", name: "Response Information", form: "text" },
  0x1c: { key: "serverReference", name: "Server Reference", form: "text" },
  0x1f: { key: "reasonString", name: "Reason String", form: "text" },
  0x21: { key: "receiveMaximum", name: "Receive Maximum", form: "short", unit: "unacknowledged PUBLISH packet" },
  0x22: { key: "topicAliasMaximum", name: "Topic Alias Maximum", form: "short" },
  0x23: { key: "topicAlias", name: "Topic Alias", form: "short" },
  0x24: { key: "maximumQos", name: "Maximum QoS", form: "flag", meanings: ["at most once", "at least once"] },
  0x25: { key: "retainAvailable", name: "Retain Available", form: "flag", meanings: SUPPORTED },
  0x26: { key: "userProperty", name: "User Property", form: "pair" },
  0x27: { key: "maximumPacketSize", name: "Maximum Packet Size", form: "long", unit: "byte" },
  0x28: {
    key: "wildcardSubscriptionAvailable",
    name: "Wildcard Subscription Available",
    form: "flag",
    meanings: SUPPORTED,
  },
  0x29: {
    key: "subscriptionIdentifiersAvailable",
    name: "Subscription Identifiers Available",
    form: "flag",
    meanings: SUPPORTED,
  },
  0x2a: {
    key: "sharedSubscriptionAvailable",
    name: "Shared Subscription Available",
    form: "flag",
    meanings: SUPPORTED,
  },
};

/** A block of properties: its section, and the identifiers in the order of the subsections; the first is the length. */
export interface Block {
  section: string;
  identifiers: number[];
}

const DETAILS = [0x1f, 0x26];

/** 5.0 §3.1.3.2 */
export const WILL_BLOCK: Block = { section: "3.1.3.2", identifiers: [0x18, 0x01, 0x02, 0x03, 0x08, 0x09, 0x26] };

/** The properties of each packet. */
export const BLOCKS: Record<number, Block> = {
  [Type.CONNECT]: { section: "3.1.2.11", identifiers: [0x11, 0x21, 0x27, 0x22, 0x19, 0x17, 0x26, 0x15, 0x16] },
  [Type.CONNACK]: {
    section: "3.2.2.3",
    identifiers: [0x11, 0x21, 0x24, 0x25, 0x27, 0x12, 0x22, 0x1f, 0x26, 0x28, 0x29, 0x2a, 0x13, 0x1a, 0x1c, 0x15, 0x16],
  },
  [Type.PUBLISH]: { section: "3.3.2.3", identifiers: [0x01, 0x02, 0x23, 0x08, 0x09, 0x26, 0x0b, 0x03] },
  [Type.PUBACK]: { section: "3.4.2.2", identifiers: DETAILS },
  [Type.PUBREC]: { section: "3.5.2.2", identifiers: DETAILS },
  [Type.PUBREL]: { section: "3.6.2.2", identifiers: DETAILS },
  [Type.PUBCOMP]: { section: "3.7.2.2", identifiers: DETAILS },
  [Type.SUBSCRIBE]: { section: "3.8.2.1", identifiers: [0x0b, 0x26] },
  [Type.SUBACK]: { section: "3.9.2.1", identifiers: DETAILS },
  [Type.UNSUBSCRIBE]: { section: "3.10.2.1", identifiers: [0x26] },
  [Type.UNSUBACK]: { section: "3.11.2.1", identifiers: DETAILS },
  [Type.DISCONNECT]: { section: "3.14.2.2", identifiers: [0x11, 0x1f, 0x26, 0x1c] },
  [Type.AUTH]: { section: "3.15.2.2", identifiers: [0x15, 0x16, 0x1f, 0x26] },
};

/** Reason codes (5.0 §2.4). */
const REASONS: Record<number, string> = {
  0x00: "Success",
  0x01: "Granted QoS 1",
  0x02: "Granted QoS 2",
  0x04: "Disconnect with Will Message",
  0x10: "No matching subscribers",
  0x11: "No subscription existed",
  0x18: "Continue authentication",
  0x19: "Re-authenticate",
  0x80: "Unspecified error",
  0x81: "Malformed Packet",
  0x82: "Protocol Error",
  0x83: "Implementation specific error",
  0x84: "Unsupported Protocol Version",
  0x85: "Client Identifier not valid",
  0x86: "Bad User Name or Password",
  0x87: "Not authorized",
  0x88: "Server unavailable",
  0x89: "Server busy",
  0x8a: "Banned",
  0x8b: "Server shutting down",
  0x8c: "Bad authentication method",
  0x8d: "Keep Alive timeout",
  0x8e: "Session taken over",
  0x8f: "Topic Filter invalid",
  0x90: "Topic Name invalid",
  0x91: "Packet Identifier in use",
  0x92: "Packet Identifier not found",
  0x93: "Receive Maximum exceeded",
  0x94: "Topic Alias invalid",
  0x95: "Packet too large",
  0x96: "Message rate too high",
  0x97: "Quota exceeded",
  0x98: "Administrative action",
  0x99: "Payload format invalid",
  0x9a: "Retain not supported",
  0x9b: "QoS not supported",
  0x9c: "Use another server",
  0x9d: "Server moved",
  0x9e: "Shared Subscriptions not supported",
  0x9f: "Connection rate exceeded",
  0xa0: "Maximum connect time",
  0xa1: "Subscription Identifiers not supported",
  0xa2: "Wildcard Subscriptions not supported",
};

/** CONNACK return codes of 3.1.1 (table 3.1). */
const RETURN_CODES = [
  "Connection Accepted",
  "Connection Refused, unacceptable protocol version",
  "Connection Refused, identifier rejected",
  "Connection Refused, Server unavailable",
  "Connection Refused, bad user name or password",
  "Connection Refused, not authorized",
];

/** What a code means in a packet of this type. */
export function codeName(type: number, version: Version, code: number): string {
  if (version === 4 && type === Type.CONNACK) return RETURN_CODES[code] ?? "Unknown return code";
  if (version === 4 && type === Type.SUBACK) {
    return code <= 2 ? `Success - Maximum QoS ${code}` : code === 0x80 ? "Failure" : reasonName(code);
  }
  if (type === Type.SUBACK && code === 0) return "Granted QoS 0";
  if (type === Type.DISCONNECT && code === 0) return "Normal disconnection";
  return reasonName(code);
}

function reasonName(code: number): string {
  return REASONS[code] ?? "Unknown reason code";
}
