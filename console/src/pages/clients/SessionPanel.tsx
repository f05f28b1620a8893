import { useEffect, useState } from "preact/hooks";
import { Problem, words } from "../../api";
import { bytes, clock, count, date, duration } from "../../format";
import { Badge, Protocol } from "../../parts/Badge";
import { Button } from "../../parts/Button";
import { Dialog } from "../../parts/Dialog";
import { Icon } from "../../parts/Icon";
import { Table } from "../../parts/Table";
import { toast } from "../../parts/Toast";
import { t } from "../../texts";
import { type Incident, type Page, type Session, type Subscription, end, incidentsOf, kick, purge, session, subscriptionsOf } from "./api";
import { Trace } from "./Trace";

const texts = () => t.clients;

/** How often the numbers of the session that one looks at are asked for. */
const REFRESH_MS = 2_000;

interface Props {
  client: string;
  realm: string;
  onClose: () => void;
  /** The list shows something that is not so any more. */
  onChange: () => void;
}

type Action = "kick" | "end" | "purge";

/** One session: what it is, what it listens to, what waits, what went wrong, and what it does now. */
export function SessionPanel({ client, realm, onClose, onChange }: Props) {
  const [shown, setShown] = useState<Session | null>(null);
  const [subscriptions, setSubscriptions] = useState<Page<Subscription> | null>(null);
  const [incidents, setIncidents] = useState<Incident[]>([]);
  const [mistake, setMistake] = useState("");
  const [asked, setAsked] = useState<Action | null>(null);
  const [refreshes, setRefreshes] = useState(0);

  useEffect(() => {
    const stop = new AbortController();
    const load = async () => {
      try {
        // What went wrong is known of those, too, who have no session any more.
        setIncidents((await incidentsOf(client, stop.signal)).reverse());
        const [one, filters] = await Promise.all([
          session(client, realm, stop.signal),
          subscriptionsOf(client, stop.signal),
        ]);
        setShown(one);
        setSubscriptions(filters);
        setMistake("");
      } catch (error) {
        if (!stop.signal.aborted) setMistake(words(error));
        if (error instanceof Problem && error.status === 404) setShown(null);
      }
    };
    void load();
    const timer = window.setInterval(() => void load(), REFRESH_MS);
    return () => {
      stop.abort();
      window.clearInterval(timer);
    };
  }, [client, realm, refreshes]);

  const act = async (action: Action) => {
    setAsked(null);
    if (!shown) return;
    try {
      if (action === "purge") toast(texts().purged(count((await purge(shown)).messages)));
      else {
        await (action === "kick" ? kick : end)(shown);
        toast(texts().done[action](client));
      }
    } catch (error) {
      toast(words(error), "bad");
    }
    setRefreshes((times) => times + 1);
    onChange();
  };
  return (
    <aside class="card session-panel" aria-label={texts().panel(client)}>
      <div class="row apart">
        <h2 class="mono break">{client}</h2>
        <Button kind="quiet" onClick={onClose} aria-label={t.dialog.close} title={t.dialog.close}>
          <Icon name="close" />
        </Button>
      </div>
      {mistake && (
        <p class="error small" role="alert">
          {mistake}
        </p>
      )}
      {shown && (
        <>
          <Facts it={shown} />
          <div class="row">
            <Button kind="danger" onClick={() => setAsked("kick")} disabled={!shown.connected}>
              {texts().actions.kick}
            </Button>
            <Button kind="danger" onClick={() => setAsked("end")}>
              {texts().actions.end}
            </Button>
            <Button onClick={() => setAsked("purge")} disabled={shown.queue_messages === 0}>
              {texts().actions.purge}
            </Button>
          </div>
        </>
      )}
      <Incidents incidents={incidents} />
      {shown && <Filters page={subscriptions} total={shown.subscriptions} />}
      <Trace key={client} client={client} />
      {asked && shown && <Confirmation action={asked} it={shown} onClose={() => setAsked(null)} onSure={() => void act(asked)} />}
    </aside>
  );
}

function Facts({ it }: { it: Session }) {
  const f = texts().facts;
  const state = it.connected
    ? f.connectedFor(duration(it.connected_s ?? 0))
    : it.expires_in_s === null
      ? f.away
      : f.awayFor(duration(it.expires_in_s));
  const rows: [string, preact.ComponentChildren][] = [
    [f.state, <>{state} {it.connected && it.pace !== "ready" && <Badge tone="warning">{texts().paces[it.pace]}</Badge>}</>],
    [f.protocol, <Protocol name={it.protocol} />],
    [f.user, [it.user ?? texts().anonymous, ...it.groups.map((group) => ` · ${group}`)]],
    [f.address, <span class="mono break">{it.address ?? f.nowhere}</span>],
    [f.listener, it.listener],
    [f.tls, it.tls ? `${it.tls.version}, ${it.tls.cipher}${it.tls.certificate ? `, ${it.tls.certificate}` : ""}` : f.plain],
    [f.expiry, it.expiry_s === 0 ? f.noExpiry : it.expiry_s === 0xffff_ffff ? f.forEver : duration(it.expiry_s)],
    [f.will, it.will ? f.yes : f.no],
    [f.queue, f.queued(count(it.queue_messages), bytes(it.queue_bytes))],
    [f.inflight, f.ofWindow(count(it.inflight_messages), count(it.window))],
    [f.drops, it.drops === 0 ? "0" : <Badge tone="bad">{count(it.drops)}</Badge>],
  ];
  return (
    <dl class="facts">
      {rows.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Incidents({ incidents }: { incidents: Incident[] }) {
  return (
    <section aria-label={texts().incidents}>
      <h3>{texts().incidents}</h3>
      {incidents.length === 0 && <p class="muted small">{texts().noIncidents}</p>}
      <ul class="incidents">
        {incidents.slice(0, 10).map((it, index) => (
          <li key={index}>
            <span class="muted small" title={date(it.at_ms)}>
              {clock(it.at_ms)}
            </span>
            <span>
              {it.why}
              {it.times > 1 && <span class="muted"> {texts().times(count(it.times))}</span>}
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Filters({ page, total }: { page: Page<Subscription> | null; total: number }) {
  if (!page) return null;
  const s = texts().subscriptions;
  return (
    <div>
      <h3>
        {s.title} <span class="muted">{count(total)}</span>
      </h3>
      <Table
        label={s.title}
        columns={[
          { key: "filter", title: s.filter, cell: (it) => <span class="mono break">{it.filter}</span> },
          { key: "qos", title: s.qos, numeric: true, cell: (it) => it.qos },
          { key: "options", title: s.options, cell: options },
        ]}
        rows={page.items}
        rowKey={(it) => it.filter}
        empty={s.empty}
      />
      {page.items.length < total && <p class="muted small">{s.more(count(total - page.items.length))}</p>}
    </div>
  );
}

function options(it: Subscription): string {
  const s = texts().subscriptions;
  const said = [it.no_local && s.noLocal, it.retain_as_published && s.retainAsPublished, it.identifier > 0 && s.identifier(it.identifier)];
  return said.filter(Boolean).join(", ");
}

function Confirmation({ action, it, onClose, onSure }: { action: Action; it: Session; onClose: () => void; onSure: () => void }) {
  const c = texts().confirm[action];
  return (
    <Dialog
      title={c.title(it.client)}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>{t.dialog.cancel}</Button>
          <Button kind="danger" onClick={onSure}>
            {texts().actions[action]}
          </Button>
        </>
      }
    >
      <p>{c.text(count(it.subscriptions), count(it.queue_messages))}</p>
    </Dialog>
  );
}
