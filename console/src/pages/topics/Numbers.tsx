import { useMemo, useState } from "preact/hooks";
import type uPlot from "uplot";
import { Chart } from "../../parts/Chart";
import { t } from "../../texts";
import { chosen, decode, type Decoder, numberAt, numericPaths, pathText } from "./decoders";
import type { Entry } from "./ring";

/** Decoding is done once for each value, as long as it is read the same way. */
let decodedAs: Decoder | null = null;
let decodedValues = new WeakMap<Entry, unknown>();

function valueOf(entry: Entry, decoder: Decoder): unknown {
  if (decodedAs !== decoder) {
    decodedAs = decoder;
    decodedValues = new WeakMap();
  }
  if (!decodedValues.has(entry)) decodedValues.set(entry, decode(entry, decoder).value);
  return decodedValues.get(entry);
}

/** The chart has no steps for an axis beyond this: such a number leaves a gap. */
const DRAWN_MAX = 1e24;
const drawable = <T,>(value: T) => (typeof value === "number" && Math.abs(value) > DRAWN_MAX ? null : value);

const format = new Intl.NumberFormat("en", { maximumSignificantDigits: 6 });

/** A chart of the numbers in the values; which number, where there are several. */
export function Numbers({ entries }: { entries: Entry[] }) {
  const [picked, setPicked] = useState<string | null>(null);
  const decoder = chosen.value;
  const last = entries.at(-1);
  const paths = useMemo(() => (last ? numericPaths(valueOf(last, decoder)) : []), [last, decoder]);
  const path = picked !== null && paths.includes(picked) ? picked : paths[0];
  const data = useMemo((): uPlot.AlignedData => {
    if (path === undefined) return [[], []];
    const timed = entries.filter((it) => it.at_ms !== undefined);
    return [timed.map((it) => (it.at_ms ?? 0) / 1000), timed.map((it) => drawable(numberAt(valueOf(it, decoder), path)))];
  }, [entries, path, decoder]);
  if (path === undefined) return null;
  const label = pathText(path) || t.topics.value;
  return (
    <section class="numbers">
      <div class="row apart">
        <h3>{t.topics.chart}</h3>
        {paths.length > 1 && (
          <select
            class="compact mono"
            value={path}
            aria-label={t.topics.chartPath}
            onChange={(event) => setPicked(event.currentTarget.value)}
          >
            {paths.map((it) => (
              <option key={it} value={it}>
                {pathText(it)}
              </option>
            ))}
          </select>
        )}
      </div>
      <Chart
        label={t.topics.chartOf(label)}
        lines={[{ label, colour: "--accent", stepped: true }]}
        data={data}
        height={130}
        fromZero={false}
        seconds_min={10}
        format={(value) => format.format(value)}
      />
    </section>
  );
}
