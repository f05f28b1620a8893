import { useState } from "preact/hooks";
import { words } from "../../api";
import { count } from "../../format";
import type { Subscription } from "../../mqtt/codec";
import { Button } from "../../parts/Button";
import { Check, Field } from "../../parts/Field";
import { Icon } from "../../parts/Icon";
import { toast } from "../../parts/Toast";
import { t } from "../../texts";
import { filterMistake } from "./filters";
import { QosSelect } from "./QosSelect";
import { keep } from "./saved";
import { drawn, form, listening, state, subscribe, unsubscribe } from "./session";

const texts = () => t.client.subscriptions;
const empty: Subscription = { filter: "", qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 };

/** Filters, each with its colour and what came by it. */
export function Subscriptions() {
  // The counts grow with what comes.
  void drawn.value;
  const isOn = state.value === "connected";
  return (
    <section class="card" aria-label={texts().title}>
      <div class="row apart">
        <h2>{texts().title}</h2>
        <Button disabled={!isOn} onClick={() => void add({ ...empty, filter: "$SYS/#" })} title={texts().sysHint}>
          $SYS
        </Button>
      </div>
      <SubscribeForm isOn={isOn} />
      <ul class="filters">
        {listening.value.map((row) => (
          <li key={row.identifier} class={`tint-${row.identifier % 8}`}>
            <span class="swatch" aria-hidden="true" />
            <span class="grow">
              <span class="mono break">{row.subscription.filter}</span>
              <span class={row.outcome && !row.outcome.ok ? "error small" : "muted small"}>
                {row.outcome ? row.outcome.words : texts().asking}
              </span>
            </span>
            <span class="numeric small" title={texts().countHint}>
              {count(row.count)}
            </span>
            <Button
              kind="quiet"
              onClick={() => void unsubscribe(row).catch((error) => toast(words(error), "bad"))}
              aria-label={texts().unsubscribe(row.subscription.filter)}
              title={texts().unsubscribe(row.subscription.filter)}
            >
              <Icon name="close" />
            </Button>
          </li>
        ))}
      </ul>
    </section>
  );
}

function SubscribeForm({ isOn }: { isOn: boolean }) {
  const [said, setSaid] = useState<Subscription>(empty);
  const [mistake, setMistake] = useState<string>();
  const set = (changes: Partial<Subscription>) => setSaid({ ...said, ...changes });
  const isV5 = form.value.version === 5;
  const submit = async (event: Event) => {
    event.preventDefault();
    const wrong = filterMistake(said.filter);
    setMistake(wrong ? texts().mistakes[wrong] : undefined);
    if (!wrong && (await add(said))) set({ filter: "" });
  };
  return (
    <form class="stack tight" onSubmit={submit}>
      <Field label={texts().filter} hint={texts().filterHint} error={mistake}>
        <input
          class="mono"
          value={said.filter}
          onInput={(e) => set({ filter: e.currentTarget.value })}
          placeholder="house/+/temperature"
          spellcheck={false}
        />
      </Field>
      {isV5 && (
        <details>
          <summary>{texts().options}</summary>
          <div class="stack tight">
            <div class="row">
              <Check label={texts().noLocal} checked={said.noLocal ?? false} onChange={(noLocal) => set({ noLocal })} />
              <Check
                label={texts().retainAsPublished}
                checked={said.retainAsPublished ?? false}
                onChange={(retainAsPublished) => set({ retainAsPublished })}
              />
            </div>
            <Field label={texts().retainHandling}>
              <select
                value={said.retainHandling}
                onChange={(e) => set({ retainHandling: Number(e.currentTarget.value) as 0 | 1 | 2 })}
              >
                {texts().retainHandlings.map((words, value) => (
                  <option key={value} value={value}>
                    {words}
                  </option>
                ))}
              </select>
            </Field>
          </div>
        </details>
      )}
      <div class="row nowrap">
        <QosSelect qos={said.qos} onChange={(qos) => set({ qos })} />
        <Button onClick={() => keepSubscription(said)} disabled={said.filter === ""}>
          {t.client.save}
        </Button>
        <Button kind="primary" type="submit" disabled={!isOn}>
          {texts().subscribe}
        </Button>
      </div>
    </form>
  );
}

async function add(subscription: Subscription): Promise<boolean> {
  try {
    await subscribe(subscription);
    return true;
  } catch (error) {
    toast(words(error), "bad");
    return false;
  }
}

function keepSubscription({ filter, qos, noLocal, retainAsPublished, retainHandling }: Subscription) {
  keep({
    subscribe: filter,
    qos,
    ...(noLocal ? { no_local: true } : {}),
    ...(retainAsPublished ? { retain_as_published: true } : {}),
    ...(retainHandling ? { retain_handling: retainHandling } : {}),
  });
}
