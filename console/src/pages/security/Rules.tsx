import { useState } from "preact/hooks";
import { put, words } from "../../api";
import { Badge } from "../../parts/Badge";
import { Button } from "../../parts/Button";
import { Dialog } from "../../parts/Dialog";
import { Field } from "../../parts/Field";
import { Icon } from "../../parts/Icon";
import { Table } from "../../parts/Table";
import { toast } from "../../parts/Toast";
import { t } from "../../texts";
import { useLoaded } from "../../useLoaded";
import { RuleTester } from "./RuleTester";

/** The fields of a rule, as they are written. */
export type Rule = Record<string, unknown>;

interface RuleList {
  rules: { source: string; rule: Rule }[];
  otherwise_allow: boolean;
  managed: Rule[];
}

const WHO = ["user", "group", "client", "protocol", "listener", "network"];

/** What decides who may do what, in the order in which it is asked. */
export function Rules() {
  const { data, problem, reload } = useLoaded<RuleList>("/api/v1/rules");
  const [edits, setEdits] = useState(false);
  return (
    <>
      <RuleTester />
      <section class="card">
        <div class="row apart">
          <h2>{t.security.rules}</h2>
          <Button onClick={() => setEdits(true)} disabled={!data}>
            <Icon name="edit" /> {t.security.editRules}
          </Button>
        </div>
        <p class="small muted">{t.security.rulesHint}</p>
        {problem && <p class="error">{problem}</p>}
        {data && (
          <>
            <Table
              label={t.security.rules}
              rows={data.rules.map((it, index) => ({ ...it, number: index + 1 }))}
              rowKey={(it) => it.number}
              empty={t.security.noRules}
              columns={[
                { key: "number", title: "#", cell: (it) => <span class="muted">{it.number}</span> },
                { key: "allow", title: t.security.decision, cell: (it) => <Decision allow={it.rule.allow === true} /> },
                { key: "who", title: t.security.who, cell: (it) => who(it.rule) },
                { key: "actions", title: t.security.actions, cell: (it) => actions(it.rule) },
                { key: "topic", title: t.security.topic, cell: (it) => <code class="break">{String(it.rule.topic ?? "#")}</code> },
                { key: "qos", title: t.security.qosMax, cell: (it) => String(it.rule.qos_max ?? 2) },
                { key: "source", title: t.security.source, cell: (it) => <span class="small muted break">{it.source}</span> },
              ]}
            />
            <p class="row otherwise">
              <Decision allow={data.otherwise_allow} /> <span>{t.security.otherwise}</span>
            </p>
          </>
        )}
      </section>
      {edits && data && (
        <Editor
          managed={data.managed}
          onClose={() => setEdits(false)}
          onDone={() => {
            setEdits(false);
            reload();
          }}
        />
      )}
    </>
  );
}

export function Decision({ allow }: { allow: boolean }) {
  return <Badge tone={allow ? "good" : "bad"}>{allow ? t.security.allowed : t.security.denied}</Badge>;
}

function who(rule: Rule): string {
  const said = WHO.filter((field) => rule[field] !== undefined).map((field) => `${field} ${String(rule[field])}`);
  return said.join(", ") || t.security.everybody;
}

function actions(rule: Rule): string {
  return Array.isArray(rule.actions) ? rule.actions.join(", ") : t.security.everything;
}

interface EditorProps {
  managed: Rule[];
  onClose: () => void;
  onDone: () => void;
}

/** The rules that are written at run time, as the interface takes them. */
function Editor({ managed, onClose, onDone }: EditorProps) {
  const [text, setText] = useState(() => `[\n${managed.map((rule) => `  ${JSON.stringify(rule)}`).join(",\n")}\n]`);
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const save = async () => {
    setBusy(true);
    try {
      await put("/api/v1/rules", { rules: JSON.parse(text) as Rule[] });
      toast(t.security.rulesSaved);
      onDone();
    } catch (error) {
      setProblem(words(error));
      setBusy(false);
    }
  };
  return (
    <Dialog
      wide
      title={t.security.editRules}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>{t.dialog.cancel}</Button>
          <Button kind="primary" busy={busy} onClick={() => void save()}>
            {t.security.save}
          </Button>
        </>
      }
    >
      <Field label={t.security.managed} hint={t.security.managedHint} {...(problem ? { error: problem } : {})}>
        <textarea rows={14} value={text} spellcheck={false} onInput={(event) => setText(event.currentTarget.value)} />
      </Field>
      <pre class="example small muted" tabIndex={0} aria-label={t.security.example}>
        {'{"user": "sensor", "actions": ["publish", "retain"], "topic": "house/#", "qos_max": 1, "allow": true}'}
      </pre>
    </Dialog>
  );
}
