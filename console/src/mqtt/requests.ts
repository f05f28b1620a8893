/** Request and response (5.0 §4.10): a request says where its answer goes, and by which data it is known. */

import { t } from "../texts";
import { type Client, type Delivery, Unanswered } from "./client";
import type { Message } from "./codec";
import { type Timers, browserTimers } from "./timers";

interface Pending {
  responseTopic: string;
  /** `null` in 3.1.1: whatever comes on the response topic is the answer. */
  correlation: string | null;
  resolve: (delivery: Delivery) => void;
}

export class Requests {
  private readonly pending = new Set<Pending>();
  private readonly subscribed = new Set<string>();

  constructor(
    private readonly client: Client,
    private readonly timers: Timers = browserTimers,
  ) {}

  /** Publishes the request, and waits for the first answer. A response topic of its own may stand in the properties. */
  async ask(request: Message, timeoutMs: number): Promise<Delivery> {
    const isV5 = this.client.options.version === 5;
    const responseTopic = request.properties.responseTopic ?? `althing/response/${this.client.options.clientId}`;
    const correlationData = request.properties.correlationData ?? this.correlationData();
    await this.listen(responseTopic, request.qos);
    return new Promise((resolve, reject) => {
      const pending = { responseTopic, correlation: isV5 ? key(correlationData) : null, resolve: done };
      const stop = this.timers.after(timeoutMs, () =>
        fail(new Unanswered(t.mqtt.noAnswer(responseTopic, timeoutMs / 1_000))),
      );
      const leave = () => {
        stop();
        this.pending.delete(pending);
      };
      function done(delivery: Delivery) {
        leave();
        resolve(delivery);
      }
      function fail(error: Error) {
        leave();
        reject(error);
      }
      this.pending.add(pending);
      const properties = { ...request.properties, responseTopic, correlationData };
      this.client
        .publish({ ...request, properties: isV5 ? properties : {} })
        .then((outcome) => outcome.ok || fail(new Unanswered(t.mqtt.requestRefused(outcome.words))), fail);
    });
  }

  /** Looks whether a message is an answer that somebody waits for. */
  take(delivery: Delivery) {
    const correlation = delivery.properties.correlationData;
    for (const pending of this.pending) {
      if (pending.responseTopic !== delivery.topic) continue;
      if (pending.correlation !== null && (!correlation || key(correlation) !== pending.correlation)) continue;
      return pending.resolve(delivery);
    }
  }

  private async listen(responseTopic: string, qos: Message["qos"]) {
    if (this.subscribed.has(responseTopic)) return;
    const [outcome] = await this.client.subscribe([{ filter: responseTopic, qos }]);
    if (!outcome?.ok) throw new Unanswered(t.mqtt.responseRefused(outcome?.words ?? ""));
    this.subscribed.add(responseTopic);
  }

  private correlationData(): Uint8Array {
    return Uint8Array.from({ length: 8 }, () => Math.floor(this.timers.random() * 256));
  }
}

function key(bytes: Uint8Array): string {
  return bytes.join();
}
