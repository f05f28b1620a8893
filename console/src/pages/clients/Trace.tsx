import { useEffect, useState } from "preact/hooks";
import { withQuery } from "../../api";
import { bytes, clock, count } from "../../format";
import { Badge } from "../../parts/Badge";
import { Button } from "../../parts/Button";
import { Icon } from "../../parts/Icon";
import { LogRows } from "../../parts/LogRows";
import { t } from "../../texts";
import { Ring } from "../client/ring";
import type { Happening } from "./api";

const texts = () => t.clients.trace;

const EVENTS_MAX = 2_000;
const BYTES_MAX = 4 << 20;
const DRAW_EVERY_MS = 100;
const SECONDS = 600;

/** What one client does, as it happens; no payloads. */
export function Trace({ client }: { client: string }) {
  const [runs, setRuns] = useState(false);
  const [ring] = useState(() => new Ring<Happening>(EVENTS_MAX, BYTES_MAX));
  const [words, setWords] = useState("");
  const [selected, setSelected] = useState<number | null>(null);
  const [, setDrawn] = useState(0);

  useEffect(() => {
    if (!runs) return;
    let isDirty = false;
    const source = new EventSource(withQuery("/api/v1/trace", { client, seconds: SECONDS }));
    source.onmessage = (event: MessageEvent<string>) => {
      ring.push(JSON.parse(event.data) as Happening, event.data.length);
      isDirty = true;
    };
    // It would begin again by itself, and for ever: the trace has its end.
    source.onerror = () => {
      source.close();
      setWords(texts().ended);
      setRuns(false);
    };
    setWords("");
    const drawing = window.setInterval(() => {
      if (isDirty) setDrawn(ring.total);
      isDirty = false;
    }, DRAW_EVERY_MS);
    return () => {
      source.close();
      window.clearInterval(drawing);
    };
  }, [runs, client]);

  return (
    <section class="client-trace" aria-label={texts().title}>
      <div class="row apart">
        <h3>{texts().title}</h3>
        <div class="row">
          <Button onClick={() => setRuns(!runs)} aria-pressed={runs}>
            <Icon name={runs ? "pause" : "play"} />
            {runs ? texts().stop : texts().start}
          </Button>
          <Button
            disabled={ring.length === 0}
            onClick={() => {
              ring.clear();
              setDrawn(-1);
            }}
          >
            {t.client.clear}
          </Button>
        </div>
      </div>
      {words && (
        <p class="muted small" role="status">
          {words}
        </p>
      )}
      {(runs || ring.length > 0) && (
        <LogRows
          label={texts().title}
          total={ring.length}
          rowHeight={26}
          row={(index) => <Line it={ring.at(index)} />}
          selected={selected}
          onSelect={setSelected}
          empty={texts().waiting}
        />
      )}
    </section>
  );
}

function Line({ it }: { it: Happening | undefined }) {
  if (!it) return null;
  return (
    <>
      <span class={`way ${it.way ?? ""}`}>
        <span aria-hidden="true">{it.way === "in" ? "←" : it.way === "out" ? "→" : "·"}</span>
        {it.way && <span class="visually-hidden">{texts().ways[it.way]}</span>}
      </span>
      <span class="log-time mono">{clock(it.at_ms)}</span>
      <span class="log-packet mono">{it.what}</span>
      <span class="log-payload mono ellipsis">
        {it.topic} <span class="muted">{it.details}</span>
      </span>
      <span class="log-marks small muted">
        {it.left_out ? <Badge tone="warning">{texts().leftOut(count(it.left_out))}</Badge> : null}
        {it.retain && <Badge tone="accent">{t.client.retained}</Badge>}
        {it.qos !== undefined && `QoS ${it.qos}`}
        {it.payload_bytes !== undefined && ` · ${bytes(it.payload_bytes)}`}
      </span>
    </>
  );
}
