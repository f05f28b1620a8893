import { effect, signal } from "@preact/signals";

const themes = ["auto", "light", "dark"] as const;
export type Theme = (typeof themes)[number];

/** What was chosen; `auto` follows the system. */
export const theme = signal<Theme>(themes.find((name) => name === localStorage.getItem("theme")) ?? "auto");

effect(() => {
  if (theme.value === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme.value;
  localStorage.setItem("theme", theme.value);
});

export function nextTheme(): void {
  theme.value = themes[(themes.indexOf(theme.value) + 1) % themes.length] ?? "auto";
}
