import { signal } from "@preact/signals";
import { type TopicValue, valueListeners } from "../../feed";

/** What came for the selected topic while one looks, the newest last. */
export interface Entry extends TopicValue {
  /** Counts up. */
  number: number;
}

/** A history is a ring: so many values, and so many bytes of them. */
const ENTRIES_MAX = 500;
const BYTES_MAX = 4 << 20;

export const history = signal<Entry[]>([]);

let topic: string | null = null;
let bytes = 0;
let next = 1;

const length = (value: TopicValue) => (value.text ?? value.base64 ?? "").length;

/** Begins a history of another topic. */
export function remember(selected: string | null): void {
  if (selected === topic) return;
  topic = selected;
  bytes = 0;
  next = 1;
  history.value = [];
}

valueListeners.add((value) => {
  const entries = history.peek();
  const last = entries.at(-1);
  // A new stream tells the last value once more.
  if (value.topic !== topic || (last && last.at_ms === value.at_ms && last.text === value.text && last.base64 === value.base64)) {
    return;
  }
  bytes += length(value);
  let drop = Math.max(0, entries.length + 1 - ENTRIES_MAX);
  for (let index = 0; index < drop; index++) bytes -= length(entries[index] ?? value);
  while (bytes > BYTES_MAX && drop < entries.length) bytes -= length(entries[drop++] ?? value);
  history.value = [...entries.slice(drop), { ...value, number: next++ }];
});
