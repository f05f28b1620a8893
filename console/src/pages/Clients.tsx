import "./clients.css";
import { useEffect, useState } from "preact/hooks";
import { words } from "../api";
import { overview } from "../feed";
import { bytes, count, duration } from "../format";
import { Badge, Protocol } from "../parts/Badge";
import { Button } from "../parts/Button";
import { type Column, Table } from "../parts/Table";
import { go, route } from "../router";
import { t } from "../texts";
import { PAGE, type Page, type Session, type Wanted, sessions } from "./clients/api";
import { SessionPanel } from "./clients/SessionPanel";

const texts = () => t.clients;

/** How often the list is asked for again. */
const REFRESH_MS = 5_000;
const SEARCH_AFTER_MS = 250;

/** All sessions: the server searches, sorts and cuts the pages. */
export function Clients() {
  const { argument, query } = route.value;
  const wanted = wantedOf(query);
  const { page, mistake, refresh } = useSessions(wanted);
  // A search settles after a while: by then, somebody may have been selected.
  const show = (changes: Partial<Wanted>) => {
    const { argument, query } = route.peek();
    const realm = query.get("realm");
    go("clients", argument, { ...queryOf({ ...wantedOf(query), offset: 0, ...changes }), ...(realm ? { realm } : {}) }, true);
  };
  const select = (it: Session | null) =>
    go("clients", it?.client ?? "", { ...queryOf(wanted), ...(it?.realm ? { realm: it.realm } : {}) });
  const descends = wanted.sort.startsWith("-");
  return (
    <>
      <div class="page-head">
        <h1>{texts().title}</h1>
        <p class="muted" role="status">
          {page?.total !== undefined && texts().total(count(page.total), page.total)}
        </p>
      </div>
      <div class={argument ? "clients-page with-panel" : "clients-page"}>
        <div class="card">
          <Search wanted={wanted} onChange={show} />
          {mistake && (
            <p class="error" role="alert">
              {mistake}
            </p>
          )}
          <Table
            label={texts().list}
            columns={argument ? columns().slice(0, 4) : columns()}
            rows={page?.items ?? []}
            rowKey={(it) => `${it.realm}/${it.client}`}
            empty={page ? texts().empty : texts().loading}
            sort={{ key: wanted.sort.replace("-", ""), descending: descends }}
            onSort={({ key, descending }) => show({ sort: `${descending ? "-" : ""}${key}` })}
            selected={argument ? `${query.get("realm") ?? ""}/${argument}` : ""}
            onSelect={select}
          />
          {page && <Pager wanted={wanted} page={page} onChange={(offset) => show({ offset })} />}
        </div>
        {argument && (
          <SessionPanel
            key={argument}
            client={argument}
            realm={query.get("realm") ?? ""}
            onClose={() => select(null)}
            onChange={refresh}
          />
        )}
      </div>
    </>
  );
}

function useSessions(wanted: Wanted) {
  const [page, setPage] = useState<Page<Session> | null>(null);
  const [mistake, setMistake] = useState("");
  const [refreshes, setRefreshes] = useState(0);
  const key = JSON.stringify(wanted);
  useEffect(() => {
    const stop = new AbortController();
    const load = () =>
      sessions(wanted, stop.signal).then(
        (found) => {
          setPage(found);
          setMistake("");
        },
        (error) => {
          if (!stop.signal.aborted) setMistake(words(error));
        },
      );
    void load();
    const timer = window.setInterval(() => void load(), REFRESH_MS);
    return () => {
      stop.abort();
      window.clearInterval(timer);
    };
  }, [key, refreshes]);
  return { page, mistake, refresh: () => setRefreshes((times) => times + 1) };
}

function Search({ wanted, onChange }: { wanted: Wanted; onChange: (changes: Partial<Wanted>) => void }) {
  const [prefix, setPrefix] = useState(wanted.prefix);
  const [user, setUser] = useState(wanted.user);
  useEffect(() => {
    if (prefix === wanted.prefix && user === wanted.user) return;
    const timer = window.setTimeout(() => onChange({ prefix, user }), SEARCH_AFTER_MS);
    return () => window.clearTimeout(timer);
  }, [prefix, user]);
  const protocols = new Set([...Object.keys(overview.value?.connections ?? {}), wanted.protocol].filter(Boolean));
  return (
    <div class="row clients-search" role="search">
      <input
        class="grow"
        type="search"
        value={prefix}
        onInput={(e) => setPrefix(e.currentTarget.value)}
        placeholder={texts().search}
        aria-label={texts().search}
      />
      <input
        class="user"
        type="search"
        value={user}
        onInput={(e) => setUser(e.currentTarget.value)}
        placeholder={texts().columns.user}
        aria-label={texts().columns.user}
      />
      <select
        aria-label={texts().columns.protocol}
        value={wanted.protocol}
        onChange={(e) => onChange({ protocol: e.currentTarget.value })}
      >
        <option value="">{texts().anyProtocol}</option>
        {[...protocols].sort().map((name) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
      <select
        aria-label={texts().presence}
        value={wanted.connected}
        onChange={(e) => onChange({ connected: e.currentTarget.value as Wanted["connected"] })}
      >
        <option value="">{texts().anyone}</option>
        <option value="true">{texts().connected}</option>
        <option value="false">{texts().away}</option>
      </select>
    </div>
  );
}

const columns = (): Column<Session>[] => [
  {
    key: "client",
    title: texts().columns.client,
    sortable: true,
    cell: (it) => (
      <a class="mono break" href={`#/clients/${encodeURIComponent(it.client)}`} onClick={(event) => event.preventDefault()}>
        {it.client}
      </a>
    ),
  },
  {
    key: "state",
    title: texts().columns.state,
    cell: (it) =>
      it.connected ? (
        <Badge tone={it.pace === "ready" ? "good" : "warning"}>{it.pace === "ready" ? texts().connected : texts().paces[it.pace]}</Badge>
      ) : (
        <Badge>{texts().away}</Badge>
      ),
  },
  { key: "protocol", title: texts().columns.protocol, sortable: true, cell: (it) => <Protocol name={it.protocol} /> },
  { key: "user", title: texts().columns.user, sortable: true, cell: (it) => it.user ?? <span class="muted">{texts().anonymous}</span> },
  { key: "address", title: texts().columns.address, cell: (it) => <span class="mono small">{it.address ?? ""}</span> },
  { key: "since", title: texts().columns.since, numeric: true, cell: (it) => (it.connected_s === null ? "" : duration(it.connected_s)) },
  { key: "subscriptions", title: texts().columns.subscriptions, numeric: true, sortable: true, cell: (it) => count(it.subscriptions) },
  {
    key: "queue_messages",
    title: texts().columns.queue,
    numeric: true,
    sortable: true,
    cell: (it) => (it.queue_messages === 0 ? "0" : `${count(it.queue_messages)} · ${bytes(it.queue_bytes)}`),
  },
  { key: "inflight_messages", title: texts().columns.inflight, numeric: true, sortable: true, cell: (it) => count(it.inflight_messages) },
  {
    key: "drops",
    title: texts().columns.drops,
    numeric: true,
    sortable: true,
    cell: (it) => (it.drops === 0 ? "0" : <Badge tone="bad">{count(it.drops)}</Badge>),
  },
];

function Pager({ wanted, page, onChange }: { wanted: Wanted; page: Page<Session>; onChange: (offset: number) => void }) {
  const total = page.total ?? 0;
  const last = Math.min(total, wanted.offset + page.items.length);
  return (
    <nav class="row apart pager" aria-label={texts().pages}>
      <span class="muted small">{total > 0 && texts().range(count(wanted.offset + 1), count(last), count(total))}</span>
      <span class="row">
        <Button disabled={wanted.offset === 0} onClick={() => onChange(Math.max(0, wanted.offset - PAGE))}>
          {texts().previous}
        </Button>
        <Button disabled={last >= total} onClick={() => onChange(wanted.offset + PAGE)}>
          {texts().next}
        </Button>
      </span>
    </nav>
  );
}

function wantedOf(query: URLSearchParams): Wanted {
  const connected = query.get("connected");
  return {
    prefix: query.get("prefix") ?? "",
    user: query.get("user") ?? "",
    protocol: query.get("protocol") ?? "",
    connected: connected === "true" || connected === "false" ? connected : "",
    sort: query.get("sort") ?? "client",
    offset: Number(query.get("offset")) || 0,
  };
}

/** What differs from the first page. */
function queryOf({ prefix, user, protocol, connected, sort, offset }: Wanted): Record<string, string> {
  const all = { prefix, user, protocol, connected, sort: sort === "client" ? "" : sort, offset: offset ? String(offset) : "" };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== ""));
}
