import type { Socket, World } from "../src/mqtt/client";
import { toHex } from "./bytes";

/** A world without time and network: tests say what the broker sends and when. */
export class FakeWorld implements World {
  sockets: FakeSocket[] = [];
  private pending: { at: number; call: () => void }[] = [];
  private now = 0;

  timers = {
    after: (delayMs: number, call: () => void) => {
      const timer = { at: this.now + delayMs, call };
      this.pending.push(timer);
      return () => void (this.pending = this.pending.filter((it) => it !== timer));
    },
    random: () => 0.5,
  };

  open = (): Socket => {
    const socket = new FakeSocket();
    this.sockets.push(socket);
    return socket;
  };

  get socket(): FakeSocket {
    return this.sockets[this.sockets.length - 1]!;
  }

  /** Lets so much time go by. */
  pass(ms: number) {
    const until = this.now + ms;
    for (;;) {
      const due = this.pending.filter((it) => it.at <= until).sort((one, other) => one.at - other.at)[0];
      if (!due) break;
      this.pending = this.pending.filter((it) => it !== due);
      this.now = due.at;
      due.call();
    }
    this.now = until;
  }
}

export class FakeSocket implements Socket {
  binaryType = "";
  protocol = "mqtt";
  onopen: Socket["onopen"] = null;
  onmessage: Socket["onmessage"] = null;
  onclose: Socket["onclose"] = null;
  onerror: Socket["onerror"] = null;
  isClosed = false;
  private out: string[] = [];

  send(data: Uint8Array) {
    this.out.push(toHex(data));
  }

  close() {
    this.isClosed = true;
  }

  /** What has been sent since the last time, a packet each. */
  sent(): string[] {
    return this.out.splice(0);
  }

  /** The broker says this, in frames as they stand. */
  says(...frames: string[]) {
    for (const frame of frames) {
      const bytes = Buffer.from(frame.replaceAll(" ", ""), "hex");
      this.onmessage?.({ data: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) });
    }
  }
}

/** Lets promises that are settled call those who wait for them. */
export async function settled() {
  for (let turn = 0; turn < 8; turn++) await Promise.resolve();
}
