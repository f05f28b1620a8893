import { useState } from "preact/hooks";
import { Badge } from "../../parts/Badge";
import { Button } from "../../parts/Button";
import { Check, Field } from "../../parts/Field";
import { Pairs } from "../../parts/Pairs";
import { t } from "../../texts";
import { QosSelect } from "./QosSelect";
import { type Form, connect, connectedAs, disconnect, form, generatedId, ownUrl, state, stateWords } from "./session";

const texts = () => t.client.connection;

/** Where to, as whom, and how; folded away while there is a connection. */
export function Connection() {
  const isOff = state.value === "offline";
  return (
    <section class="card client-connection" aria-label={texts().title}>
      <div class="row apart">
        <h2>{texts().title}</h2>
        <StateBadge />
      </div>
      {stateWords.value && stateWords.value !== t.mqtt.connected && (
        <p class={isOff && stateWords.value !== t.mqtt.disconnected ? "small error" : "small muted"} role="status">
          {stateWords.value}
        </p>
      )}
      {isOff ? <ConnectForm /> : <Connected />}
    </section>
  );
}

function StateBadge() {
  const tones = { offline: "neutral", connecting: "warning", connected: "good", waiting: "warning" } as const;
  return <Badge tone={tones[state.value]}>{t.client.states[state.value]}</Badge>;
}

function Connected() {
  const { url, version, will } = form.value;
  return (
    <>
      <dl class="facts">
        <dt>{texts().url}</dt>
        <dd class="mono break">{url}</dd>
        <dt>{texts().clientId}</dt>
        <dd class="mono break">{connectedAs.value || form.value.clientId}</dd>
        <dt>{texts().version}</dt>
        <dd>{version === 5 ? "MQTT 5.0" : "MQTT 3.1.1"}</dd>
      </dl>
      <div class="row">
        <Button onClick={() => disconnect()}>{texts().disconnect}</Button>
        {will && version === 5 && <Button onClick={() => disconnect(true)}>{texts().disconnectWithWill}</Button>}
      </div>
    </>
  );
}

function ConnectForm() {
  const said = form.value;
  const set = (changes: Partial<Form>) => (form.value = { ...form.value, ...changes });
  const [mistake, setMistake] = useState("");
  const submit = (event: Event) => {
    event.preventDefault();
    const wrong = !/^wss?:\/\/[^/]/.test(said.url) ? texts().urlWrong : "";
    setMistake(wrong);
    if (!wrong) connect();
  };
  return (
    <form class="stack tight" onSubmit={submit}>
      <Field label={texts().url} hint={said.url === ownUrl() ? texts().urlHint : undefined} error={mistake || undefined}>
        <input class="mono" value={said.url} onInput={(e) => set({ url: e.currentTarget.value })} spellcheck={false} required />
      </Field>
      <div class="with-button">
        <Field label={texts().clientId}>
          <input class="mono" value={said.clientId} onInput={(e) => set({ clientId: e.currentTarget.value })} spellcheck={false} />
        </Field>
        <Button onClick={() => set({ clientId: generatedId() })}>{texts().generate}</Button>
      </div>
      <div class="fields">
        <Field label={texts().version}>
          <select
            value={said.version}
            onChange={(e) => set({ version: e.currentTarget.value === "4" ? 4 : 5 })}
          >
            <option value="5">MQTT 5.0</option>
            <option value="4">MQTT 3.1.1</option>
          </select>
        </Field>
        <Field label={texts().keepAlive}>
          <input
            type="number"
            min="0"
            max="65535"
            value={said.keepAliveS}
            onInput={(e) => set({ keepAliveS: whole(e.currentTarget.value) })}
          />
        </Field>
      </div>
      <div class="fields">
        <Field label={texts().username}>
          <input value={said.username} onInput={(e) => set({ username: e.currentTarget.value })} autoComplete="off" />
        </Field>
        <Field label={texts().password}>
          <input
            type="password"
            value={said.password}
            onInput={(e) => set({ password: e.currentTarget.value })}
            autoComplete="off"
          />
        </Field>
      </div>
      <details>
        <summary>{texts().more}</summary>
        <div class="stack tight">
          <div class="row">
            <Check
              label={said.version === 5 ? texts().cleanStart : texts().cleanSession}
              checked={said.cleanStart}
              onChange={(cleanStart) => set({ cleanStart })}
            />
            <Check label={texts().reconnects} checked={said.reconnects} onChange={(reconnects) => set({ reconnects })} />
          </div>
          {said.version === 5 && (
            <>
              <Field label={texts().sessionExpiry} hint={texts().sessionExpiryHint}>
                <input
                  type="number"
                  min="0"
                  max="4294967295"
                  value={said.sessionExpiryS}
                  onInput={(e) => set({ sessionExpiryS: whole(e.currentTarget.value) })}
                />
              </Field>
              <Pairs
                {...t.client.pairs}
                legend={t.client.userProperties}
                pairs={said.userProperties}
                onChange={(userProperties) => set({ userProperties })}
              />
            </>
          )}
          <Will said={said} set={set} />
        </div>
      </details>
      <Button kind="primary" type="submit">
        {texts().connect}
      </Button>
    </form>
  );
}

function Will({ said, set }: { said: Form; set: (changes: Partial<Form>) => void }) {
  const { will } = said;
  const none = { topic: "", payload: "", qos: 0 as const, retain: false, delayS: 0 };
  const change = (changes: Partial<NonNullable<Form["will"]>>) => will && set({ will: { ...will, ...changes } });
  return (
    <>
      <Check label={texts().will} checked={will !== null} onChange={(wants) => set({ will: wants ? none : null })} />
      {will && (
        <fieldset class="stack tight">
          <legend>{texts().willTitle}</legend>
          <Field label={t.client.topic}>
            <input class="mono" value={will.topic} onInput={(e) => change({ topic: e.currentTarget.value })} spellcheck={false} required />
          </Field>
          <Field label={t.client.payload}>
            <input class="mono" value={will.payload} onInput={(e) => change({ payload: e.currentTarget.value })} />
          </Field>
          <div class="row">
            <QosSelect qos={will.qos} onChange={(qos) => change({ qos })} />
            <Check label={t.client.retain} checked={will.retain} onChange={(retain) => change({ retain })} />
          </div>
          {said.version === 5 && (
            <Field label={texts().willDelay}>
              <input type="number" min="0" value={will.delayS} onInput={(e) => change({ delayS: whole(e.currentTarget.value) })} />
            </Field>
          )}
        </fieldset>
      )}
    </>
  );
}

/** A number of a field; what is none is 0. */
function whole(text: string): number {
  const value = Number(text);
  return Number.isInteger(value) && value >= 0 ? value : 0;
}
