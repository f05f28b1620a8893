/** The lines of two texts, side by side in one list. */

export interface DiffLine {
  kind: "same" | "gone" | "new";
  text: string;
}

/** Longer texts are shown one after the other: the table of the comparison grows with the square. */
const LINES_MAX = 600;

export function diff(before: string, after: string): DiffLine[] {
  const [a, b] = [before.split("\n"), after.split("\n")];
  if (a.length > LINES_MAX || b.length > LINES_MAX) {
    return [...a.map((text): DiffLine => ({ kind: "gone", text })), ...b.map((text): DiffLine => ({ kind: "new", text }))];
  }
  const lengths = longest(a, b);
  const width = b.length + 1;
  const lines: DiffLine[] = [];
  let [i, j] = [0, 0];
  while (i < a.length && j < b.length) {
    if (a[i] === b[j]) {
      lines.push({ kind: "same", text: a[i++] ?? "" });
      j++;
    } else if ((lengths[(i + 1) * width + j] ?? 0) >= (lengths[i * width + j + 1] ?? 0)) {
      lines.push({ kind: "gone", text: a[i++] ?? "" });
    } else lines.push({ kind: "new", text: b[j++] ?? "" });
  }
  a.slice(i).forEach((text) => lines.push({ kind: "gone", text }));
  b.slice(j).forEach((text) => lines.push({ kind: "new", text }));
  return lines;
}

/** The length of the longest common subsequence of what begins at each pair of lines. */
function longest(a: string[], b: string[]): Uint16Array {
  const width = b.length + 1;
  const lengths = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      const [below, beside] = [lengths[(i + 1) * width + j] ?? 0, lengths[i * width + j + 1] ?? 0];
      lengths[i * width + j] = a[i] === b[j] ? (lengths[(i + 1) * width + j + 1] ?? 0) + 1 : Math.max(below, beside);
    }
  }
  return lengths;
}
