/** The non-strict bound: (n - 1) E[log(F + pi_ref)] - KL(pi || pi_ref). L <= Lle <= J, and finite where F = 0. */

import { lowerBoundLeReward } from "../best-of-n/log-bon.ts";
import { boundScale, cdfOf, type Objective, type ScoredSample } from "./objective.ts";

/**
 * L with P(score' <= score) in place of P(score' < score), as BOND uses it (Sessa et al. 2024, r_BOND = log p_<=). With the
 * pooled estimator, P(score' <= score) is the share of the pool, the sample included, that it is not beaten by.
 */
export const vbonLle: Objective = {
  name: "vbon-lle",
  doc: "non-strict lower bound: reward log(F + pi_ref), KL weight 1/(n - 1)",
  needsCache: true,
  terminal: (sample, settings) => atMostReward(sample, settings.n) / boundScale(settings),
  klWeight: (settings) => 1 / boundScale(settings),
};

function atMostReward(sample: ScoredSample, n: number): number {
  const { logF, logTie, atMost, size, estimator } = cdfOf(sample, "vbon-lle");
  if (estimator === "pooled") return (n - 1) * Math.log((atMost + 1) / (size + 1));
  // A smoothed F of 1 plus pi_ref would exceed 1, which no probability does.
  return Math.min(0, lowerBoundLeReward(n, logF, Math.max(sample.logProbRef, logTie)));
}
