// Chromium, driven by playwright-core: one page at a time. What is found by role and label is found as those find it who hear
// the page.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";
import { serve } from "./lines.mjs";

const require = createRequire(import.meta.url);
const script = (name) => readFileSync(require.resolve(name), "utf8");
const ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run"];
const PATIENCE_MS = 20_000;

let browser;
let page;
let errors = [];
// Cookies of who has logged in.
let login;

// `within` narrows to a region by its label; a `selector` is for what has no name of its own.
function find({ role, name, label, text, selector, exact = false, within }) {
  const area = within ? page.getByLabel(within, { exact: true }) : page;
  if (selector) return area.locator(selector).first();
  if (label) return area.getByLabel(label, { exact }).first();
  if (role) return area.getByRole(role, { name, exact }).first();
  return area.getByText(text, { exact }).first();
}

async function toWebP(url) {
  const bytes = Uint8Array.from(atob(url.split(",")[1]), (letter) => letter.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const canvas = new OffscreenCanvas(image.width, image.height);
  canvas.getContext("2d").drawImage(image, 0, 0);
  const blob = await canvas.convertToBlob({ type: "image/webp", quality: 0.85 });
  const letters = Array.from(new Uint8Array(await blob.arrayBuffer()), (byte) => String.fromCharCode(byte));
  return `data:image/webp;base64,${btoa(letters.join(""))}`;
}

const verbs = {
  // A fresh profile, of a `stranger` when nobody is to be logged in; whatever the page says to its console from here on is kept.
  async open({ url, stranger = false, dark = false, width = 1280, height = 800 }) {
    browser ??= await chromium.launch({ executablePath: "/usr/bin/chromium", args: ARGUMENTS });
    await page?.context().close();
    const viewport = { width, height };
    const storageState = stranger ? undefined : login;
    const context = await browser.newContext({ viewport, colorScheme: dark ? "dark" : "light", reducedMotion: "reduce", storageState });
    page = await context.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    errors = [];
    page.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warning") errors.push(message.text());
    });
    page.on("pageerror", (error) => errors.push(String(error)));
    await page.goto(url);
  },
  // Opens an address that logs in, and stays logged in from then on.
  async enter({ url }) {
    await verbs.open({ url });
    await page.getByRole("navigation").waitFor();
    login = await page.context().storageState();
  },
  goto: ({ url }) => page.goto(url),
  click: (what) => find(what).click(),
  fill: (what) => find(what).fill(what.value),
  choose: (what) => find(what).selectOption(what.value),
  check: (what) => find(what).check(),
  press: ({ key }) => page.keyboard.press(key),
  see: (what) => find(what).waitFor(),
  gone: (what) => find(what).waitFor({ state: "detached" }),
  text: (what) => find(what).innerText(),
  count: ({ selector }) => page.locator(selector).count(),
  // An expression or a function's text; a promise is waited for.
  run: ({ code, argument }) => page.evaluate(`(${code})(${JSON.stringify(argument ?? null)})`),
  errors: () => errors,
  // What axe calls serious or critical, a line each.
  async axe() {
    await page.evaluate(script("axe-core"));
    const { violations } = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })");
    const bad = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
    return bad.map(({ id, help, nodes }) => `${id}: ${help} (${nodes.slice(0, 3).map((node) => node.target).join(", ")})`);
  },
  // A bundle of npm, known to the page by a name.
  library: ({ module, name }) => page.evaluate(`${script(module)};globalThis.${name} = ${name}; null`),
  // Scrolls from top to bottom in so many frames; milliseconds from frame to frame.
  frames: ({ selector, count }) =>
    page.evaluate(
      ([selector, count]) =>
        new Promise((resolve) => {
          const area = document.querySelector(selector);
          const times = [];
          let last;
          const step = (now) => {
            if (last !== undefined) times.push(now - last);
            last = now;
            area.scrollTop = (area.scrollHeight * times.length) / count;
            if (times.length < count) requestAnimationFrame(step);
            else resolve(times);
          };
          requestAnimationFrame(step);
        }),
      [selector, count],
    ),
  // Bytes of the JavaScript heap, after a collection.
  async heap() {
    const session = await page.context().newCDPSession(page);
    await session.send("HeapProfiler.collectGarbage");
    const { usedSize } = await session.send("Runtime.getHeapUsage");
    await session.detach();
    return usedSize;
  },
  // As WebP, which the browser makes itself.
  async screenshot({ path }) {
    const png = await page.screenshot({ animations: "disabled" });
    const url = await page.evaluate(toWebP, `data:image/png;base64,${png.toString("base64")}`);
    writeFileSync(path, Buffer.from(url.split(",")[1], "base64"));
  },
  async end() {
    await browser?.close();
    browser = page = undefined;
  },
};

serve(
  Object.fromEntries(
    Object.entries(verbs).map(([name, verb]) => [
      name,
      (given, done) => (async () => verb(given))().then((answer) => done(null, answer), done),
    ]),
  ),
);
