/** J-BOND (Sessa et al. 2024, section 5): BOND with N = 2 toward an anchor that follows the policy, so that N grows as it learns. */

import { ConfigError } from "../../errors.ts";
import { jeffreysOf } from "./bond.ts";
import type { Objective, ScoredSample } from "./objective.ts";

/**
 * To each prompt the policy answers once and the anchor twice. The policy imitates the better of the two, and pays log 16 for a
 * response that both beat: a response at quantile u of the anchor's rewards expects -(1 - u)^2 log 16, which is log u at u = 1/2.
 * Its KL penalty is against the anchor, with weight b + `anchorKl`.
 */
export const jBond: Objective = {
  name: "j-bond",
  doc: "BOND toward the best of two samples of an anchor, the moving average of the policy's weights",
  needsCache: false,
  terminal: (sample, settings) => jeffreysOf(settings) * (beatenByAll(sample) ? -Math.log(16) : 0),
  klWeight: (settings) => jeffreysOf(settings) + (settings.anchorKl ?? 0),
  imitates: { source: "anchor", weight: (settings) => 1 - jeffreysOf(settings) },
};

function beatenByAll({ score, rivals }: ScoredSample): boolean {
  if (!rivals?.length)
    throw new ConfigError("j-bond: the sample has no rivals; expected the scores of the anchor's responses");
  return score < Math.min(...rivals);
}
