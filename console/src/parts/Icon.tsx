/** Drawn by hand on a grid of 16: one stroke, no fill. */
const paths = {
  overview: "M2 9h3l2-5 3 9 2-4h2",
  topics: "M3 3v10M3 5h4M3 11h4M9 3.5h5v3H9zM9 9.5h5v3H9z",
  client: "M2 4h12v8H2zM4.5 7l2 1.5-2 1.5M8 10h3",
  clients: "M6 8a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5M1.5 13.5c.5-2.5 2-3.5 4.5-3.5s4 1 4.5 3.5M10.5 3.2a2.5 2.5 0 0 1 0 4.6M12 10.2c1.5.5 2.2 1.6 2.5 3.3",
  security: "M8 1.5l5.5 2v4c0 3.5-2.3 5.8-5.5 7-3.2-1.2-5.5-3.5-5.5-7v-4zM5.5 8l1.8 1.8L10.8 6",
  auto: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2M8 2v12M8 5l4.5-.5M8 8h6M8 11l4.5.5",
  light: "M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6M8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1 1M12 12l1 1M3 13l1-1M12 4l1-1",
  dark: "M13.5 9.5A6 6 0 0 1 6.5 2.5a6 6 0 1 0 7 7",
  out: "M6 2.5H2.5v11H6M10 5l3 3-3 3M13 8H6",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  check: "M2.5 8.5l3.5 3.5 7.5-8",
  close: "M3.5 3.5l9 9M12.5 3.5l-9 9",
  up: "M4 10l4-4 4 4",
  down: "M4 6l4 4 4-4",
  right: "M6 4l4 4-4 4",
  search: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9M10.5 10.5l3.5 3.5",
  plus: "M8 3v10M3 8h10",
  trash: "M3 4.5h10M6 4.5v-2h4v2M4.5 4.5l.5 9h6l.5-9M6.8 7v4M9.2 7v4",
  send: "M2 8l12-5.5-4 11.5-2.5-4.5zM7.5 9.5L14 2.5",
  play: "M4.5 3l8 5-8 5z",
  pause: "M5 3v10M11 3v10",
  pin: "M5 2h6l-1 5 2 2H4l2-2zM8 9v5",
  warning: "M8 2l6.5 11.5h-13zM8 6.5v3.5M8 11.8v.2",
  download: "M8 2v8M4.5 7l3.5 3.5L11.5 7M2.5 13.5h11",
  edit: "M2.5 13.5l.8-3.3 7.7-7.7 2.5 2.5-7.7 7.7z",
} as const;

export type IconName = keyof typeof paths;

export function Icon({ name, title }: { name: IconName; title?: string }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" width="16" height="16" role={title ? "img" : undefined} aria-hidden={title ? undefined : true}>
      {title && <title>{title}</title>}
      <path d={paths[name]} fill="none" stroke="currentColor" stroke-width="1.4" stroke-linecap="round" stroke-linejoin="round" />
    </svg>
  );
}
