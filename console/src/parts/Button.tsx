import type { ButtonHTMLAttributes, ComponentChildren } from "preact";

interface Props extends Omit<ButtonHTMLAttributes, "type" | "disabled"> {
  kind?: "primary" | "plain" | "danger" | "quiet";
  type?: "button" | "submit";
  busy?: boolean;
  disabled?: boolean;
  children?: ComponentChildren;
}

export function Button({ kind = "plain", type = "button", busy = false, disabled = false, children, ...rest }: Props) {
  return (
    <button {...rest} type={type} class={`button ${kind} ${rest.class ?? ""}`} disabled={disabled || busy} aria-busy={busy}>
      {children}
    </button>
  );
}
