/** Time and chance, as the client takes them; tests hand in their own. */
export interface Timers {
  /** Calls `call` once after so long, unless the function that is returned was called before. */
  after: (delayMs: number, call: () => void) => () => void;
  /** From 0 to below 1. */
  random: () => number;
}

export const browserTimers: Timers = {
  after: (delayMs, call) => {
    const timer = setTimeout(call, delayMs);
    return () => clearTimeout(timer);
  },
  random: Math.random,
};
