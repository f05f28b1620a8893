// One stompit client. Messages and the close come unasked.
import stompit from "stompit";
import { say, serve } from "./lines.mjs";

let client;
const subscriptions = new Map();
const messages = new Map();

// Neither SUBSCRIBE nor UNSUBSCRIBE takes a receipt here: one for a frame behind them says as much.
function fence(done) {
  client.send({ destination: "/topic/stompit/fence" }, { onReceipt: () => done(null), onError: done }).end();
}

async function take(message) {
  const chunks = [];
  for await (const chunk of message) chunks.push(chunk);
  messages.set(message.headers.ack, message);
  say({ message: { headers: message.headers, body: Buffer.concat(chunks) } });
}

const verbs = {
  connect({ host, port, heart_beats }, done) {
    const connectHeaders = { host, "accept-version": "1.2", "heart-beat": heart_beats.join(",") };
    stompit.connect({ host, port, connectHeaders }, (error, connected) => {
      if (error) return done(error);
      client = connected;
      let refusal;
      client.on("error", (failure) => { refusal = failure.isApplicationError?.() ? failure.message : undefined; });
      client.on("close", () => say({ closed: { message: refusal } }));
      done(null, client.headers);
    });
  },

  subscribe({ destination, ack }, done) {
    const subscription = client.subscribe({ destination, ack }, (error, message) => { if (!error) take(message); });
    const id = String(subscription.getId());
    subscriptions.set(id, subscription);
    fence((error) => done(error, id));
  },

  unsubscribe({ subscription }, done) {
    subscriptions.get(subscription).unsubscribe();
    fence(done);
  },

  send({ destination, body, headers, receipt }, done) {
    const options = receipt ? { onReceipt: () => done(null), onError: done } : {};
    client.send({ ...headers, destination, "content-length": body.length }, options).end(body);
    if (!receipt) done(null);
  },

  ack({ ack }, done) { client.ack(messages.get(ack)); done(null); },
  nack({ ack }, done) { client.nack(messages.get(ack)); done(null); },
  frame({ command, headers }, done) { client.sendFrame(command, headers).end(); done(null); },
  disconnect(_given, done) { client.disconnect((error) => done(error)); },
};

serve(verbs);
