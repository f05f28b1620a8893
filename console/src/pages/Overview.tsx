import "./overview.css";
import type { ComponentChildren } from "preact";
import { feedState, overview, type Overview as Data } from "../feed";
import { bytes, compact, count, duration, percent, rate } from "../format";
import { Badge, Protocol } from "../parts/Badge";
import { Chart, type Line } from "../parts/Chart";
import { Icon } from "../parts/Icon";
import { Table } from "../parts/Table";
import { t } from "../texts";
import { series, type SeriesName, total } from "./overview/series";
import { TryIt } from "./overview/TryIt";

/** How the broker is. */
export function Overview() {
  const data = overview.value;
  return (
    <>
      <header class="page-head">
        <h1>{t.nav.overview}</h1>
        {data && <p class="muted small">{t.overview.uptime(duration(data.uptime_s))}</p>}
      </header>
      {data ? <Numbers data={data} /> : <p class="muted">{feedState.value === "lost" ? t.api.away : t.overview.waiting}</p>}
    </>
  );
}

function Numbers({ data }: { data: Data }) {
  return (
    <div class="stack">
      <Warnings warnings={data.warnings} />
      <div class="tiles">
        <Tile name={t.overview.connections} value={count(total(data.connections))}>
          <ul class="row tight-gap">
            {Object.entries(data.connections).map(([name, n]) => (
              <li key={name}>
                <Protocol name={name} /> {count(n)}
              </li>
            ))}
          </ul>
        </Tile>
        <Tile name={t.overview.messagesIn} value={rate(data.rates.messages_in)} unit={t.overview.perSecond}>
          {t.overview.bytesPerSecond(bytes(data.rates.bytes_in))}
        </Tile>
        <Tile name={t.overview.messagesOut} value={rate(data.rates.messages_out)} unit={t.overview.perSecond}>
          {t.overview.bytesPerSecond(bytes(data.rates.bytes_out))}
          {data.rates.dropped > 0 && <span class="error"> · {t.overview.dropped(rate(data.rates.dropped))}</span>}
        </Tile>
        <Tile name={t.overview.cpu} value={percent(data.cpu)}>
          {t.overview.ofOne}
        </Tile>
        <Tile name={t.overview.memory} value={bytes(data.rss_bytes)}>
          {t.overview.resident}
        </Tile>
        <Tile name={t.overview.sessions} value={count(data.sessions)}>
          {t.overview.subscriptions(count(data.subscriptions))}
        </Tile>
        <Tile name={t.overview.retained} value={count(data.retained.messages)}>
          {bytes(data.retained.bytes)}
        </Tile>
        <Tile name={t.overview.queued} value={count(data.queued.messages)}>
          {bytes(data.queued.bytes)} · {t.overview.inflight(count(data.inflight_messages))}
        </Tile>
      </div>
      <Charts />
      <TryIt listeners={data.listeners} />
      <div class="columns">
        <Listeners data={data} />
        <Store data={data} />
      </div>
    </div>
  );
}

function Warnings({ warnings }: { warnings: string[] }) {
  return (
    <div role="status" class={warnings.length > 0 ? "warnings" : undefined}>
      {warnings.length > 0 && (
        <ul>
          {warnings.map((it) => (
            <li key={it}>
              <Icon name="warning" title={t.overview.warning} /> <span>{it}</span>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

interface TileProps {
  name: string;
  value: string;
  unit?: string;
  children: ComponentChildren;
}

function Tile({ name, value, unit, children }: TileProps) {
  return (
    <section class="card tile">
      <h2>{name}</h2>
      <p class="figure">
        {value} {unit && <span class="unit">{unit}</span>}
      </p>
      <div class="small muted">{children}</div>
    </section>
  );
}

interface Drawn {
  title: string;
  lines: (Line & { series: SeriesName })[];
  format: (value: number) => string;
}

const charts: Drawn[] = [
  {
    title: t.overview.chartMessages,
    lines: [
      { label: t.overview.in, colour: "--accent", series: "messages_in" },
      { label: t.overview.out, colour: "--mqtt", series: "messages_out" },
    ],
    format: compact,
  },
  {
    title: t.overview.chartBytes,
    lines: [
      { label: t.overview.in, colour: "--accent", series: "bytes_in" },
      { label: t.overview.out, colour: "--mqtt", series: "bytes_out" },
    ],
    format: bytes,
  },
  {
    title: t.overview.chartCpu,
    lines: [{ label: t.overview.cpu, colour: "--coap", series: "cpu" }],
    format: (value) => `${compact(value)} %`,
  },
  {
    title: t.overview.chartMemory,
    lines: [{ label: t.overview.memory, colour: "--stomp", series: "rss_bytes" }],
    format: bytes,
  },
];

function Charts() {
  const samples = series.value;
  return (
    <div class="charts">
      {charts.map((chart) => (
        <figure key={chart.title} class="card">
          <figcaption class="row apart">
            <h2>{chart.title}</h2>
            <Legend lines={chart.lines} />
          </figcaption>
          <Chart
            label={t.overview.chartOf(chart.title)}
            lines={chart.lines}
            data={[samples.at_s, ...chart.lines.map((line) => samples[line.series])]}
            height={120}
            format={chart.format}
            binary={chart.format === bytes}
            seconds_min={60}
          />
        </figure>
      ))}
    </div>
  );
}

function Legend({ lines }: { lines: Line[] }) {
  if (lines.length < 2) return null;
  return (
    <ul class="legend row small muted">
      {lines.map((line) => (
        <li key={line.label}>
          <span class="swatch" style={{ background: `var(${line.colour})` }} /> {line.label}
        </li>
      ))}
    </ul>
  );
}

function Listeners({ data }: { data: Data }) {
  return (
    <section class="card">
      <h2>{t.overview.listeners}</h2>
      <Table
        label={t.overview.listeners}
        rows={data.listeners}
        rowKey={(it) => `${it.name} ${it.address}`}
        empty={t.overview.noListeners}
        columns={[
          { key: "protocol", title: t.overview.protocol, cell: (it) => <Protocol name={it.protocol} /> },
          { key: "name", title: t.overview.listener, cell: (it) => it.name },
          { key: "address", title: t.overview.address, cell: (it) => <code>{it.address}</code> },
          {
            key: "connections",
            title: t.overview.connections,
            numeric: true,
            cell: (it) => count(data.connections_by_listener[it.name] ?? 0),
          },
          {
            key: "tls",
            title: t.overview.security,
            cell: (it) => (it.tls ? <Badge tone="good">TLS</Badge> : <Badge>{t.overview.plain}</Badge>),
          },
        ]}
      />
    </section>
  );
}

function Store({ data }: { data: Data }) {
  const { durability, has_room, bytes: used, bytes_max } = data.store;
  return (
    <section class="card">
      <h2>{t.overview.store}</h2>
      <dl class="facts">
        <dt>{t.overview.durability}</dt>
        <dd>{t.overview.durabilityWords[durability as "sync" | "interval" | "memory"] ?? durability}</dd>
        <dt>{t.overview.room}</dt>
        <dd>
          {has_room ? <Badge tone="good">{t.overview.hasRoom}</Badge> : <Badge tone="bad">{t.overview.isFull}</Badge>}
        </dd>
        {used !== undefined && (
          <>
            <dt>{t.overview.size}</dt>
            <dd>{bytes_max === undefined ? bytes(used) : t.overview.usedOf(bytes(used), bytes(bytes_max))}</dd>
          </>
        )}
        <dt>{t.overview.queues}</dt>
        <dd>{count(data.queues)}</dd>
      </dl>
    </section>
  );
}
