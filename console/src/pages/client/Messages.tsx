import { useState } from "preact/hooks";
import { bytes, clock, count } from "../../format";
import type { Properties } from "../../mqtt/spec";
import { Badge } from "../../parts/Badge";
import { CopyButton } from "../../parts/Copy";
import { LogRows } from "../../parts/LogRows";
import { t } from "../../texts";
import { payloadLine, payloadText, pretty, toHex } from "./payload";
import { ROWS_MAX, type Row, drawn, messagesTotal, rowSampler, rows } from "./session";

const texts = () => t.client.messages;

/** A payload is shown up to here; it can be copied whole. */
const SHOWN_BYTES = 16 << 10;

/** The last messages, and the one that is selected. */
export function Messages() {
  void drawn.value;
  const [selected, setSelected] = useState<Row | null>(null);
  const first = rows.at(0)?.number ?? 0;
  return (
    <>
      <p class="list-state small muted">
        {texts().shown(count(rows.length), count(messagesTotal), count(ROWS_MAX))}
        {rowSampler.every > 1 && <Badge tone="warning">{t.client.sampled(rowSampler.every)}</Badge>}
      </p>
      <LogRows
        label={texts().title}
        total={rows.length}
        rowHeight={28}
        row={(index) => <Line row={rows.at(index)} />}
        selected={selected && selected.number >= first ? indexOf(selected.number) : null}
        onSelect={(index) => setSelected(rows.at(index) ?? null)}
        empty={texts().empty}
      />
      {selected && <Detail row={selected} />}
    </>
  );
}

/** The numbers grow, but not each one is kept. */
function indexOf(number: number): number | null {
  let [low, high] = [0, rows.length - 1];
  while (low <= high) {
    const middle = (low + high) >> 1;
    const found = rows.at(middle)!.number;
    if (found === number) return middle;
    if (found < number) low = middle + 1;
    else high = middle - 1;
  }
  return null;
}

function Line({ row }: { row: Row | undefined }) {
  if (!row) return null;
  return (
    <>
      <span class="swatches" aria-hidden="true">
        {row.colours.slice(0, 3).map((colour) => (
          <span key={colour} class={`swatch tint-${colour % 8}`} />
        ))}
      </span>
      <span class="log-time mono">{clock(row.atMs)}</span>
      <span class="log-topic mono ellipsis">{row.topic}</span>
      <span class="log-payload mono ellipsis">{payloadLine(row.payload, 160)}</span>
      <span class="log-marks">
        {row.retain && <Badge tone="accent">{t.client.retained}</Badge>}
        {row.qos > 0 && <Badge>{`QoS ${row.qos}`}</Badge>}
      </span>
    </>
  );
}

function Detail({ row }: { row: Row }) {
  const shown = row.payload.subarray(0, SHOWN_BYTES);
  const text = payloadText(row.payload);
  const body = text === null ? toHex(shown, " ") : pretty(text).slice(0, SHOWN_BYTES);
  return (
    <section class="detail" aria-label={texts().detail}>
      <div class="row apart">
        <h3 class="mono break">{row.topic}</h3>
        <CopyButton text={text ?? toHex(row.payload)} label={texts().copy} />
      </div>
      <p class="row small muted">
        <span>{clock(row.atMs)}</span>
        <span>{`QoS ${row.qos}`}</span>
        <span>{bytes(row.payload.length)}</span>
        {row.retain && <span>{t.client.retained}</span>}
        {row.dup && <span>{texts().dup}</span>}
        {text === null && <span>{texts().binary}</span>}
      </p>
      <pre class="payload-box" tabIndex={0} aria-label={t.client.payload}>
        {body}
        {row.payload.length > SHOWN_BYTES && `\n${texts().cut(bytes(row.payload.length))}`}
      </pre>
      <PropertyList properties={row.properties} />
    </section>
  );
}

function PropertyList({ properties }: { properties: Properties }) {
  const { userProperty = [], ...others } = properties;
  const entries: [string, string][] = Object.entries(others).map(([name, value]) => [spaced(name), show(value)]);
  const all = [...entries, ...userProperty];
  if (all.length === 0) return null;
  return (
    <dl class="facts">
      {all.map(([name, value], index) => (
        <div key={index}>
          <dt>{name}</dt>
          <dd class="mono break">{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function show(value: unknown): string {
  if (value instanceof Uint8Array) return payloadText(value) ?? toHex(value, " ");
  return String(value);
}

/** `contentType` is "Content Type". */
function spaced(name: string): string {
  return (name[0]?.toUpperCase() ?? "") + name.slice(1).replace(/[A-Z]/g, " $&");
}
