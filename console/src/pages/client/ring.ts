/** The last things of a kind: bounded in number and in bytes, the oldest go first. */
export class Ring<T> {
  /** How many have ever been put in; the first that is still there is number `total - length`. */
  total = 0;
  private items: T[] = [];
  private sizes: number[] = [];
  private first = 0;
  private heldBytes = 0;

  constructor(
    readonly itemsMax: number,
    readonly bytesMax: number,
  ) {}

  get length(): number {
    return this.items.length - this.first;
  }

  push(item: T, bytes: number) {
    this.items.push(item);
    this.sizes.push(bytes);
    this.heldBytes += bytes;
    this.total++;
    while (this.length > this.itemsMax || (this.heldBytes > this.bytesMax && this.length > 1)) {
      this.heldBytes -= this.sizes[this.first]!;
      this.items[this.first++] = undefined as T;
    }
    // What has gone is cut off now and then: each item is moved once on average.
    if (this.first > this.itemsMax) {
      this.items = this.items.slice(this.first);
      this.sizes = this.sizes.slice(this.first);
      this.first = 0;
    }
  }

  /** The item at a place from the oldest on. */
  at(index: number): T | undefined {
    return this.items[this.first + index];
  }

  clear() {
    this.items = [];
    this.sizes = [];
    this.first = this.heldBytes = 0;
  }
}

/** Lets so many through in each tenth of a second; beyond that, every n-th. */
export class Sampler {
  /** 1 while everything is let through. */
  every = 1;
  private seen = 0;
  private since = 0;

  constructor(private readonly windowMax: number) {}

  /** Whether what comes at this moment is kept. */
  keeps(nowMs: number): boolean {
    if (nowMs - this.since >= 100) {
      // A window that was not full ends the sampling.
      this.every = Math.max(1, Math.ceil(this.seen / this.windowMax));
      this.seen = 0;
      this.since = nowMs;
    }
    return this.seen++ % this.every === 0;
  }

  /** Nothing has come for a while: whether that ends the sampling. */
  rest(nowMs: number) {
    if (nowMs - this.since >= 300) this.every = 1;
  }
}
