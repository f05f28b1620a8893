import type { ComponentChildren, Ref } from "preact";
import { useCallback, useEffect, useImperativeHandle, useLayoutEffect, useRef, useState } from "preact/hooks";

/** Browsers cannot make elements much higher; beyond it a pixel of the scroll bar stands for several. */
const HEIGHT_MAX = 8_000_000;
/** Rows above and below what is visible, so that a quick scroll does not show the ground. */
const OVERSCAN = 12;

export interface VirtualRowsHandle {
  /** Scrolls so far that the row is visible. */
  reveal: (index: number) => void;
  /** How many rows are visible. */
  visible: () => number;
  focus: () => void;
}

interface Props {
  total: number;
  rowHeight: number;
  row: (index: number) => ComponentChildren;
  /** Called when other rows are needed. */
  onWindow: (first: number, count: number) => void;
  handle: Ref<VirtualRowsHandle>;
  /** Attributes of the scrolling element. */
  box: Record<string, unknown>;
}

/** Any number of rows of one height, of which only those in sight exist. */
export function VirtualRows({ total, rowHeight, row, onWindow, handle, box }: Props) {
  const element = useRef<HTMLDivElement>(null);
  /** What we have set `scrollTop` to: the event that follows is no news. */
  const expected = useRef(-1);
  const [viewport, setViewport] = useState(600);
  const [wanted, setTop] = useState(0);

  const whole = total * rowHeight;
  const height = Math.min(whole, HEIGHT_MAX);
  const scale = height > viewport ? (whole - viewport) / (height - viewport) : 1;
  const topMax = Math.max(0, whole - viewport);
  const top = Math.min(wanted, topMax);

  const moveTo = useCallback(
    (to: number) => {
      const next = Math.max(0, Math.min(topMax, to));
      setTop(next);
      expected.current = next / scale;
      if (element.current) element.current.scrollTop = expected.current;
    },
    [topMax, scale],
  );
  useScrolling(element, expected, scale, top, moveTo, setTop);

  useLayoutEffect(() => {
    const node = element.current;
    if (!node) return;
    const observer = new ResizeObserver(() => setViewport(node.clientHeight));
    observer.observe(node);
    return () => observer.disconnect();
  }, []);

  const first = Math.max(0, Math.floor(top / rowHeight) - OVERSCAN);
  const end = Math.min(total, Math.ceil((top + viewport) / rowHeight) + OVERSCAN);
  useEffect(() => onWindow(first, end - first), [first, end]);

  useImperativeHandle(
    handle,
    () => ({
      reveal: (index) => {
        if (index * rowHeight < top) moveTo(index * rowHeight);
        else if ((index + 1) * rowHeight > top + viewport) moveTo((index + 1) * rowHeight - viewport);
      },
      visible: () => Math.max(1, Math.floor(viewport / rowHeight)),
      focus: () => element.current?.focus(),
    }),
    [top, viewport, moveTo, rowHeight],
  );

  const rows = [];
  for (let index = first; index < end; index++) rows.push(row(index));
  const offset = scale === 1 ? first * rowHeight : top / scale - (top - first * rowHeight);
  return (
    <div {...box} ref={element} class="virtual" tabIndex={0}>
      <div class="virtual-whole" role="presentation" style={{ height: `${height}px` }}>
        <div class="virtual-rows" role="presentation" style={{ transform: `translateY(${offset}px)` }}>
          {rows}
        </div>
      </div>
    </div>
  );
}

/** Follows the scroll bar; where a pixel of it stands for several, the wheel moves the rows itself, pixel by pixel. */
function useScrolling(
  element: { current: HTMLDivElement | null },
  expected: { current: number },
  scale: number,
  top: number,
  moveTo: (top: number) => void,
  setTop: (top: number) => void,
): void {
  const now = useRef({ scale, top, moveTo });
  now.current = { scale, top, moveTo };
  useEffect(() => {
    const node = element.current;
    if (!node) return;
    const onScroll = () => {
      if (Math.abs(node.scrollTop - expected.current) < 1) return;
      expected.current = -1;
      setTop(node.scrollTop * now.current.scale);
    };
    const onWheel = (event: WheelEvent) => {
      if (now.current.scale === 1 || event.ctrlKey) return;
      event.preventDefault();
      const line = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
      now.current.moveTo(now.current.top + event.deltaY * line);
    };
    node.addEventListener("scroll", onScroll, { passive: true });
    node.addEventListener("wheel", onWheel, { passive: false });
    return () => {
      node.removeEventListener("scroll", onScroll);
      node.removeEventListener("wheel", onWheel);
    };
  }, []);
}
