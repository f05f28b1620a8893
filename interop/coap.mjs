// The npm package `coap`: responses answer a verb, notifications are said unasked.
import coap from "coap";
import { say, serve } from "./lines.mjs";

const agent = new coap.Agent({ type: "udp4" });
const streams = new Map();

// What is kept of a response: code, payload, and options as numbers, text or bytes.
function shown(response) {
  const { code, payload } = response;
  const options = Object.fromEntries(response.options.map(({ name, value }) => [name, value]));
  return { code, payload, options };
}

function request({ host, port, path, query, method, confirmable, observe, options, payload }, done) {
  const sent = coap.request({ hostname: host, port, pathname: path, query, method, confirmable, observe, agent });
  for (const [name, value] of Object.entries(options ?? {})) sent.setOption(name, value);
  sent.on("error", done);
  sent.on("response", (response) => done(null, response));
  sent.end(payload);
}

serve({
  ask(given, done) {
    request(given, (error, response) => done(error, response && shown(response)));
  },
  observe(given, done) {
    request({ ...given, method: "GET", observe: true }, (error, response) => {
      if (error) return done(error);
      streams.set(given.path, response);
      response.on("data", (payload) => say({ told: { path: given.path, payload } }));
      done(null, shown(response));
    });
  },
  forget({ path }, done) {
    streams.get(path).close();
    streams.delete(path);
    done(null);
  },
});
