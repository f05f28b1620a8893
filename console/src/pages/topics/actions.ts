import { remove, send, withQuery } from "../../api";

/** What one can do to a topic. Publishing goes through the broker's HTTP language, like that of any other client. */

export interface Publication {
  text: string;
  qos: number;
  retain: boolean;
  contentType: string;
}

export async function publish(topic: string, { text, qos, retain, contentType }: Publication): Promise<void> {
  const headers: Record<string, string> = { "althing-qos": String(qos) };
  if (contentType) headers["content-type"] = contentType;
  // A body that is a text would be declared as one, which is not ours to say.
  const body = new TextEncoder().encode(text);
  await send(path(topic), { method: retain ? "PUT" : "POST", headers, body });
}

/** Clears the last value. */
export async function clear(topic: string): Promise<void> {
  await send(path(topic), { method: "DELETE" });
}

export interface Removed {
  matched: number;
  removed: number;
  topics: string[];
}

/** Which last values a topic and all below it have. */
export async function countBelow(topic: string): Promise<Removed> {
  return remove<Removed>(withQuery("/api/v1/retained", { filter: `${topic}/#`, dry_run: true }));
}

/** Removes them, when they are no more than was said. */
export async function clearBelow(topic: string, count: number): Promise<Removed> {
  return remove<Removed>(withQuery("/api/v1/retained", { filter: `${topic}/#`, count }));
}

function path(topic: string): string {
  return `/topics/${topic.split("/").map(encodeURIComponent).join("/")}`;
}
