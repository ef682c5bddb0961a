/**
 * Sample estimators of KL(policy || reference), the per-token penalty's coefficient, and running moments of scores.
 *
 * With l = log pi(y_t) - log pi_ref(y_t) on tokens sampled from the policy (Schulman, "Approximating KL divergence", 2020):
 * k1 = l is unbiased; k2 = l^2/2 is biased but has the right gradient; k3 = e^-l - 1 + l is unbiased and at least 0, with a
 * huge variance where the policy suppresses what the reference likes. alignment.md 3.1; trap 25.
 */

import { ConfigError, ShapeError } from "../errors.ts";

/** Which estimator. */
export type KlEstimator = "k1" | "k2" | "k3";

/** One token's estimate from l = logprob - refLogprob, nats. */
export function tokenKl(l: number, estimator: KlEstimator): number {
  switch (estimator) {
    case "k1":
      return l;
    case "k2":
      return (l * l) / 2;
    case "k3":
      // expm1 keeps the digits of the l^2/2 that is left for small l.
      return Math.expm1(-l) + l;
  }
}

/**
 * Estimate for one response: the sum over its tokens, EOS included, prompt excluded; nats.
 * @throws ShapeError where the two lists differ in length.
 */
export function sequenceKl(
  logprobs: ArrayLike<number>,
  refLogprobs: ArrayLike<number>,
  estimator: KlEstimator,
): number {
  if (logprobs.length !== refLogprobs.length) {
    throw new ShapeError(
      `sequenceKl: ${logprobs.length} logprobs and ${refLogprobs.length} refLogprobs; expected as many`,
    );
  }
  let sum = 0;
  for (let t = 0; t < logprobs.length; t++)
    sum += tokenKl((logprobs[t] ?? NaN) - (refLogprobs[t] ?? NaN), estimator);
  return sum;
}

/**
 * KL(p || q) of two distributions over the vocabulary, from their log-probabilities; nats. Summed over the steps of a
 * sampled response it estimates the sequence KL without bias and with the least variance: the metric we report.
 */
export function distributionKl(logP: ArrayLike<number>, logQ: ArrayLike<number>): number {
  let sum = 0;
  for (let v = 0; v < logP.length; v++) {
    const p = Math.exp(logP[v] ?? NaN);
    if (p !== 0) sum += p * ((logP[v] ?? NaN) - (logQ[v] ?? NaN));
  }
  return sum;
}

/** How the KL coefficient moves; `target: undefined` keeps it fixed. Plain data: a checkpoint stores it as it is. */
export interface KlController {
  readonly klCoef: number;
  /** Nats a response. */
  readonly target?: number;
  /** Episodes over which a maximal error would move the coefficient by 20 %. */
  readonly horizon?: number;
}

/**
 * The controller after `episodes` with mean KL `kl`: coef *= 1 + clip(kl/target - 1, -.2, .2) episodes/horizon.
 * Source: Ziegler et al., "Fine-tuning language models from human preferences", 2019, section 2.2.
 * @throws ConfigError for a KL that is not finite, or a target or horizon that is not positive.
 */
export function updateKlController(controller: KlController, kl: number, episodes: number): KlController {
  const { klCoef, target, horizon = 10_000 } = controller;
  if (target === undefined) return controller;
  if (!Number.isFinite(kl))
    throw new ConfigError(`KL controller: mean KL is ${kl}; expected a finite number`);
  if (!(target > 0 && horizon > 0)) {
    throw new ConfigError(
      `KL controller: target is ${target} and horizon ${horizon}; expected numbers above 0`,
    );
  }
  const error = Math.min(0.2, Math.max(-0.2, kl / target - 1));
  return { ...controller, klCoef: klCoef * (1 + (error * episodes) / horizon) };
}

/** Mean and population variance of `count` numbers. */
export interface Moments {
  readonly count: number;
  readonly mean: number;
  readonly variance: number;
}

/** No numbers yet. */
export const noMoments: Moments = { count: 0, mean: 0, variance: 0 };

/** The moments of what was seen and of `batch` together. Source: Chan, Golub, LeVeque, 1983, pairwise update. */
export function updateMoments(seen: Moments, batch: ArrayLike<number>): Moments {
  if (batch.length === 0) return seen;
  const added = momentsOf(Float64Array.from(batch));
  const count = seen.count + added.count;
  const shift = added.mean - seen.mean;
  const mean = seen.mean + (shift * added.count) / count;
  const squares = seen.variance * seen.count + added.variance * added.count;
  return { count, mean, variance: squares / count + (shift * shift * seen.count * added.count) / count ** 2 };
}

/** Unbiased standard deviation; 0 below two numbers. */
export function sampleStd({ count, variance }: Moments): number {
  return count < 2 ? 0 : Math.sqrt((variance * count) / (count - 1));
}

function momentsOf(values: Float64Array): Moments {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length;
  return { count: values.length, mean, variance };
}
