import { useComputed } from "@preact/signals";
import { useMemo, useState } from "preact/hooks";
import { words } from "../../api";
import { bytes, clock, compact, count, date, rate } from "../../format";
import { Badge, Protocol } from "../../parts/Badge";
import { Button } from "../../parts/Button";
import { CopyButton } from "../../parts/Copy";
import { Icon } from "../../parts/Icon";
import { toast } from "../../parts/Toast";
import { t } from "../../texts";
import { clear } from "./actions";
import { chosen, decode, type Decoder, declared, decoders } from "./decoders";
import { DeleteSubtree } from "./DeleteSubtree";
import { type Entry, history } from "./ring";
import { History } from "./History";
import { Numbers } from "./Numbers";
import { Publish } from "./Publish";
import { rows } from "./rows";

/** Everything about one topic. */
export function TopicPanel({ topic, onClose }: { topic: string; onClose: () => void }) {
  const [shown, setShown] = useState<number | null>(null);
  const [compared, setCompared] = useState<number | null>(null);
  const entries = history.value;
  const entry = entries.find((it) => it.number === shown) ?? entries.at(-1);
  return (
    <aside class="card topic-panel" aria-label={t.topics.selected}>
      <header class="row apart">
        <h2 class="break mono grow">{topic}</h2>
        <span class="row tight">
          <CopyButton text={topic} label={t.topics.copyTopic} />
          <button type="button" class="button quiet" onClick={onClose} aria-label={t.dialog.close}>
            <Icon name="close" />
          </button>
        </span>
      </header>
      <Numbered topic={topic} />
      {entry ? <Shown entry={entry} isLive={shown === null} onLive={() => setShown(null)} /> : <NoValue topic={topic} />}
      <Numbers entries={entries} />
      <History entries={entries} shown={shown} compared={compared} onShow={setShown} onCompare={setCompared} />
      <Publish topic={topic} contentType={entry?.content_type} />
      <Removal topic={topic} isRetained={entry?.retain === true} />
    </aside>
  );
}

/** What the tree knows of it. */
function Numbered({ topic }: { topic: string }) {
  const found = useComputed(() => {
    for (const row of rows.value.at.values()) if (row.topic === topic) return row;
    return undefined;
  });
  const row = found.value;
  if (!row) return null;
  return (
    <p class="row small muted">
      {row.retained && (
        <Badge tone="accent">
          <Icon name="pin" /> {t.topics.retainedShort}
        </Badge>
      )}
      {row.topics > 0 && <span>{t.topics.below(count(row.topics))}</span>}
      <span>{t.topics.messages(compact(row.count))}</span>
      <span>{t.topics.perSecond(rate(row.rate))}</span>
    </p>
  );
}

function NoValue({ topic }: { topic: string }) {
  const isFolder = useComputed(() => [...rows.value.at.values()].some((row) => row.topic === topic && row.children > 0));
  return <p class="muted">{isFolder.value ? t.topics.folder : t.topics.noValue}</p>;
}

interface ShownProps {
  entry: Entry;
  isLive: boolean;
  onLive: () => void;
}

function Shown({ entry, isLive, onLive }: ShownProps) {
  const decoded = useMemo(() => decode(entry, chosen.value), [entry, chosen.value]);
  return (
    <section class="value" aria-label={t.topics.value}>
      <div class="row apart">
        <label class="row small">
          <span class="muted">{t.topics.readAs}</span>
          <select
            class="compact"
            value={chosen.value}
            onChange={(event) => {
              chosen.value = event.currentTarget.value as Decoder;
            }}
          >
            {decoders.map((name) => (
              <option key={name} value={name}>
                {name === "declared" ? t.topics.declared(t.topics.decoder[declared(entry)]) : t.topics.decoder[name]}
              </option>
            ))}
          </select>
        </label>
        <span class="row tight">
          {!isLive && (
            <Button kind="quiet" onClick={onLive}>
              <Icon name="play" /> {t.topics.backToLive}
            </Button>
          )}
          <CopyButton text={decoded.text} label={t.topics.copyValue} />
        </span>
      </div>
      {decoded.error && <p class="small warning-text">{decoded.error}</p>}
      <pre class={`payload ${decoded.as}`} tabIndex={0} aria-label={t.topics.value}>
        {decoded.text || <span class="muted">{t.topics.emptyPayload}</span>}
      </pre>
      {entry.truncated && <p class="small warning-text">{t.topics.truncated(bytes(entry.bytes))}</p>}
      <Facts entry={entry} />
    </section>
  );
}

function Facts({ entry }: { entry: Entry }) {
  return (
    <dl class="facts">
      <dt>{t.topics.fact.by}</dt>
      <dd>
        {entry.protocol && <Protocol name={entry.protocol} />} <span class="break">{entry.client || t.topics.theBroker}</span>
      </dd>
      <dt>{t.topics.fact.at}</dt>
      <dd>
        {entry.at_ms === undefined ? t.topics.beforeLooking : clock(entry.at_ms)}{" "}
        {entry.at_ms !== undefined && <span class="muted">{date(entry.at_ms).slice(0, 10)}</span>}
      </dd>
      <dt>{t.topics.fact.qos}</dt>
      <dd>
        {t.topics.qos(entry.qos)}
        {entry.retain && ` · ${t.topics.wasRetained}`}
      </dd>
      <dt>{t.topics.fact.size}</dt>
      <dd>{bytes(entry.bytes)}</dd>
      <dt>{t.topics.fact.contentType}</dt>
      <dd>{entry.content_type ?? <span class="muted">{t.topics.undeclared}</span>}</dd>
    </dl>
  );
}

function Removal({ topic, isRetained }: { topic: string; isRetained: boolean }) {
  const inTree = useComputed(() => [...rows.value.at.values()].some((row) => row.topic === topic && row.retained));
  const [asks, setAsks] = useState(false);
  const clearOne = async () => {
    try {
      await clear(topic);
      toast(t.topics.cleared(topic));
    } catch (error) {
      toast(words(error), "bad");
    }
  };
  return (
    <section class="row">
      {(isRetained || inTree.value) && <Button onClick={() => void clearOne()}>{t.topics.clearOne}</Button>}
      <Button kind="danger" onClick={() => setAsks(true)}>
        <Icon name="trash" /> {t.topics.clearBelow}
      </Button>
      {asks && <DeleteSubtree topic={topic} onClose={() => setAsks(false)} />}
    </section>
  );
}
