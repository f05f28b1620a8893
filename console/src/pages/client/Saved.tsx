import { useRef } from "preact/hooks";
import { words } from "../../api";
import { Badge } from "../../parts/Badge";
import { Button } from "../../parts/Button";
import { Icon } from "../../parts/Icon";
import { toast } from "../../parts/Toast";
import { t } from "../../texts";
import { type Step, WrongCollection, stepPayload, stepSubscription } from "./collection";
import { payloadLine } from "./payload";
import { loadDraft, play } from "./Publish";
import { exportFile, forget, importFile, rename, saved } from "./saved";
import { state, subscribe } from "./session";

const texts = () => t.client.saved;

/** What was saved: played with one click, and a file for the command line. */
export function Saved() {
  const file = useRef<HTMLInputElement>(null);
  const take = async (chosen: File | undefined) => {
    if (!chosen) return;
    try {
      toast(texts().imported(await importFile(chosen)));
    } catch (error) {
      toast(error instanceof WrongCollection ? texts().wrong[error.mistake](error.step) : words(error), "bad");
    }
  };
  return (
    <section class="card" aria-label={texts().title}>
      <div class="row apart">
        <h2>{texts().title}</h2>
        <div class="row">
          <input
            ref={file}
            class="visually-hidden"
            type="file"
            accept="application/json,.json"
            tabIndex={-1}
            aria-label={texts().import}
            onChange={(e) => {
              void take(e.currentTarget.files?.[0]);
              e.currentTarget.value = "";
            }}
          />
          <Button onClick={() => file.current?.click()}>{texts().import}</Button>
          <Button onClick={exportFile} disabled={saved.value.length === 0}>
            {texts().export}
          </Button>
        </div>
      </div>
      <ol class="saved">
        {saved.value.map((step, index) => (
          <Row key={index} step={step} index={index} />
        ))}
      </ol>
      <p class="muted small">{saved.value.length === 0 ? texts().empty : texts().hint}</p>
    </section>
  );
}

function Row({ step, index }: { step: Step; index: number }) {
  const kind = step.subscribe !== undefined ? "subscribe" : step.request !== undefined ? "request" : step.publish !== undefined ? "publish" : "expect";
  const subject = step.subscribe ?? step.request ?? step.publish ?? (step as { expect?: string }).expect ?? "";
  const run = async () => {
    try {
      if (kind === "subscribe") await subscribe(stepSubscription(step));
      else toast(await play(step));
    } catch (error) {
      toast(words(error), "bad");
    }
  };
  return (
    <li>
      <Badge tone={kind === "subscribe" ? "accent" : "neutral"}>{texts().kinds[kind]}</Badge>
      <span class="grow">
        <input
          class="plain-input"
          value={step.name ?? ""}
          placeholder={subject}
          aria-label={texts().name(subject)}
          onInput={(e) => rename(index, e.currentTarget.value)}
        />
        <span class="muted small mono ellipsis">
          {step.name ? `${subject} ` : ""}
          {kind === "subscribe" ? "" : payloadLine(stepPayload(step), 60)}
        </span>
      </span>
      {kind !== "expect" && (
        <Button kind="quiet" onClick={() => void run()} disabled={state.value !== "connected"} aria-label={texts().run(subject)} title={texts().run(subject)}>
          <Icon name="play" />
        </Button>
      )}
      {(kind === "publish" || kind === "request") && (
        <Button kind="quiet" onClick={() => loadDraft(step)} aria-label={texts().edit(subject)} title={texts().edit(subject)}>
          <Icon name="edit" />
        </Button>
      )}
      <Button kind="quiet" onClick={() => forget(index)} aria-label={texts().forget(subject)} title={texts().forget(subject)}>
        <Icon name="trash" />
      </Button>
    </li>
  );
}
