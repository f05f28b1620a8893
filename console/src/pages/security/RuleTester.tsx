import { useState } from "preact/hooks";
import { get, withQuery, words } from "../../api";
import { overview } from "../../feed";
import { Button } from "../../parts/Button";
import { Field } from "../../parts/Field";
import { t } from "../../texts";
import { Decision } from "./Rules";

const ACTIONS = ["publish", "subscribe", "receive", "retain", "will"] as const;

interface Decided {
  allowed: boolean;
  qos_max: number;
  because: string;
}

/** May X publish to Y, and which rule says so? */
export function RuleTester() {
  const [action, setAction] = useState<(typeof ACTIONS)[number]>("publish");
  const [question, setQuestion] = useState({ user: "", client: "", topic: "", listener: "", address: "", qos: "0" });
  const [decided, setDecided] = useState<Decided | null>(null);
  const [problem, setProblem] = useState("");
  const change = (field: keyof typeof question) => (event: { currentTarget: { value: string } }) => {
    setQuestion({ ...question, [field]: event.currentTarget.value });
    setDecided(null);
  };
  const ask = async (event: Event) => {
    event.preventDefault();
    try {
      setDecided(await get<Decided>(withQuery("/api/v1/rules/explain", { action, ...question })));
      setProblem("");
    } catch (error) {
      setDecided(null);
      setProblem(words(error));
    }
  };
  const listeners = [...new Set(overview.value?.listeners.map((it) => it.name))];
  return (
    <section class="card">
      <h2>{t.security.tester}</h2>
      <form class="tester" onSubmit={ask}>
        <Field label={t.security.testUser}>
          <input value={question.user} placeholder={t.security.nobody} onInput={change("user")} />
        </Field>
        <Field label={t.security.testAction}>
          <select
            value={action}
            onChange={(event) => {
              setAction(event.currentTarget.value as typeof action);
              setDecided(null);
            }}
          >
            {ACTIONS.map((it) => (
              <option key={it} value={it}>
                {t.security.action[it]}
              </option>
            ))}
          </select>
        </Field>
        <Field label={action === "subscribe" ? t.security.testFilter : t.security.testTopic}>
          <input value={question.topic} required spellcheck={false} placeholder="house/kitchen" onInput={change("topic")} />
        </Field>
        <Field label={t.topics.fact.qos}>
          <select value={question.qos} onChange={change("qos")}>
            {["0", "1", "2"].map((it) => (
              <option key={it}>{it}</option>
            ))}
          </select>
        </Field>
        <Field label={t.security.testClient}>
          <input value={question.client} onInput={change("client")} />
        </Field>
        <Field label={t.security.testListener}>
          <select value={question.listener} onChange={change("listener")}>
            <option value="">{t.security.anyListener}</option>
            {listeners.map((it) => (
              <option key={it}>{it}</option>
            ))}
          </select>
        </Field>
        <Field label={t.security.testAddress}>
          <input value={question.address} placeholder="192.0.2.7" onInput={change("address")} />
        </Field>
        <Button kind="primary" type="submit">
          {t.security.ask}
        </Button>
      </form>
      <div role="status" class="verdict">
        {decided && (
          <p class="row">
            <Decision allow={decided.allowed} /> <span>{decided.because}</span>
            {decided.allowed && action === "subscribe" && <span class="muted">{t.security.granted(decided.qos_max)}</span>}
          </p>
        )}
        {problem && <p class="error">{problem}</p>}
      </div>
    </section>
  );
}
