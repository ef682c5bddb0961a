/**
 * Best-of-N at inference, as a curve over N from one set of M reference samples: nothing is drawn again a point.
 * Formulas: alignment.md 1.7, 2 and 3.1; Nakano et al., "WebGPT", 2021, for the order-statistic estimator.
 */

import { ConfigError } from "../errors.ts";
import { countAtMost, countBelow, sortScores } from "./ranks.ts";

/** One point of the curve. `winRate` is undefined where N = M leaves no opponent. */
export interface BonPoint {
  n: number;
  /** Mean over prompts of the expected best score of n samples. */
  reward: number;
  /** Mean over prompts of the chance to beat one further reference sample, ties half. */
  winRate: number | undefined;
  /** log n - (n - 1)/n, nats: an upper bound, exact for continuous scores. */
  klBound: number;
}

/** KL(pi_bon || pi_ref) <= log n - (n - 1)/n, nats; equality for continuous scores (Beirami et al. 2024). n real >= 1. */
export function bonKlBound(n: number): number {
  return Math.log(n) - (n - 1) / n;
}

/** Chance that the best of n beats one reference sample when scores are continuous: n/(n + 1). */
export function bonWinRate(n: number): number {
  return n / (n + 1);
}

/**
 * Unbiased expected best score of n of the M given samples: sum_k C(k-1, n-1)/C(M, n) r_(k).
 * @throws ConfigError unless n is an integer, 1 <= n <= M, and the scores are finite.
 */
export function expectedBest(scores: ArrayLike<number>, n: number): number {
  const sorted = sortScores(scores, "expectedBest");
  return weightedSum(sorted, bestWeights(sorted.length, n), (score) => score);
}

/**
 * Unbiased chance, ties half, that the best of n of the M samples beats one of the M - n left over. Averages over
 * every split exactly: given the winner at sorted place k, its n - 1 losers are uniform among the k - 1 before it.
 * @throws ConfigError unless n is an integer and 1 <= n < M.
 */
export function expectedBonWin(scores: ArrayLike<number>, n: number): number {
  const sorted = sortScores(scores, "expectedBonWin");
  const size = sorted.length;
  if (n >= size) throw new ConfigError(`expectedBonWin: n is ${n}; expected less than the ${size} samples`);
  return weightedSum(sorted, bestWeights(size, n), (score, place) => {
    const below = countBelow(sorted, score);
    const left = place === 1 ? 1 : 1 - (n - 1) / (place - 1);
    const tied = (place - 1 - below) * left + countAtMost(sorted, score) - place;
    return (below * left + tied / 2) / (size - n);
  });
}

/**
 * The curve over `ns`, averaged over prompts with equal weight; `prompts` are lists of reference scores.
 * @throws ConfigError where some n exceeds a prompt's number of samples.
 */
export function bonCurve(prompts: readonly ArrayLike<number>[], ns: readonly number[]): BonPoint[] {
  const mean = (value: (scores: ArrayLike<number>) => number): number =>
    prompts.reduce((sum, scores) => sum + value(scores), 0) / prompts.length;
  const fewest = Math.min(...prompts.map((scores) => scores.length));
  return ns.map((n) => ({
    n,
    reward: mean((scores) => expectedBest(scores, n)),
    winRate: n < fewest ? mean((scores) => expectedBonWin(scores, n)) : undefined,
    klBound: bonKlBound(n),
  }));
}

/**
 * Exact KL(pi_bon || pi_ref) when equal scores are chosen among uniformly: sum over levels of P_n log(P_n/P_1), where
 * P_n(j) = C_j^n - C_(j-1)^n and C is the cumulative probability. `levels` are probabilities in ascending order of score.
 * @throws ConfigError unless they are non-negative and sum to 1 within 1e-9.
 */
export function tieGroupKl(levels: readonly number[], n: number): number {
  const total = levels.reduce((sum, p) => sum + p, 0);
  if (Math.abs(total - 1) > 1e-9 || levels.some((p) => !(p >= 0))) {
    throw new ConfigError(
      `tieGroupKl: level probabilities sum to ${total}; expected non-negative numbers that sum to 1`,
    );
  }
  let kl = 0;
  let before = 0;
  for (const p of levels) {
    const after = before + p / total;
    const chosen = after ** n - before ** n;
    if (chosen > 0) kl += chosen * Math.log(chosen / (after - before));
    before = after;
  }
  return kl;
}

/** P(the best of n sits at sorted place k), k = 1..M: n/M at the top, then times (k - n)/(k - 1) a step down. */
function bestWeights(size: number, n: number): Float64Array {
  if (!Number.isInteger(n) || n < 1 || n > size) {
    throw new ConfigError(`Best-of-N curve: n is ${n}; expected an integer from 1 to the ${size} samples`);
  }
  const weights = new Float64Array(size);
  let weight = n / size;
  for (let place = size; place >= n; place--) {
    weights[place - 1] = weight;
    weight *= place === 1 ? 0 : (place - n) / (place - 1);
  }
  return weights;
}

function weightedSum(
  sorted: Float64Array,
  weights: Float64Array,
  value: (score: number, place: number) => number,
): number {
  return sorted.reduce((sum, score, i) => {
    const weight = weights[i] ?? 0;
    return weight === 0 ? sum : sum + weight * value(score, i + 1);
  }, 0);
}
