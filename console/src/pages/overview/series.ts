import { signal } from "@preact/signals";
import { type Overview, overviewListeners } from "../../feed";

/** The last minutes of a few numbers, for the charts: rings that stay as long as the page is open. */
const SAMPLES_MAX = 600;

const numbers = {
  at_s: (_: Overview) => Date.now() / 1000,
  messages_in: (it: Overview) => it.rates.messages_in,
  messages_out: (it: Overview) => it.rates.messages_out,
  bytes_in: (it: Overview) => it.rates.bytes_in,
  bytes_out: (it: Overview) => it.rates.bytes_out,
  cpu: (it: Overview) => it.cpu * 100,
  rss_bytes: (it: Overview) => it.rss_bytes,
  connections: (it: Overview) => total(it.connections),
};

export type SeriesName = keyof typeof numbers;
const names = Object.keys(numbers) as SeriesName[];

export const series = signal<Record<SeriesName, number[]>>(empty());

function empty(): Record<SeriesName, number[]> {
  return Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<SeriesName, number[]>;
}

overviewListeners.add((overview) => {
  const before = series.peek();
  const next = names.map((name) => [name, [...before[name].slice(1 - SAMPLES_MAX), numbers[name](overview)]]);
  series.value = Object.fromEntries(next) as Record<SeriesName, number[]>;
});

export const total = (connections: Record<string, number>) => Object.values(connections).reduce((sum, n) => sum + n, 0);
