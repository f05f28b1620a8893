import { useState } from "preact/hooks";
import { words } from "../../api";
import { Button } from "../../parts/Button";
import { Check, Field } from "../../parts/Field";
import { Icon } from "../../parts/Icon";
import { toast } from "../../parts/Toast";
import { t } from "../../texts";
import { publish } from "./actions";

/** Publishes to the selected topic. */
export function Publish({ topic, contentType }: { topic: string; contentType: string | undefined }) {
  const [text, setText] = useState("");
  const [qos, setQos] = useState(1);
  const [retain, setRetain] = useState(false);
  const [type, setType] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await publish(topic, { text, qos, retain, contentType: type ?? contentType ?? "" });
      toast(t.topics.published(topic));
    } catch (error) {
      toast(words(error), "bad");
    } finally {
      setBusy(false);
    }
  };
  return (
    <details class="publish">
      <summary>{t.topics.publishTitle}</summary>
      <form class="stack tight" onSubmit={submit}>
        <Field label={t.topics.payload}>
          <textarea rows={3} value={text} spellcheck={false} onInput={(event) => setText(event.currentTarget.value)} />
        </Field>
        <div class="publish-options">
          <Field label={t.topics.fact.qos}>
            <select value={qos} onChange={(event) => setQos(Number(event.currentTarget.value))}>
              {[0, 1, 2].map((it) => (
                <option key={it} value={it}>
                  {t.topics.qos(it)}
                </option>
              ))}
            </select>
          </Field>
          <Field label={t.topics.fact.contentType}>
            <input
              value={type ?? contentType ?? ""}
              placeholder={t.topics.undeclared}
              onInput={(event) => setType(event.currentTarget.value)}
            />
          </Field>
        </div>
        <div class="row apart">
          <Check label={t.topics.retain} checked={retain} onChange={setRetain} />
          <Button kind="primary" type="submit" busy={busy}>
            <Icon name="send" /> {t.topics.publish}
          </Button>
        </div>
      </form>
    </details>
  );
}
