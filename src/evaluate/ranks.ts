/**
 * Ranks in a sorted list of scores: the one place that sorts and searches. The CDF, the win rate and the
 * Kolmogorov-Smirnov test all count with these.
 */

import { ConfigError } from "../errors.ts";

/**
 * An ascending copy in float64.
 * @throws ConfigError for an empty list or a value that is not finite: NaN sorts last and would make F = 1.
 */
export function sortScores(scores: ArrayLike<number>, who = "scores"): Float64Array {
  if (scores.length === 0) throw new ConfigError(`${who}: expected at least one score, got none`);
  const sorted = Float64Array.from(scores);
  const bad = sorted.findIndex((score) => !Number.isFinite(score));
  if (bad >= 0)
    throw new ConfigError(
      `${who}: score ${bad} is ${sorted[bad]}; expected finite numbers: check the reward`,
    );
  return sorted.sort();
}

/** #{m : sorted_m < score}: searchsorted, side left. -0 and 0 are equal. */
export function countBelow(sorted: Float64Array, score: number): number {
  return firstIndex(sorted, (value) => value >= score);
}

/** #{m : sorted_m <= score}: searchsorted, side right. */
export function countAtMost(sorted: Float64Array, score: number): number {
  return firstIndex(sorted, (value) => value > score);
}

/** Share of `sorted` that `score` beats, ties half: (kL + (kR - kL) / 2) / M, in [0, 1]. */
export function fractionBeaten(sorted: Float64Array, score: number): number {
  return (countBelow(sorted, score) + countAtMost(sorted, score)) / (2 * sorted.length);
}

/** Sizes of the groups of equal values, ascending; they sum to M. */
export function tieGroups(sorted: Float64Array): number[] {
  const sizes: number[] = [];
  for (let start = 0; start < sorted.length;) {
    const end = countAtMost(sorted, sorted[start] ?? 0);
    sizes.push(end - start);
    start = end;
  }
  return sizes;
}

/** Number of unordered pairs of equal values, and their share of all M (M - 1) / 2 pairs (0 when M = 1). */
export function tiedPairs(sorted: Float64Array): { count: number; rate: number } {
  const pairs = (m: number): number => (m * (m - 1)) / 2;
  const count = tieGroups(sorted).reduce((sum, size) => sum + pairs(size), 0);
  return { count, rate: sorted.length < 2 ? 0 : count / pairs(sorted.length) };
}

function firstIndex(sorted: Float64Array, reached: (value: number) => boolean): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (reached(sorted[middle] ?? 0)) high = middle;
    else low = middle + 1;
  }
  return low;
}
