/**
 * How often a policy's sample beats a reference sample of the same prompt. The mean rank among all M cached scores, ties
 * half, has far less variance than one opponent a sample (alignment.md 0.9 and 3.1).
 */

import { ConfigError } from "../errors.ts";
import type { Random } from "../tensor/random.ts";
import { fractionBeaten, sortScores } from "./ranks.ts";

/** A mean and its percentile interval. */
export interface Interval {
  mean: number;
  low: number;
  high: number;
}

/** One prompt: scores of the policy's samples and of the reference's, any order. */
export interface PromptScores {
  policy: readonly number[];
  reference: ArrayLike<number>;
}

/**
 * Win rate of each prompt: mean over the policy's samples of (kL + (kR - kL)/2)/M, in [0, 1].
 * @throws ConfigError for an empty list or a score that is not finite.
 */
export function promptWinRates(prompts: readonly PromptScores[]): number[] {
  return prompts.map(({ policy, reference }) => {
    const sorted = sortScores(reference, "win rate, reference");
    const scores = sortScores(policy, "win rate, policy");
    return meanOf(scores.map((score) => fractionBeaten(sorted, score)));
  });
}

/** Share of pairs that the first score wins, ties half: one fixed opponent a sample (the released code's metric, minus its bias). */
export function pairedWinRate(scores: readonly number[], opponents: readonly number[]): number {
  if (scores.length !== opponents.length || scores.length === 0) {
    throw new ConfigError(
      `pairedWinRate: ${scores.length} scores and ${opponents.length} opponents; expected as many, at least one`,
    );
  }
  return meanOf(scores.map((score, i) => (1 + Math.sign(score - (opponents[i] ?? NaN))) / 2));
}

/**
 * Mean over prompts with a bootstrap percentile interval, prompts resampled with replacement: samples of one prompt are
 * not independent, prompts are. `random` decides it: the same stream gives the same interval.
 */
export function bootstrapMean(
  perPrompt: readonly number[],
  random: Random,
  { level = 0.95, resamples = 1000 }: { level?: number; resamples?: number } = {},
): Interval {
  if (perPrompt.length === 0) throw new ConfigError("bootstrapMean: expected at least one prompt, got none");
  const means = new Float64Array(resamples).map(() =>
    meanOf(perPrompt.map(() => perPrompt[random.integer(perPrompt.length)] ?? NaN)),
  );
  means.sort();
  const quantile = (q: number): number => means[Math.min(resamples - 1, Math.floor(q * resamples))] ?? NaN;
  return { mean: meanOf(perPrompt), low: quantile((1 - level) / 2), high: quantile((1 + level) / 2) };
}

function meanOf(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] ?? NaN;
  return sum / values.length;
}
