import { useState } from "preact/hooks";
import { t } from "../texts";
import { Icon } from "./Icon";

/** Puts a text on the clipboard. */
export function CopyButton({ text, label = t.copy.copy }: { text: string; label?: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await copyText(text);
    setCopied(true);
    window.setTimeout(() => setCopied(false), 1500);
  };
  return (
    <button type="button" class="button quiet copy" onClick={() => void copy()} aria-label={label} title={label}>
      <Icon name={copied ? "check" : "copy"} />
      <span class="visually-hidden" role="status">
        {copied ? t.copy.copied : ""}
      </span>
    </button>
  );
}

/** A command to copy. */
export function Command({ text, label }: { text: string; label?: string }) {
  return (
    <div class="command">
      <pre tabIndex={0} aria-label={label}>
        <code>{text}</code>
      </pre>
      <CopyButton text={text} />
    </div>
  );
}

/** The clipboard interface exists only in secure contexts; over plain HTTP from another machine a selection has to do. */
async function copyText(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
