// One stompjs client, over WebSocket or over TCP. Messages, heart-beats and the close come unasked.
import { connect } from "node:net";
import { Client, FrameImpl, Versions } from "@stomp/stompjs";
import WebSocket from "ws";
import { say, serve } from "./lines.mjs";

let client;
let socket;
const subscriptions = new Map();
const messages = new Map();
let last = 0;

// As much of a WebSocket as stompjs uses, on a plain connection.
class Socket {
  binaryType = "arraybuffer";
  readyState = 0;
  constructor(host, port) {
    this.url = `tcp://${host}:${port}`;
    this.connection = connect(port, host, () => { this.readyState = 1; this.onopen?.(); });
    this.connection.on("data", (data) => this.onmessage?.({ data: new Uint8Array(data).buffer }));
    this.connection.on("error", (error) => this.onerror?.(error));
    this.connection.on("close", () => { this.readyState = 3; this.onclose?.({ code: 1000, wasClean: true }); });
  }
  send(data) { this.connection.write(typeof data === "string" ? data : new Uint8Array(data)); }
  close() { this.readyState = 2; this.connection.end(); }
}

function withReceipt(done, act) {
  const receipt = `r${++last}`;
  client.watchForReceipt(receipt, () => done(null));
  act(receipt);
}

const verbs = {
  connect({ host, port, path, heart_beats }, done) {
    let refusal;
    const webSocket = () => new WebSocket(`ws://${host}:${port}${path}`, ["v12.stomp"]);
    client = new Client({
      webSocketFactory: () => (socket = path ? webSocket() : new Socket(host, port)),
      stompVersions: new Versions(["1.2"]),
      connectHeaders: { host },
      heartbeatOutgoing: heart_beats[0],
      heartbeatIncoming: heart_beats[1],
      reconnectDelay: 0,
      debug: (line) => { if (line === "<<< PONG") say({ beat: true }); },
      onConnect: (frame) => done(null, frame.headers),
      onStompError: (frame) => { refusal = frame.headers.message; },
      onWebSocketClose: () => say({ closed: { message: refusal } }),
    });
    client.activate();
  },

  subscribe({ destination, ack }, done) {
    const id = `s${++last}`;
    withReceipt((error) => done(error, id), (receipt) => {
      const take = (message) => {
        messages.set(message.headers.ack, message);
        say({ message: { headers: message.headers, body: Buffer.from(message.binaryBody) } });
      };
      subscriptions.set(id, client.subscribe(destination, take, { id, ack, receipt }));
    });
  },

  unsubscribe({ subscription }, done) {
    withReceipt(done, (receipt) => subscriptions.get(subscription).unsubscribe({ receipt }));
  },

  send({ destination, body, headers, receipt }, done) {
    const publish = (more) => client.publish({ destination, binaryBody: new Uint8Array(body), headers: { ...headers, ...more } });
    if (receipt) withReceipt(done, (name) => publish({ receipt: name }));
    else { publish({}); done(null); }
  },

  ack({ ack }, done) { messages.get(ack).ack(); done(null); },
  nack({ ack }, done) { messages.get(ack).nack(); done(null); },

  frame({ command, headers }, done) {
    socket.send(FrameImpl.marshall({ command, headers, escapeHeaderValues: true, skipContentLengthHeader: true }));
    done(null);
  },

  disconnect(_given, done) { client.deactivate().then(() => done(null), done); },
};

serve(verbs);
