import { signal } from "@preact/signals";

/** The pages, in the order of the navigation. */
export const pages = ["overview", "topics", "client", "clients", "security"] as const;
export type Page = (typeof pages)[number];

/** Where one is: `#/topics/house/kitchen?filter=…` is the page `topics` with what follows as its argument. */
export interface Route {
  page: Page;
  /** What follows the page, decoded: a topic, a client id, a part of the page. */
  argument: string;
  query: URLSearchParams;
}

export const route = signal<Route>(read(location.hash));
window.addEventListener("hashchange", () => {
  route.value = read(location.hash);
});

/** The address of a page. */
export function href(page: Page, argument = "", query: Record<string, string> = {}): string {
  const path = argument ? `/${argument.split("/").map(encodeURIComponent).join("/")}` : "";
  const search = new URLSearchParams(query).toString();
  return `#/${page}${path}${search ? `?${search}` : ""}`;
}

/** Goes to a page; `replace` leaves no entry in the browser's history. */
export function go(page: Page, argument = "", query: Record<string, string> = {}, replace = false): void {
  const to = href(page, argument, query);
  if (to === location.hash) return;
  if (!replace) location.hash = to;
  else {
    history.replaceState(null, "", to);
    route.value = read(to);
  }
}

function read(hash: string): Route {
  const [path = "", search = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [name = "", ...rest] = path.split("/");
  const page = pages.find((page) => page === name) ?? "overview";
  return { page, argument: rest.map(decode).join("/"), query: new URLSearchParams(search) };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
