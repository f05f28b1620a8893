// Bundles the tests, which are TypeScript, and runs them with Node's own runner.
//
//     node test/run.mjs [NAME...]      e.g. `codec client`; without names all of them
//
// `broker.test.ts` talks to the broker at MQTT_URL (ws://…), and is left out without one.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";

const here = dirname(fileURLToPath(import.meta.url));
const names = process.argv.slice(2);
const isWanted = (file) => file.endsWith(".test.ts") && (names.length === 0 || names.includes(file.split(".")[0]));
const files = readdirSync(here).filter(isWanted);
const outDir = mkdtempSync(join(tmpdir(), "althing-console-test-"));
try {
  await build({
    root: dirname(here),
    configFile: false,
    publicDir: false,
    logLevel: "error",
    build: {
      ssr: true,
      outDir,
      emptyOutDir: true,
      target: "node20",
      rolldownOptions: {
        input: Object.fromEntries(files.map((file) => [file.slice(0, -3), join(here, file)])),
        output: { entryFileNames: "[name].mjs" },
      },
    },
  });
  const bundles = readdirSync(outDir).filter((file) => file.endsWith(".test.mjs"));
  const tests = bundles.map((file) => join(outDir, file));
  const { status } = spawnSync(process.execPath, ["--experimental-websocket", "--test", ...tests], {
    stdio: "inherit",
  });
  process.exitCode = status ?? 1;
} finally {
  rmSync(outDir, { recursive: true, force: true });
}
