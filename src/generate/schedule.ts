/** Which request each row draws, and which still wait: continuous batching without a GPU in sight. */

/** Rows and the requests they draw. */
export interface Schedule {
  /** Requests that no row has drawn yet. */
  readonly waiting: number;
  /** Rows that draw, in order. */
  readonly active: readonly number[];
  /** The request that a row draws; undefined when it is idle. */
  requestOf(row: number): number | undefined;
  /**
   * Gives idle rows to waiting requests, first come, first served. Rows are kept back while few are idle and others
   * still draw: a prefill for each row alone would cost more than the row's idleness.
   * @returns the rows that were given
   */
  admit(): number[];
  /** The row's response has ended. */
  release(row: number): void;
}

/** Idle rows worth a prefill: this share of all. */
const SHARE = 1 / 8;

/** `requests` requests, numbered from 0, over `rows` rows, all idle. */
export function createSchedule(requests: number, rows: number): Schedule {
  const drawing: (number | undefined)[] = Array.from({ length: rows }, () => undefined);
  let next = 0;
  const where = (idle: boolean): number[] =>
    drawing.flatMap((request, row) => ((request === undefined) === idle ? [row] : []));
  return {
    get waiting() {
      return requests - next;
    },
    get active() {
      return where(false);
    },
    requestOf: (row) => drawing[row],
    admit() {
      const idle = where(true);
      const some = idle.slice(0, requests - next);
      const enough = idle.length === rows || some.length === requests - next || idle.length >= rows * SHARE;
      if (!enough) return [];
      for (const row of some) drawing[row] = next++;
      return some;
    },
    release(row) {
      drawing[row] = undefined;
    },
  };
}

/** What {@link stepsUntilLook} goes by. */
export interface Outlook {
  /** Tokens that each active row may still draw, at least one row. */
  readonly left: readonly number[];
  /** Whether requests wait for a row. */
  readonly waiting: boolean;
  /** Most steps without a look: few where responses end early or someone watches. */
  readonly most: number;
}

/** Decoding steps until something may have to be done: no step is for rows that have surely all ended. */
export function stepsUntilLook({ left, waiting, most }: Outlook): number {
  return Math.min(most, waiting ? Math.min(...left) : Math.max(...left));
}
