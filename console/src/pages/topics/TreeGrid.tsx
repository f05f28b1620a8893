import { signal } from "@preact/signals";
import { Component } from "preact";
import { useCallback, useEffect, useRef } from "preact/hooks";
import { look, unfold, type TreeRow } from "../../feed";
import { compact, count, rate } from "../../format";
import { Protocol } from "../../parts/Badge";
import { Icon } from "../../parts/Icon";
import { VirtualRows, type VirtualRowsHandle } from "../../parts/VirtualRows";
import { t } from "../../texts";
import { preview } from "./decoders";
import { rows } from "./rows";

export const ROW_HEIGHT = 26;
/** Rows asked for beyond those that exist on the page, so that they are known before they come into sight. */
const AHEAD = 40;

/** The row with the keyboard's mark. The topic is remembered, because rows above it come and go. */
const active = signal<{ index: number; topic: string | null }>({ index: 0, topic: null });

interface Props {
  selected: string | null;
  onSelect: (topic: string) => void;
  /** Whether rows are whole topics. */
  isList: boolean;
}

/** The tree of topics as a list of rows. */
export function TreeGrid({ selected, onSelect, isList }: Props) {
  const list = useRef<VirtualRowsHandle>(null);
  const { total, at } = rows.value;
  useEffect(followActive, [rows.value]);

  const onWindow = useCallback((first: number, visible: number) => {
    const from = Math.max(0, first - AHEAD);
    look({ first: from, count: first - from + visible + AHEAD });
  }, []);
  const mark = (index: number) => {
    const to = Math.max(0, Math.min(total - 1, index));
    active.value = { index: to, topic: at.get(to)?.topic ?? null };
    list.current?.reveal(to);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const moved = keys(event, list.current?.visible() ?? 1, total, onSelect);
    if (moved === undefined) return;
    event.preventDefault();
    if (moved !== null) mark(moved);
  };
  const onClick = (event: MouseEvent) => {
    const element = (event.target as Element).closest<HTMLElement>("[data-index]");
    const index = Number(element?.dataset.index ?? -1);
    const row = at.get(index);
    if (!row) return;
    active.value = { index, topic: row.topic };
    if ((event.target as Element).closest(".toggle") || event.detail === 2) toggle(row);
    else onSelect(row.topic);
  };
  const marked = active.value.index;
  return (
    <div class={isList ? "tree list" : "tree"}>
      <div class="tree-head" aria-hidden="true">
        <span>{t.topics.column.topic}</span>
        <span>{t.topics.column.value}</span>
        <span class="numeric">{t.topics.column.topics}</span>
        <span class="numeric">{t.topics.column.messages}</span>
        <span class="numeric">{t.topics.column.rate}</span>
        <span>{t.topics.column.protocol}</span>
      </div>
      <VirtualRows
        total={total}
        rowHeight={ROW_HEIGHT}
        handle={list}
        onWindow={onWindow}
        box={{
          role: "treegrid",
          "aria-label": t.topics.tree,
          "aria-rowcount": total,
          "aria-activedescendant": at.has(marked) ? `topic-${marked}` : undefined,
          onKeyDown,
          onClick,
        }}
        row={(index) => (
          <Row
            key={index}
            index={index}
            row={at.get(index)}
            isActive={index === marked}
            isSelected={selected !== null && at.get(index)?.topic === selected}
          />
        )}
      />
    </div>
  );
}

/** When rows came or went above it, the mark goes with its topic. */
function followActive(): void {
  const { index, topic } = active.peek();
  const { at } = rows.peek();
  if (topic === null || at.get(index)?.topic === topic) return;
  for (const [place, row] of at) {
    if (row.topic === topic) active.value = { index: place, topic };
  }
}

function toggle(row: TreeRow): void {
  if (row.children > 0) unfold(row, !row.open);
}

/** The row that a key leads to; `null` when the key did something else, `undefined` when it is none of ours. */
function keys(event: KeyboardEvent, page: number, total: number, onSelect: (topic: string) => void): number | null | undefined {
  if (event.ctrlKey || event.metaKey || event.altKey) return undefined;
  const { index } = active.peek();
  const { at } = rows.peek();
  const row = at.get(index);
  switch (event.key) {
    case "ArrowDown":
      return index + 1;
    case "ArrowUp":
      return index - 1;
    case "PageDown":
      return index + page;
    case "PageUp":
      return index - page;
    case "Home":
      return 0;
    case "End":
      return total - 1;
    case "ArrowRight":
      if (row?.open) return index + 1;
      if (row) toggle(row);
      return null;
    case "ArrowLeft":
      if (row?.open) toggle(row);
      else if (row) return parent(index, row);
      return null;
    case "Enter":
      if (row) onSelect(row.topic);
      return null;
    case " ":
      if (row) toggle(row);
      return null;
    default:
      return undefined;
  }
}

/** The nearest row above that stands one level higher, as far as rows are known. */
function parent(index: number, row: TreeRow): number | null {
  const { at } = rows.peek();
  for (let above = index - 1; at.has(above); above--) {
    if ((at.get(above)?.depth ?? 0) < row.depth) return above;
  }
  return null;
}

interface RowProps {
  index: number;
  row: TreeRow | undefined;
  isActive: boolean;
  isSelected: boolean;
}

/** A row is drawn again when it is another, and not because its neighbours are. */
class Row extends Component<RowProps> {
  override shouldComponentUpdate(next: RowProps): boolean {
    const now = this.props;
    return (
      next.row !== now.row || next.isActive !== now.isActive || next.isSelected !== now.isSelected || next.index !== now.index
    );
  }

  override render({ index, row, isActive, isSelected }: RowProps) {
    const about = { role: "row" as const, id: `topic-${index}`, "aria-rowindex": index + 1, "data-index": index };
    if (!row) {
      return (
        <div {...about} class="tree-row unknown" aria-busy="true">
          <span role="gridcell">…</span>
        </div>
      );
    }
    return (
      <div
        {...about}
        class={`tree-row${isActive ? " active" : ""}`}
        aria-level={row.depth + 1}
        aria-expanded={row.children > 0 ? row.open : undefined}
        aria-selected={isSelected}
      >
        <span role="gridcell" class="tree-name" style={{ paddingLeft: `${8 + Math.min(row.depth, 24) * 16}px` }}>
          <span class="toggle">{row.children > 0 && <Icon name={row.open ? "down" : "right"} />}</span>
          <span class="ellipsis" title={row.topic}>
            {row.name === "" ? <em class="muted">{t.topics.emptyLevel}</em> : row.name}
          </span>
          {row.retained && (
            <span class="retained" title={t.topics.retained}>
              <Icon name="pin" title={t.topics.retained} />
            </span>
          )}
        </span>
        <span role="gridcell" class="tree-value ellipsis mono">
          {row.last ? preview(row.last) : ""}
        </span>
        <span role="gridcell" class="numeric muted">
          {row.topics > 0 ? count(row.topics) : ""}
        </span>
        <span role="gridcell" class="numeric">
          {row.count > 0 ? compact(row.count) : ""}
        </span>
        <span role="gridcell" class={row.rate > 0 ? "numeric lively" : "numeric"}>
          {row.rate > 0 ? rate(row.rate) : ""}
        </span>
        <span role="gridcell">{row.last?.protocol && <Protocol name={row.last.protocol} />}</span>
      </div>
    );
  }
}
