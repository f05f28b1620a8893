/** What was saved in this browser, and its way into a file and back. */

import { signal } from "@preact/signals";
import { type Step, WrongCollection, readCollection, writeCollection } from "./collection";

const KEY = "client.saved";
const STEPS_MAX = 500;

export const saved = signal<Step[]>(load());

export function keep(step: Step) {
  store([...saved.value, step].slice(-STEPS_MAX));
}

export function forget(index: number) {
  store(saved.value.filter((_, at) => at !== index));
}

export function rename(index: number, name: string) {
  store(saved.value.map((step, at) => (at === index ? { ...step, name } : step)));
}

/** Gives the steps to the browser as a file. */
export function exportFile() {
  const text = writeCollection("console", saved.value);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = "althing-collection.json";
  link.click();
  URL.revokeObjectURL(link.href);
}

/** Adds the steps of a file; the number of them. */
export async function importFile(file: File): Promise<number> {
  const { steps } = readCollection(await file.text());
  store([...saved.value, ...steps].slice(-STEPS_MAX));
  return steps.length;
}

function store(steps: Step[]) {
  saved.value = steps;
  localStorage.setItem(KEY, JSON.stringify(steps));
}

function load(): Step[] {
  try {
    return readCollection(`{"format":"althing-collection/1","steps":${localStorage.getItem(KEY) ?? "[]"}}`).steps;
  } catch (error) {
    if (error instanceof WrongCollection) return [];
    throw error;
  }
}
