import { effect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { theme } from "../theme";

export interface Line {
  label: string;
  /** A custom property of the style sheet. */
  colour: string;
  /** In steps: values that hold until the next. */
  stepped?: boolean;
}

interface Props {
  /** What it shows, for those who cannot see it. */
  label: string;
  lines: Line[];
  /** Times in seconds, then the values of each line. */
  data: uPlot.AlignedData;
  height: number;
  /** Values as texts. */
  format: (value: number) => string;
  /** Whether the axis begins at zero. */
  fromZero?: boolean;
  /** Marks the axis at powers of two, as bytes are counted. */
  binary?: boolean;
  /** The least time that the axis spans. */
  seconds_min?: number;
}

const POWERS = Array.from({ length: 50 }, (_, power) => 2 ** power);

/** A chart over time that grows with its box. */
export function Chart(props: Props) {
  const { label, lines, data, height, fromZero = true } = props;
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const names = lines.map((line) => line.label + line.colour).join();
  useEffect(() => {
    const node = box.current;
    if (!node) return;
    const made = new uPlot(options(node, { ...props, fromZero }), data, node);
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: node.clientWidth, height }));
    observer.observe(node);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const repaint = () => made.redraw(false);
    dark.addEventListener("change", repaint);
    const stop = effect(() => {
      theme.value;
      repaint();
    });
    return () => {
      stop();
      dark.removeEventListener("change", repaint);
      observer.disconnect();
      made.destroy();
    };
  }, [names, height, fromZero]);
  useEffect(() => plot.current?.setData(data), [data]);
  return <div class="chart" ref={box} role="img" aria-label={label} />;
}

function options(node: HTMLElement, props: Props & { fromZero: boolean }): uPlot.Options {
  const { lines, height, format, fromZero, binary = false, seconds_min = 0 } = props;
  const colour = (name: string) => () => resolve(node, name);
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
  return {
    width: Math.max(100, node.clientWidth),
    height,
    padding: [6, 6, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { size: 5 }, drag: { x: false, y: false } },
    scales: {
      x: { range: (_, min, max) => span(min, max, seconds_min) },
      y: { range: (_, min, max) => range(min, max, fromZero) },
    },
    axes: [
      { ...axis, size: 24, space: 90, font: "11px system-ui", values: "{HH}:{mm}:{ss}" },
      { ...axis, size: 62, space: 26, font: "11px system-ui", values: (_, ticks) => ticks.map(format), ...(binary ? { incrs: POWERS } : {}) },
    ],
    series: [
      {},
      ...lines.map((line) => ({
        label: line.label,
        stroke: colour(line.colour),
        width: 1.5,
        // One value makes no line.
        points: { show: (plot: uPlot) => plot.data[0].length < 3 },
        ...(line.stepped && uPlot.paths.stepped ? { paths: uPlot.paths.stepped({ align: 1 }) } : {}),
      })),
    ],
  };
}

function span(min: number | null, max: number | null, seconds_min: number): [number, number] {
  const end = max ?? Date.now() / 1000;
  return [Math.min(min ?? end, end - seconds_min), end];
}

function range(min: number | null, max: number | null, fromZero: boolean): [number, number] {
  if (min === null || max === null) return [0, 1];
  const low = fromZero ? Math.min(0, min) : min;
  // Of large numbers, differences that a number of 64 bits cannot tell apart from nothing are no range.
  const least = Math.max(Number.MIN_VALUE, Math.abs(max) * 1e-12, Math.abs(low) * 1e-12);
  if (max - low < least) return fromZero ? [low, low + Math.max(1, least)] : [low - Math.max(1, least), low + Math.max(1, least)];
  const room = (max - low) * 0.08;
  return [fromZero ? low : low - room, max + room];
}

/** A canvas knows no custom properties: an element of the page tells what one comes to. */
function resolve(node: HTMLElement, name: string): string {
  node.style.color = `var(${name})`;
  const colour = getComputedStyle(node).color;
  node.style.color = "";
  return colour;
}
