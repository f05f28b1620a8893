import { signal } from "@preact/signals";
import { useState } from "preact/hooks";
import { words } from "../../api";
import { elapsed } from "../../format";
import type { Qos } from "../../mqtt/codec";
import { Button } from "../../parts/Button";
import { Check, Field } from "../../parts/Field";
import { Pairs } from "../../parts/Pairs";
import { t } from "../../texts";
import { type Step, payloadOfStep, stepPayload, stepProperties } from "./collection";
import { type Encoding, encodePayload, encodings, payloadText, toHex } from "./payload";
import { QosSelect } from "./QosSelect";
import { keep } from "./saved";
import { form, publish, request, state } from "./session";

const texts = () => t.client.publish;

/** What the form says; a saved step can be put into it. */
interface Draft {
  topic: string;
  payload: string;
  encoding: Encoding;
  qos: Qos;
  retain: boolean;
  contentType: string;
  responseTopic: string;
  correlation: string;
  expiryS: string;
  userProperties: [string, string][];
}

const draft = signal<Draft>({
  topic: "",
  payload: "",
  encoding: "text",
  qos: 0,
  retain: false,
  contentType: "",
  responseTopic: "",
  correlation: "",
  expiryS: "",
  userProperties: [],
});

const RESPONSE_WITHIN_MS = 10_000;

export function loadDraft(step: Step) {
  const payload = stepPayload(step);
  const text = payloadText(payload);
  draft.value = {
    topic: step.publish ?? step.request ?? "",
    payload: text ?? toHex(payload, " "),
    encoding: text === null ? "hex" : "text",
    qos: step.qos ?? 0,
    retain: step.retain ?? false,
    contentType: step.content_type ?? "",
    responseTopic: step.response_topic ?? "",
    correlation: step.correlation_data ?? "",
    expiryS: step.message_expiry_s === undefined ? "" : String(step.message_expiry_s),
    userProperties: step.user_properties ?? [],
  };
}

/** Publishes or asks as a step says; what came of it, in words. */
export async function play(step: Step): Promise<string> {
  const topic = step.request ?? step.publish ?? "";
  const message = { topic, payload: stepPayload(step), qos: step.qos ?? 0, retain: step.retain ?? false };
  const since = performance.now();
  if (step.request === undefined) {
    const outcome = await publish({ ...message, properties: stepProperties(step) });
    if (!outcome.ok) throw new Error(texts().refused(outcome.words));
    const took = elapsed(performance.now() - since);
    return message.qos === 0 ? texts().sent : texts().acknowledged(outcome.words, took);
  }
  const answer = await request({ ...message, properties: stepProperties(step) }, RESPONSE_WITHIN_MS);
  const text = payloadText(answer.payload) ?? toHex(answer.payload, " ");
  return texts().answered(text, elapsed(performance.now() - since));
}

export function Publish() {
  const said = draft.value;
  const set = (changes: Partial<Draft>) => (draft.value = { ...draft.value, ...changes });
  const [mistake, setMistake] = useState<string>();
  const [result, setResult] = useState<{ text: string; ok: boolean } | null>(null);
  const [busy, setBusy] = useState(false);
  const isOn = state.value === "connected" || state.value === "waiting";

  const step = (kind: "publish" | "request"): Step | null => {
    try {
      setMistake(undefined);
      return stepOf(said, kind, form.value.version === 5);
    } catch {
      setMistake(texts().payloadWrong[said.encoding]);
      return null;
    }
  };
  const run = async (kind: "publish" | "request") => {
    const wanted = step(kind);
    if (!wanted) return;
    setBusy(true);
    try {
      setResult({ text: await play(wanted), ok: true });
    } catch (error) {
      setResult({ text: words(error), ok: false });
    } finally {
      setBusy(false);
    }
  };
  const save = () => {
    const wanted = step(said.responseTopic ? "request" : "publish");
    if (wanted) keep(wanted);
  };
  return (
    <section class="card" aria-label={texts().title}>
      <h2>{texts().title}</h2>
      <form
        class="stack tight"
        onSubmit={(event) => {
          event.preventDefault();
          void run("publish");
        }}
      >
        <Field label={t.client.topic} error={/[+#]/.test(said.topic) ? texts().topicWrong : undefined}>
          <input class="mono" value={said.topic} onInput={(e) => set({ topic: e.currentTarget.value })} spellcheck={false} required />
        </Field>
        <Field label={t.client.payload} error={mistake}>
          <textarea
            rows={3}
            value={said.payload}
            onInput={(e) => set({ payload: e.currentTarget.value })}
            spellcheck={false}
            onKeyDown={(e) => {
              if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) e.currentTarget.form?.requestSubmit();
            }}
          />
        </Field>
        <div class="row">
          <select
            class="narrow"
            aria-label={texts().encoding}
            value={said.encoding}
            onChange={(e) => set({ encoding: e.currentTarget.value as Encoding })}
          >
            {encodings.map((name) => (
              <option key={name} value={name}>
                {texts().encodings[name]}
              </option>
            ))}
          </select>
          <QosSelect qos={said.qos} onChange={(qos) => set({ qos })} />
          <Check label={t.client.retain} checked={said.retain} onChange={(retain) => set({ retain })} />
        </div>
        {form.value.version === 5 && <PropertyFields said={said} set={set} />}
        <div class="row">
          <Button onClick={save} disabled={said.topic === ""}>
            {t.client.save}
          </Button>
          <span class="grow" />
          <Button onClick={() => void run("request")} disabled={!isOn || said.topic === ""} busy={busy} title={texts().requestHint}>
            {texts().request}
          </Button>
          <Button kind="primary" type="submit" disabled={!isOn} busy={busy}>
            {texts().publish}
          </Button>
        </div>
        <p class={`small break result ${result?.ok === false ? "error" : "muted"}`} role="status">
          {result?.text}
        </p>
      </form>
    </section>
  );
}

function PropertyFields({ said, set }: { said: Draft; set: (changes: Partial<Draft>) => void }) {
  return (
    <details>
      <summary>{texts().properties}</summary>
      <div class="stack tight">
        <div class="fields">
          <Field label={texts().contentType}>
            <input class="mono" value={said.contentType} onInput={(e) => set({ contentType: e.currentTarget.value })} />
          </Field>
          <Field label={texts().expiry}>
            <input type="number" min="0" value={said.expiryS} onInput={(e) => set({ expiryS: e.currentTarget.value })} />
          </Field>
        </div>
        <div class="fields">
          <Field label={texts().responseTopic}>
            <input class="mono" value={said.responseTopic} onInput={(e) => set({ responseTopic: e.currentTarget.value })} />
          </Field>
          <Field label={texts().correlation}>
            <input class="mono" value={said.correlation} onInput={(e) => set({ correlation: e.currentTarget.value })} />
          </Field>
        </div>
        <Pairs
          {...t.client.pairs}
          legend={t.client.userProperties}
          pairs={said.userProperties}
          onChange={(userProperties) => set({ userProperties })}
        />
      </div>
    </details>
  );
}

/** Throws when the payload is not in the form that it is said to be in. */
function stepOf(said: Draft, kind: "publish" | "request", hasProperties: boolean): Step {
  const step: Step = { [kind]: said.topic, ...payloadOfStep(encodePayload(said.payload, said.encoding)), qos: said.qos };
  if (said.retain) step.retain = true;
  if (said.responseTopic) step.response_topic = said.responseTopic;
  if (!hasProperties) return step;
  if (said.contentType) step.content_type = said.contentType;
  if (said.correlation) step.correlation_data = said.correlation;
  if (said.expiryS !== "") step.message_expiry_s = Number(said.expiryS);
  const named = said.userProperties.filter(([name]) => name !== "");
  if (named.length > 0) step.user_properties = named;
  return step;
}
