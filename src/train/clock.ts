/** Where time goes. */

/** Seconds by what they were spent on, in order of first use. */
export interface Clock {
  readonly seconds: Readonly<Record<string, number>>;
  add(what: string, seconds: number): void;
  /** Runs `work` and counts its seconds. */
  time<T>(what: string, work: () => T | Promise<T>): Promise<T>;
}

/** A clock at 0. */
export function createClock(): Clock {
  const seconds: Record<string, number> = {};
  const add = (what: string, more: number): void => void (seconds[what] = (seconds[what] ?? 0) + more);
  return {
    seconds,
    add,
    async time(what, work) {
      const start = performance.now();
      const result = await work();
      add(what, (performance.now() - start) / 1000);
      return result;
    },
  };
}
