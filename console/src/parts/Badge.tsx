import type { ComponentChildren } from "preact";

interface Props {
  tone?: "neutral" | "good" | "warning" | "bad" | "accent";
  title?: string;
  children: ComponentChildren;
}

export function Badge({ tone = "neutral", title, children }: Props) {
  return (
    <span class={`badge ${tone}`} title={title}>
      {children}
    </span>
  );
}

/** The language that something came over, each in its colour. */
export function Protocol({ name }: { name: string }) {
  return (
    <span class="badge protocol" data-protocol={name.toLowerCase()}>
      {name}
    </span>
  );
}
