/**
 * Advantages from per-token rewards and values, on ragged rows: row i has `lengths[i]` real tokens and what stands after
 * them is never read. So no result depends on padding or on which other rows share the batch. alignment.md 1.9.
 */

import { ShapeError } from "../../errors.ts";

/** Rows of per-token numbers; a row may be longer than its length. */
export type Rows = readonly ArrayLike<number>[];

/** Input of {@link gae}. */
export interface GaeInput {
  /** Reward of producing token t. */
  rewards: Rows;
  /** Value at the position that predicts token t. */
  values: Rows;
  /** Real tokens of each row; default: the length of its `rewards`. */
  lengths?: readonly number[];
  gamma: number;
  lam: number;
}

/**
 * Generalised advantage estimation: delta_t = r_t + gamma V_{t+1} - V_t, A_t = delta_t + gamma lam A_{t+1}, nothing after the
 * last real token (V = A = 0). `returns` = A + V, the value function's target, before any whitening.
 * Source: Schulman et al., "High-dimensional continuous control using generalized advantage estimation", 2016, Eq. 16.
 * @throws ShapeError where rows and lengths do not fit.
 */
export function gae(input: GaeInput): { advantages: Float64Array[]; returns: Float64Array[] } {
  const { rewards, values, gamma, lam } = input;
  const lengths = input.lengths ?? rewards.map((row) => row.length);
  checkRows({ rewards, values }, lengths);
  const advantages = lengths.map((length, i) =>
    rowAdvantages(rewards[i] ?? [], values[i] ?? [], length, gamma, lam),
  );
  const returns = advantages.map((row, i) => row.map((advantage, t) => advantage + (values[i]?.[t] ?? NaN)));
  return { advantages, returns };
}

/** Options of {@link whiten}. */
export interface WhitenOptions {
  /** Divide the squares by n - 1 instead of n. Default false. */
  unbiased?: boolean;
  /** Subtract the mean. Default true; false only rescales. */
  shiftMean?: boolean;
}

/**
 * (x - mean) / sqrt(variance + 1e-8) over all real tokens of all rows: the whole rollout batch, never padding, never a
 * minibatch. Rows are already ragged, as {@link gae} returns them. A lone token has variance 0.
 */
export function whiten(rows: readonly Float64Array[], options: WhitenOptions = {}): Float64Array[] {
  const { unbiased = false, shiftMean = true } = options;
  const count = rows.reduce((n, row) => n + row.length, 0);
  const sumOver = (term: (x: number) => number): number =>
    rows.reduce((sum, row) => row.reduce((partial, x) => partial + term(x), sum), 0);
  const mean = sumOver((x) => x) / count;
  const variance = sumOver((x) => (x - mean) ** 2) / Math.max(1, unbiased ? count - 1 : count);
  const scale = 1 / Math.sqrt(variance + 1e-8);
  const offset = shiftMean ? 0 : mean;
  return rows.map((row) => row.map((x) => (x - mean) * scale + offset));
}

function rowAdvantages(
  rewards: ArrayLike<number>,
  values: ArrayLike<number>,
  length: number,
  gamma: number,
  lam: number,
): Float64Array {
  const advantages = new Float64Array(length);
  let nextValue = 0;
  let nextAdvantage = 0;
  for (let t = length - 1; t >= 0; t--) {
    const value = values[t] ?? NaN;
    nextAdvantage = (rewards[t] ?? NaN) + gamma * nextValue - value + gamma * lam * nextAdvantage;
    advantages[t] = nextAdvantage;
    nextValue = value;
  }
  return advantages;
}

function checkRows(named: Record<string, Rows>, lengths: readonly number[]): void {
  for (const [name, rows] of Object.entries(named)) {
    if (rows.length !== lengths.length) {
      throw new ShapeError(
        `gae: ${name} has ${rows.length} rows, lengths has ${lengths.length}; expected as many`,
      );
    }
    const short = rows.findIndex((row, i) => row.length < (lengths[i] ?? 0));
    if (short >= 0) {
      throw new ShapeError(
        `gae: row ${short} of ${name} holds ${rows[short]?.length}, its length is ${lengths[short]}`,
      );
    }
  }
}
