/** vBoN, exact (Amini et al. 2025, Eq. 5): maximise -KL(pi || pi_bon) = E[R] - KL(pi || pi_ref). */

import { bonLogRatio, pooledLogRatio } from "../best-of-n/log-bon.ts";
import { cdfOf, type Objective, type ObjectiveSettings, type ScoredSample } from "./objective.ts";

/**
 * Terminal R/s with KL weight 1/s, s = n unless `scale` says otherwise: one s in both, or the optimum moves.
 * The released code divides R by n and weighs KL by 1/(n - 1) (`compat`), which ends at pi_ref^(1/n) pi_bon^((n-1)/n).
 */
export const vbon: Objective = {
  name: "vbon",
  doc: "-KL(policy || Best-of-N policy): reward log pi_bon - log pi_ref, KL weight 1",
  needsCache: true,
  terminal: (sample, settings) => ratioOf(sample, settings.n) / scaleOf(settings),
  klWeight: (settings) => (settings.compat === "vbon-release" ? settings.klCoef : 1 / scaleOf(settings)),
};

function scaleOf({ n, scale }: ObjectiveSettings): number {
  return scale ?? n;
}

function ratioOf(sample: ScoredSample, n: number): number {
  const { logF, logTie, below, atMost, size, estimator } = cdfOf(sample, "vbon");
  if (estimator === "pooled") return pooledLogRatio(n, below, atMost, size);
  // A Best-of-N that picks among tied maxima by lot sees the tied group as one outcome: its mass stands for pi_ref.
  return bonLogRatio(n, logF, Math.max(sample.logProbRef, logTie));
}
