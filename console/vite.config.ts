import { defineConfig } from "vite";

/** A running broker, for `npm run dev`. */
const broker = "http://127.0.0.1:8080";

export default defineConfig({
  base: "./",
  resolve: { dedupe: ["preact"] },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    target: "es2022",
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
    // The names are stable, so that a change of the source shows as a change of these files and of no others; the server
    // tells browsers by ETag what is new.
    rolldownOptions: {
      output: {
        entryFileNames: "console.js",
        chunkFileNames: "[name].js",
        assetFileNames: (asset) => (asset.names[0]?.endsWith(".css") ? "console.css" : "[name][extname]"),
        codeSplitting: false,
      },
    },
    cssCodeSplit: false,
    // Nothing inline: the policy of the page allows what comes from its own origin and nothing else.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
  },
  server: {
    proxy: Object.fromEntries(
      ["/api", "/topics", "/request", "/mqtt", "/stomp", "/json", "/ws"].map((path) => [
        path,
        // The broker refuses pages of other origins, and this one's is the development server's.
        { target: broker, changeOrigin: true, ws: true, headers: { origin: broker } },
      ]),
    ),
  },
});
