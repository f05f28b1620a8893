import { signal } from "@preact/signals";

interface Toast {
  id: number;
  text: string;
  tone: "good" | "bad";
}

const SHOWN_MS = 5000;
const toasts = signal<Toast[]>([]);
let next = 0;

/** Says something for a moment. */
export function toast(text: string, tone: "good" | "bad" = "good"): void {
  const id = next++;
  toasts.value = [...toasts.value.slice(-3), { id, text, tone }];
  window.setTimeout(() => {
    toasts.value = toasts.value.filter((it) => it.id !== id);
  }, SHOWN_MS);
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map((it) => (
        <p key={it.id} class={`toast ${it.tone}`}>
          {it.text}
        </p>
      ))}
    </div>
  );
}
