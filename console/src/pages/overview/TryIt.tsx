import { useState } from "preact/hooks";
import { post, Problem, words } from "../../api";
import type { Listener } from "../../feed";
import { elapsed } from "../../format";
import { Protocol } from "../../parts/Badge";
import { Button } from "../../parts/Button";
import { Command } from "../../parts/Copy";
import { Icon } from "../../parts/Icon";
import { href } from "../../router";
import { t } from "../../texts";
import { althing, type Recipe, recipes, TOPIC } from "./commands";

/** What one can do in the first five minutes: commands to copy, and one message seen by all. */
export function TryIt({ listeners }: { listeners: Listener[] }) {
  const all = [...recipes(listeners), althing(listeners)].filter((it) => it !== null);
  const [picked, setPicked] = useState<string | null>(null);
  const recipe = all.find((it) => it.protocol === picked) ?? all[0];
  return (
    <section class="card try">
      <div class="try-commands">
        <h2>{t.overview.tryTitle}</h2>
        <div class="segments" role="group" aria-label={t.overview.tryProtocol}>
          {all.map((it) => (
            <button
              key={it.protocol}
              type="button"
              aria-pressed={it === recipe}
              onClick={() => setPicked(it.protocol)}
            >
              {it.title}
            </button>
          ))}
        </div>
        {recipe && <Commands recipe={recipe} />}
        <p class="small muted">
          {t.overview.tryHint} <a href={href("topics", TOPIC)}>{t.overview.tryLook(TOPIC)}</a>
        </p>
      </div>
      <SeenBy listeners={listeners} />
    </section>
  );
}

function Commands({ recipe }: { recipe: Recipe }) {
  return (
    <dl class="recipes">
      <dt>{t.overview.subscribeWith}</dt>
      <dd>
        <Command text={recipe.subscribe} label={t.overview.subscribeWith} />
      </dd>
      <dt>{t.overview.publishWith}</dt>
      <dd>
        <Command text={recipe.publish} label={t.overview.publishWith} />
      </dd>
    </dl>
  );
}

/** One message, as it came to a subscriber of each language. */
interface Sight {
  protocol: string;
  title: string;
  took_us: number | null;
  /** Why it did not come. */
  detail?: string;
}

interface Seen {
  from: string;
  seen: Sight[];
}

/** Languages that can publish it, and the protocol of the listener that takes it. */
const WAYS = [
  ["mqtt", "mqtt"],
  ["mqtt-ws", "http"],
  ["stomp", "stomp"],
  ["coap", "coap"],
  ["http", "http"],
  ["json", "http"],
] as const;

/** Publishes one message and shows when it came out in each language. */
function SeenBy({ listeners }: { listeners: Listener[] }) {
  const [picked, setPicked] = useState<string | null>(null);
  const [sights, setSights] = useState<Sight[]>([]);
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const ways = WAYS.filter(([, protocol]) => listeners.some((it) => it.protocol === protocol));
  const from = picked ?? ways[0]?.[0] ?? "mqtt";
  const send = async () => {
    setBusy(true);
    setProblem("");
    try {
      setSights((await post<Seen>("/api/v1/seen", { from })).seen);
    } catch (error) {
      setProblem(error instanceof Problem && error.status === 404 ? t.overview.seenMissing : words(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <div class="seen">
      <div class="row apart">
        <h2>{t.overview.seenTitle}</h2>
        <Button kind="primary" busy={busy} onClick={() => void send()}>
          <Icon name="send" /> {t.overview.seenSend}
        </Button>
      </div>
      <label class="row small">
        <span class="muted">{t.overview.seenFrom}</span>
        <select class="compact" value={from} onChange={(event) => setPicked(event.currentTarget.value)}>
          {ways.map(([name]) => (
            <option key={name} value={name}>
              {t.overview.way[name]}
            </option>
          ))}
        </select>
      </label>
      <div role="status">
        {sights.length === 0 && !problem && <p class="muted small">{t.overview.seenHint}</p>}
        {problem && <p class="warning-text small">{problem}</p>}
        <Sights sights={sights} />
      </div>
    </div>
  );
}

function Sights({ sights }: { sights: Sight[] }) {
  const longest = Math.max(1, ...sights.map((it) => it.took_us ?? 0));
  return (
    <ul class="sights">
      {sights.map(({ protocol, title, took_us, detail }) => (
        <li key={protocol}>
          <span title={title}>
            <Protocol name={protocol} />
          </span>
          {took_us === null ? (
            <span class="small error">{detail ?? t.overview.notSeen}</span>
          ) : (
            <span class="bar">
              <span data-protocol={protocol} style={{ width: `${Math.max(2, (took_us / longest) * 100)}%` }} />
            </span>
          )}
          <span class="numeric">{took_us === null ? "–" : elapsed(took_us / 1000)}</span>
        </li>
      ))}
    </ul>
  );
}
