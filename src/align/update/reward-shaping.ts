/**
 * From an objective's terminal reward to per-token rewards: the terminal on the last real token, and on every response token,
 * EOS included, the penalty -weight (log pi(y_t) - log pi_ref(y_t)). They sum to terminal - weight k1, which for the exact
 * objective is (log pi_bon - log pi)/s (alignment.md 1.8). The penalty is a reward: nothing differentiates through it.
 */

import { ConfigError, ShapeError } from "../../errors.ts";
import { type KlEstimator, tokenKl } from "../kl.ts";

/** One response. */
export interface ShapingInput {
  /** Of the response's tokens under the policy that sampled it, nats, at the training temperature. */
  logprobs: ArrayLike<number>;
  /** The same under the reference. */
  refLogprobs: ArrayLike<number>;
  /** Real tokens, at least 1; default: all of `logprobs`. What stands after is not read. */
  length?: number;
  /** The objective's terminal reward. */
  terminal: number;
  /** The objective's KL weight. */
  klWeight: number;
}

/** Options of {@link tokenRewards}. */
export interface ShapingOptions {
  /** Default k1: the only one whose expectation is the KL and whose use as a reward has the right gradient. */
  estimator?: KlEstimator;
  /** `after-eos` appends one position that holds the terminal alone; a value must be predicted there. Default `last`. */
  rewardAt?: "last" | "after-eos";
}

/**
 * Per-token rewards, [length] (or length + 1 with `after-eos`). The released code's slice, which puts the terminal up to two
 * positions past the last token depending on the batch's padding, is not reproduced.
 * @throws ShapeError for a length that does not fit; ConfigError for a terminal that is not finite.
 */
export function tokenRewards(input: ShapingInput, options: ShapingOptions = {}): Float64Array {
  const { logprobs, refLogprobs, terminal, klWeight } = input;
  const { estimator = "k1", rewardAt = "last" } = options;
  const length = input.length ?? logprobs.length;
  checkLengths(length, logprobs, refLogprobs);
  if (!Number.isFinite(terminal)) {
    throw new ConfigError(
      `tokenRewards: the terminal reward is ${terminal}; expected a finite number: smooth the CDF or use Lle`,
    );
  }
  const rewards = new Float64Array(rewardAt === "last" ? length : length + 1);
  for (let t = 0; t < length; t++) {
    rewards[t] = -klWeight * tokenKl((logprobs[t] ?? NaN) - (refLogprobs[t] ?? NaN), estimator);
  }
  const last = rewards.length - 1;
  rewards[last] = (rewards[last] ?? 0) + terminal;
  return rewards;
}

/** What happens to a score before it becomes a reward. */
export interface ScoreOptions {
  /** Clip to [-clip, clip]; the released code uses 10. Default: no clip. */
  clip?: number;
  /** Then divide, for example by a running standard deviation. Default 1. */
  divisor?: number;
}

/** The score clipped, then divided. @throws ConfigError for a score that is not finite or options that are not positive. */
export function processScore(score: number, { clip = Infinity, divisor = 1 }: ScoreOptions = {}): number {
  if (!Number.isFinite(score))
    throw new ConfigError(`processScore: score is ${score}; expected a finite number`);
  if (!(clip > 0 && divisor > 0)) {
    throw new ConfigError(`processScore: clip is ${clip} and divisor ${divisor}; expected numbers above 0`);
  }
  return Math.min(clip, Math.max(-clip, score)) / divisor;
}

function checkLengths(length: number, logprobs: ArrayLike<number>, refLogprobs: ArrayLike<number>): void {
  if (length < 1 || logprobs.length < length || refLogprobs.length < length) {
    throw new ShapeError(
      `tokenRewards: length ${length}, ${logprobs.length} logprobs, ${refLogprobs.length} refLogprobs; ` +
        `expected at least one token and that many of each`,
    );
  }
}
