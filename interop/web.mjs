// The npm packages `ws` and `eventsource`: what comes is said unasked, as {text}, {bytes}, {event} and {closed}.
import { EventSource } from "eventsource";
import WebSocket from "ws";
import { say, serve } from "./lines.mjs";

let socket;
let source;

serve({
  open({ url, protocols }, done) {
    socket = new WebSocket(url, protocols);
    socket.on("open", () => done(null, { protocol: socket.protocol, extensions: socket.extensions }));
    socket.on("unexpected-response", (_request, response) => done(new Error(`status ${response.statusCode}`)));
    socket.on("message", (data, isBinary) => say(isBinary ? { bytes_said: data } : { text: data.toString() }));
    socket.on("pong", () => say({ pong: true }));
    socket.on("close", (code, reason) => say({ closed: { code, reason: reason.toString() } }));
    socket.on("error", (error) => done(error));
  },
  send({ text, bytes }, done) { socket.send(text ?? bytes, () => done(null)); },
  ping(_given, done) { socket.ping("here?"); done(null); },
  close({ code, reason }, done) { socket.close(code, reason); done(null); },

  listen({ url }, done) {
    source = new EventSource(url);
    source.onopen = () => { say({ opened: true }); done(null); };
    for (const name of ["message", "retained", "gap"]) {
      source.addEventListener(name, (event) => say({ event: { name, data: event.data, id: event.lastEventId } }));
    }
  },
});
