/** Numbers, sizes and times as people read them. */

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const one = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const two = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });

/** 1,234,567 */
export const count = (n: number) => whole.format(n);

/** 1.2M */
export const compact = (n: number) => (Math.abs(n) < 100 ? one.format(n) : Math.abs(n) < 10_000 ? whole.format(n) : short.format(n));

/** A rate: small ones keep two digits. */
export const rate = (n: number) => (n === 0 ? "0" : n < 0.01 ? "<0.01" : n < 10 ? two.format(n) : compact(n));

/** 1.2 MiB */
export function bytes(n: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = n < 1024 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(n) / 10));
  return `${one.format(n / 1024 ** power)} ${units[power]}`;
}

export const percent = (share: number) => `${one.format(share * 100)} %`;

/** 3 d 4 h; 12 min 5 s */
export function duration(seconds: number): string {
  const s = Math.floor(Math.abs(seconds));
  const parts: [number, string][] = [
    [Math.floor(s / 86_400), "d"],
    [Math.floor(s / 3600) % 24, "h"],
    [Math.floor(s / 60) % 60, "min"],
    [s % 60, "s"],
  ];
  const first = parts.findIndex(([n]) => n > 0);
  const shown = parts.slice(first < 0 ? 3 : first, (first < 0 ? 3 : first) + 2).filter(([n], index) => n > 0 || index === 0);
  return shown.map(([n, unit]) => `${n} ${unit}`).join(" ");
}

/** 14:03:07.123 */
export function clock(at_ms: number): string {
  const at = new Date(at_ms);
  const two = (n: number) => String(n).padStart(2, "0");
  const ms = String(at.getMilliseconds()).padStart(3, "0");
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${ms}`;
}

/** 2026-11-23 14:03 */
export function date(at_ms: number): string {
  const at = new Date(at_ms);
  const two = (n: number) => String(n).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}`;
}

/** How long something took: 0.42 ms, 12 ms, 1.2 s */
export function elapsed(ms: number): string {
  if (ms < 10) return `${two.format(ms)} ms`;
  return ms < 1000 ? `${whole.format(ms)} ms` : `${one.format(ms / 1000)} s`;
}
