import { effect, signal } from "@preact/signals";
import { tree, type Tree, type TreeRow } from "../../feed";

/** Rows of the tree by their place, as far as they are known. */
export interface Rows {
  total: number;
  at: Map<number, TreeRow>;
}

/** Rows that were seen and are out of sight are kept for a scroll back, so many. */
const KEPT_MAX = 1500;

export const rows = signal<Rows>({ total: 0, at: new Map() });

effect(() => {
  const news = tree.value;
  if (news) rows.value = merge(rows.peek(), news);
});

/** Rows that have not changed stay the same objects, so that nothing is drawn again. */
function merge(known: Rows, news: Tree): Rows {
  const isSameTree = known.total === news.rows_total;
  const at = isSameTree && known.at.size <= KEPT_MAX ? new Map(known.at) : new Map<number, TreeRow>();
  news.rows.forEach((row, index) => {
    const before = known.at.get(news.first + index);
    at.set(news.first + index, before && same(before, row) ? before : row);
  });
  return { total: news.rows_total, at };
}

function same(a: TreeRow, b: TreeRow): boolean {
  return (
    a.id === b.id &&
    a.topic === b.topic &&
    a.open === b.open &&
    a.children === b.children &&
    a.topics === b.topics &&
    a.count === b.count &&
    a.rate === b.rate &&
    a.retained === b.retained &&
    a.last?.at_ms === b.last?.at_ms &&
    a.last?.text === b.last?.text &&
    a.last?.base64 === b.last?.base64
  );
}
