import { signal } from "@preact/signals";
import { t } from "./texts";

/** What the broker said, or why it said nothing: `message` is one sentence for people. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** Whether the broker lets us in. */
export const access = signal<"asking" | "in" | "out">("asking");

/** Why the last attempt to come in failed. */
export const refusal = signal<string>("");

/** Asks whether we are let in, with the code of the address (`#code=…`) if there is one. */
export async function start(): Promise<void> {
  const code = /^#code=([^&]+)/.exec(location.hash)?.[1];
  if (code) {
    // The code works once; it has no business in the history.
    history.replaceState(null, "", `${location.pathname}#/overview`);
    window.dispatchEvent(new HashChangeEvent("hashchange"));
    try {
      await post("/api/v1/session/code", { code: decodeURIComponent(code) });
    } catch (error) {
      refusal.value = words(error);
    }
  }
  await ask();
}

/** Asks whether we are let in; when the broker is away it answers nothing, and the pages say so. */
export async function ask(): Promise<void> {
  try {
    await get("/api/v1/server");
    access.value = "in";
  } catch (error) {
    if (!(error instanceof Problem && error.status === 401)) access.value = "in";
  }
}

export async function logIn(username: string, password: string): Promise<void> {
  await post("/api/v1/session", { username, password });
  refusal.value = "";
  access.value = "in";
}

export async function logOut(): Promise<void> {
  try {
    await remove("/api/v1/session");
  } finally {
    access.value = "out";
  }
}

export const get = <T>(path: string, signal?: AbortSignal) => request<T>("GET", path, undefined, signal);
export const post = <T>(path: string, body?: unknown) => request<T>("POST", path, body);
export const put = <T>(path: string, body?: unknown) => request<T>("PUT", path, body);
export const remove = <T>(path: string) => request<T>("DELETE", path);

/** A path with a query of what is said. */
export function withQuery(path: string, query: Record<string, string | number | boolean | undefined>): string {
  const said = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
  const search = new URLSearchParams(said.map(([name, value]) => [name, String(value)])).toString();
  return search ? `${path}?${search}` : path;
}

/** The sentence of an error. */
export function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Asks the administrators' interface for JSON. */
async function request<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const headers: Record<string, string> = { accept: "application/json", "x-althing": "console" };
  const init: RequestInit = { method, headers };
  if (signal) init.signal = signal;
  if (body !== undefined) {
    headers["content-type"] = "application/json";
    init.body = JSON.stringify(body);
  }
  const response = await send(path, init);
  if (response.status === 204) return undefined as T;
  return (await response.json()) as T;
}

/** `fetch`, with errors that people can read. */
export async function send(path: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...init });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Problem(0, t.api.away);
  }
  if (response.ok) return response;
  if (response.status === 401 && path.startsWith("/api/")) access.value = "out";
  throw new Problem(response.status, await detail(response));
}

async function detail(response: Response): Promise<string> {
  try {
    const body = (await response.json()) as { detail?: string; title?: string };
    if (body.detail ?? body.title) return String(body.detail ?? body.title);
  } catch {
    // Not a problem document: the status has to do.
  }
  return t.api.status(response.status, response.statusText);
}
