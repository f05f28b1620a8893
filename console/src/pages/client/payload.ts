/** Payloads as people write and read them. */

export const encodings = ["text", "json", "hex", "base64"] as const;
export type Encoding = (typeof encodings)[number];

const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The bytes of what was written; throws when it is not in that form. */
export function encodePayload(text: string, encoding: Encoding): Uint8Array {
  if (encoding === "hex") return fromHex(text);
  if (encoding === "base64") return fromBase64(text.replace(/\s/g, ""));
  if (encoding === "json") JSON.parse(text);
  return new TextEncoder().encode(text);
}

/** As text, if it is text that can be shown. */
export function payloadText(payload: Uint8Array): string | null {
  try {
    const text = strictUtf8.decode(payload);
    return /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/.test(text) ? null : text;
  } catch {
    return null;
  }
}

/** One line of at most so many characters. */
export function payloadLine(payload: Uint8Array, charactersMax: number): string {
  const head = payload.subarray(0, 4 * charactersMax);
  // A character may be cut in two at the end.
  for (let cut = 0; cut < 4; cut++) {
    const text = payloadText(head.subarray(0, head.length - cut));
    if (text !== null && (cut === 0 || head.length < payload.length)) {
      const line = text.replace(/\s+/g, " ");
      return line.length > charactersMax ? `${line.slice(0, charactersMax)} …` : line;
    }
  }
  return `${toHex(payload.subarray(0, 24), " ")}${payload.length > 24 ? " …" : ""}`;
}

/** JSON with indents, or the text as it is. */
export function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

export function toHex(bytes: Uint8Array, between = ""): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(between);
}

function fromHex(text: string): Uint8Array {
  const digits = text.replace(/0x|[\s:,-]/gi, "");
  if (digits.length % 2 !== 0 || /[^0-9a-f]/i.test(digits)) throw new SyntaxError("hex");
  return Uint8Array.from({ length: digits.length / 2 }, (_, index) =>
    Number.parseInt(digits.slice(2 * index, 2 * index + 2), 16),
  );
}

export function toBase64(bytes: Uint8Array): string {
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

export function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
