import { cloneElement, type VNode } from "preact";
import { useId } from "preact/hooks";

interface Props {
  label: string;
  hint?: string;
  error?: string;
  /** One input, select or textarea. */
  children: VNode<any>;
}

/** A label, its control, and what there is to say about it. */
export function Field({ label, hint, error, children }: Props) {
  const id = useId();
  const about = error ?? hint;
  const control = cloneElement(children, {
    id,
    "aria-describedby": about ? `${id}-about` : undefined,
    "aria-invalid": error ? true : undefined,
  });
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {control}
      {about && (
        <p id={`${id}-about`} class={error ? "error small" : "muted small"}>
          {about}
        </p>
      )}
    </div>
  );
}

interface CheckProps {
  label: string;
  checked: boolean;
  onChange: (checked: boolean) => void;
  disabled?: boolean;
}

export function Check({ label, checked, onChange, disabled = false }: CheckProps) {
  return (
    <label class="check">
      <input type="checkbox" checked={checked} disabled={disabled} onChange={(e) => onChange(e.currentTarget.checked)} />
      <span>{label}</span>
    </label>
  );
}
