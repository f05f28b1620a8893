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
      <SeenBy />
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
  took_us: number | null;
  /** Why it did not come. */
  detail?: string;
}

/** Publishes one message and shows when it came out in each language. */
function SeenBy() {
  const [sights, setSights] = useState<Sight[]>([]);
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const send = async () => {
    setBusy(true);
    setProblem("");
    try {
      const { seen } = await post<{ seen: Sight[] }>("/api/v1/seen", {});
      setSights(seen);
    } catch (error) {
      setProblem(error instanceof Problem && error.status === 404 ? t.overview.seenMissing : words(error));
    } finally {
      setBusy(false);
    }
  };
  const longest = Math.max(1, ...sights.map((it) => it.took_us ?? 0));
  return (
    <div class="seen">
      <div class="row apart">
        <h2>{t.overview.seenTitle}</h2>
        <Button kind="primary" busy={busy} onClick={() => void send()}>
          <Icon name="send" /> {t.overview.seenSend}
        </Button>
      </div>
      <div role="status">
        {sights.length === 0 && !problem && <p class="muted small">{t.overview.seenHint}</p>}
        {problem && <p class="warning-text small">{problem}</p>}
        <ul class="sights">
          {sights.map((it) => (
            <li key={it.protocol}>
              <Protocol name={it.protocol} />
              {it.took_us === null ? (
                <span class="small error">{it.detail ?? t.overview.notSeen}</span>
              ) : (
                <span class="bar">
                  <span data-protocol={it.protocol} style={{ width: `${Math.max(2, (it.took_us / longest) * 100)}%` }} />
                </span>
              )}
              <span class="numeric">{it.took_us === null ? "–" : elapsed(it.took_us / 1000)}</span>
            </li>
          ))}
        </ul>
      </div>
    </div>
  );
}
