import { useMemo } from "preact/hooks";
import { clock, count } from "../../format";
import { Protocol } from "../../parts/Badge";
import { t } from "../../texts";
import { chosen, decode, preview } from "./decoders";
import { diff } from "./diff";
import type { Entry } from "./ring";

/** Of the ring, so many are listed. */
const LISTED_MAX = 100;

interface Props {
  entries: Entry[];
  /** The one that the panel shows; the newest, if none. */
  shown: number | null;
  /** The one that it is compared with. */
  compared: number | null;
  onShow: (number: number | null) => void;
  onCompare: (number: number | null) => void;
}

/** What came while one looks; two of them can be compared. */
export function History({ entries, shown, compared, onShow, onCompare }: Props) {
  const listed = entries.slice(-LISTED_MAX).reverse();
  const newest = entries.at(-1);
  const after = entries.find((it) => it.number === shown) ?? newest;
  const before = entries.find((it) => it.number === compared);
  if (entries.length < 2) return null;
  return (
    <section class="history">
      <h3>
        {t.topics.history} <span class="muted small">{t.topics.historyCount(entries.length)}</span>
      </h3>
      {before && after && before !== after && <Difference before={before} after={after} />}
      <ol tabIndex={0} aria-label={t.topics.history}>
        {listed.map((it) => (
          <li key={it.number} class={it === after ? "current" : undefined}>
            <button
              type="button"
              class="entry"
              aria-pressed={it.number === shown}
              onClick={() => onShow(it.number === shown ? null : it.number)}
            >
              <span class="muted mono">{when(it)}</span>
              <span class="ellipsis mono">{preview(it)}</span>
              {it.protocol && <Protocol name={it.protocol} />}
              {!!it.left_out && <span class="muted small left-out">{t.topics.leftOut(count(it.left_out))}</span>}
            </button>
            <button
              type="button"
              class="compare"
              aria-pressed={it.number === compared}
              aria-label={t.topics.compareWith(when(it))}
              title={t.topics.compareWith(when(it))}
              onClick={() => onCompare(it.number === compared ? null : it.number)}
            >
              ±
            </button>
          </li>
        ))}
      </ol>
    </section>
  );
}

const when = (entry: Entry) => (entry.at_ms === undefined ? t.topics.beforeLooking : clock(entry.at_ms));

function Difference({ before, after }: { before: Entry; after: Entry }) {
  const lines = useMemo(
    () => diff(decode(before, chosen.value).text, decode(after, chosen.value).text),
    [before, after, chosen.value],
  );
  const mark = { same: " ", gone: "−", new: "+" };
  return (
    <figure class="diff">
      <figcaption class="small muted">{t.topics.difference(when(before), when(after))}</figcaption>
      <pre tabIndex={0}>
        {lines.map((line, index) => (
          <span key={index} class={`line ${line.kind}`}>
            {mark[line.kind]} {line.text}
            {"\n"}
          </span>
        ))}
      </pre>
    </figure>
  );
}
