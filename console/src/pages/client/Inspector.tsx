import { useMemo, useRef, useState } from "preact/hooks";
import { bytes as size } from "../../format";
import { type Span, annotate, bitPattern, leaves } from "../../mqtt/annotate";
import { CopyButton } from "../../parts/Copy";
import { t } from "../../texts";
import { toHex } from "./payload";
import type { Packet } from "./session";

const texts = () => t.client.inspector;

/** So many bytes are drawn; what is beyond is payload almost always. */
const SHOWN_BYTES = 1_024;
const COLUMNS = 16;

/** A packet as bytes and as fields; what is pointed at in one is marked in the other. */
export function Inspector({ packet }: { packet: Packet }) {
  const { bytes, version } = packet;
  const annotation = useMemo(() => annotate(version, bytes), [packet]);
  const fields = useMemo(() => leaves(annotation.spans), [annotation]);
  /** A byte, or a field. */
  const [at, setAt] = useState<{ byte: number } | { field: Span } | null>(null);
  const marked = at === null ? [] : "field" in at ? [at.field] : fields.filter((it) => covers(it, at.byte));
  const from = marked[0]?.from ?? -1;
  const to = marked[marked.length - 1]?.to ?? -1;
  return (
    <section class="detail inspector" aria-label={texts().title}>
      <div class="row apart">
        <h3>
          {annotation.name} · {size(bytes.length)} · {version === 5 ? "MQTT 5.0" : "MQTT 3.1.1"}
        </h3>
        <CopyButton text={toHex(bytes)} label={texts().copy} />
      </div>
      {annotation.mistake && <p class="error small">{texts().mistake(annotation.mistake.at, annotation.mistake.text)}</p>}
      <Bytes packet={packet} spans={annotation.spans} from={from} to={to} onPoint={(byte) => setAt(byte === null ? null : { byte })} />
      <p class="pointed small" aria-live="polite">
        {marked.length === 0
          ? texts().hint
          : marked.map((it) => `${it.name}: ${it.value || texts().none} (${it.section})`).join(" · ")}
      </p>
      <table class="fields-table">
        <thead>
          <tr>
            <th scope="col">{texts().offset}</th>
            <th scope="col">{texts().bits}</th>
            <th scope="col">{texts().field}</th>
            <th scope="col">{texts().value}</th>
            <th scope="col">{texts().section}</th>
          </tr>
        </thead>
        <tbody onMouseLeave={() => setAt(null)}>
          <Fields spans={annotation.spans} depth={0} bytes={bytes} marked={marked} onPoint={(field) => setAt({ field })} />
        </tbody>
      </table>
      <p class="muted small">{texts().specification[version]}</p>
    </section>
  );
}

interface BytesProps {
  packet: Packet;
  spans: Span[];
  from: number;
  to: number;
  onPoint: (byte: number | null) => void;
}

/** The bytes, sixteen a row. One of them is in the order of the tab key; arrows go to the others. */
function Bytes({ packet, spans, from, to, onPoint }: BytesProps) {
  const { bytes } = packet;
  const [focused, setFocused] = useState(0);
  const box = useRef<HTMLDivElement>(null);
  const shown = Math.min(bytes.length, SHOWN_BYTES);
  const lines = Array.from({ length: Math.ceil(shown / COLUMNS) }, (_, line) => line * COLUMNS);
  const steps: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -COLUMNS, ArrowDown: COLUMNS };
  const move = (event: KeyboardEvent) => {
    const step = steps[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const next = Math.max(0, Math.min(shown - 1, focused + step));
    setFocused(next);
    box.current?.querySelector<HTMLElement>(`[data-at="${next}"]`)?.focus();
  };
  return (
    <div ref={box} class="bytes mono" role="grid" aria-label={texts().bytes} onKeyDown={move} onMouseLeave={() => onPoint(null)}>
      {lines.map((line) => (
        <div key={line} class="line" role="row">
          <span class="offset muted" role="rowheader">
            {line.toString(16).padStart(4, "0")}
          </span>
          {Array.from({ length: Math.min(COLUMNS, shown - line) }, (_, column) => line + column).map((index) => (
            <span
              key={index}
              data-at={index}
              role="gridcell"
              tabIndex={index === focused ? 0 : -1}
              class={`byte part-${part(spans, index)} ${index >= from && index < to ? "marked" : ""}`}
              onMouseEnter={() => onPoint(index)}
              onFocus={() => {
                setFocused(index);
                onPoint(index);
              }}
            >
              {bytes[index]!.toString(16).padStart(2, "0")}
            </span>
          ))}
          <span class="text muted" aria-hidden="true">
            {Array.from(bytes.subarray(line, Math.min(line + COLUMNS, shown)), printable).join("")}
          </span>
        </div>
      ))}
      {bytes.length > shown && <p class="muted small">{texts().more(size(bytes.length - shown))}</p>}
    </div>
  );
}

interface FieldsProps {
  spans: Span[];
  depth: number;
  bytes: Uint8Array;
  marked: Span[];
  onPoint: (span: Span) => void;
}

function Fields({ spans, depth, bytes, marked, onPoint }: FieldsProps) {
  return (
    <>
      {spans.map((span, index) => (
        <>
          <tr
            key={`${depth}-${index}`}
            class={`${span.children ? "group" : ""} ${marked.includes(span) ? "marked" : ""} depth-${Math.min(depth, 4)}`}
            onMouseEnter={() => onPoint(span)}
          >
            <td class="mono muted">{span.from}</td>
            <td class="mono">{span.children ? "" : bitPattern(span, bytes) || hexOf(bytes, span)}</td>
            <td class="name">{span.name}</td>
            <td class="break value">{span.value}</td>
            <td class="muted">{span.section}</td>
          </tr>
          {span.children && <Fields spans={span.children} depth={depth + 1} bytes={bytes} marked={marked} onPoint={onPoint} />}
        </>
      ))}
    </>
  );
}

function covers(span: Span, byte: number): boolean {
  return byte >= span.from && byte < span.to;
}

/** Which of the great parts of a packet a byte is in; each has its colour. */
function part(spans: Span[], byte: number): number {
  return spans.findIndex((span) => covers(span, byte));
}

function hexOf(bytes: Uint8Array, span: Span): string {
  const length = span.to - span.from;
  return toHex(bytes.subarray(span.from, span.from + Math.min(4, length)), " ") + (length > 4 ? " …" : "");
}

function printable(byte: number): string {
  return byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "·";
}
