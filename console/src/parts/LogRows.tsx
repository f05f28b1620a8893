import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef } from "preact/hooks";
import { VirtualRows, type VirtualRowsHandle } from "./VirtualRows";

interface Props {
  label: string;
  total: number;
  rowHeight: number;
  row: (index: number) => ComponentChildren;
  /** The row that is selected, if it is there. */
  selected: number | null;
  onSelect: (index: number) => void;
  /** What to say when there is none. */
  empty: ComponentChildren;
}

/** What happens, the latest at the end: the list follows its end as long as one looks at it. */
export function LogRows({ label, total, rowHeight, row, selected, onSelect, empty }: Props) {
  const id = useId();
  const list = useRef<VirtualRowsHandle>(null);
  const follows = useRef(true);
  const lastTop = useRef(0);
  useLayoutEffect(() => {
    if (follows.current && total > 0) list.current?.reveal(total - 1);
  });
  const select = (index: number) => {
    if (total === 0) return;
    const to = Math.max(0, Math.min(total - 1, index));
    follows.current = false;
    onSelect(to);
    list.current?.reveal(to);
  };
  const keys = (key: string): number | undefined => {
    const page = list.current?.visible() ?? 1;
    const [down, up] = [selected ?? -1, selected ?? total];
    return { ArrowDown: down + 1, ArrowUp: up - 1, PageDown: down + page, PageUp: up - page, Home: 0, End: total - 1 }[key];
  };
  // The list may have grown since it was scrolled to its end: only a way upwards is somebody who looks back.
  const scrolled = (box: HTMLElement) => {
    if (box.scrollTop + box.clientHeight >= box.scrollHeight - rowHeight) follows.current = true;
    else if (box.scrollTop < lastTop.current) follows.current = false;
    lastTop.current = box.scrollTop;
  };
  if (total === 0) follows.current = true;
  if (total === 0) return <p class="log empty">{empty}</p>;
  return (
    <VirtualRows
      total={total}
      rowHeight={rowHeight}
      handle={list}
      onWindow={() => {}}
      box={{
        role: "listbox",
        "aria-label": label,
        "aria-activedescendant": selected === null ? undefined : `${id}-${selected}`,
        onScroll: (event: { currentTarget: HTMLElement }) => scrolled(event.currentTarget),
        onKeyDown: (event: KeyboardEvent) => {
          const index = keys(event.key);
          if (index === undefined) return;
          event.preventDefault();
          select(index);
        },
      }}
      row={(index) => (
        <div
          key={index}
          id={`${id}-${index}`}
          class="log-row"
          role="option"
          aria-selected={index === selected}
          aria-posinset={index + 1}
          aria-setsize={total}
          style={{ height: `${rowHeight}px` }}
          onClick={() => select(index)}
        >
          {row(index)}
        </div>
      )}
    />
  );
}
