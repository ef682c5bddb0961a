/** The lower bound L (Amini et al. 2025, Eq. 8): (n - 1) E[log F] - KL(pi || pi_ref) <= J. */

import { lowerBoundReward } from "../best-of-n/log-bon.ts";
import { boundScale, cdfOf, type Objective } from "./objective.ts";

/**
 * Reward log F with KL weight 1/(n - 1): KL-regularised RL on log F with beta = 1/(n - 1). For long responses the same as the
 * exact objective up to a constant. The released code calls it `l1`. An exact F = 0 gives -Infinity: smooth F, or use Lle.
 */
export const vbonL: Objective = {
  name: "vbon-l",
  doc: "lower bound L: reward log F, KL weight 1/(n - 1)",
  needsCache: true,
  terminal: (sample, settings) =>
    lowerBoundReward(settings.n, cdfOf(sample, "vbon-l").logF) / boundScale(settings),
  klWeight: (settings) => 1 / boundScale(settings),
};
