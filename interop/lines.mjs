// A client library driven by one JSON object a line on standard input: {number, verb, …} is answered by
// {number, answer}, {number, refused} or {number, error}; what is said unasked has no number.
import { createInterface } from "node:readline";

export const say = (object) => process.stdout.write(JSON.stringify(object, encoded) + "\n");

// A Buffer has already become {type, data} when JSON.stringify hands it over.
function encoded(_key, value) {
  return value?.type === "Buffer" ? { bytes: Buffer.from(value.data).toString("base64") } : value;
}

function decoded(_key, value) {
  return typeof value?.bytes === "string" ? Buffer.from(value.bytes, "base64") : value;
}

// Each verb is a function of what is given, after `prepare`, and of `done(error, answer)`.
export function serve(verbs, prepare = (given) => given) {
  createInterface({ input: process.stdin })
    .on("line", (line) => {
      const { number, verb, ...given } = JSON.parse(line, decoded);
      let answered = false;
      verbs[verb](prepare(given), (error, answer) => {
        if (answered) return;
        answered = true;
        if (error?.code >= 1 && error.code <= 255) say({ number, refused: error.code });
        else if (error) say({ number, error: String(error.message || error) });
        else say({ number, answer });
      });
    })
    .on("close", () => process.exit());
}
