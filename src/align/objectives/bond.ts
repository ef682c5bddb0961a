/** BOND (Sessa et al. 2024, "BOND: aligning LLMs with Best-of-N distillation"): minimise the Jeffreys divergence from Best-of-N. */

import { cdfOf, type Objective, type ObjectiveSettings } from "./objective.ts";

/**
 * (1 - b) KL(pi_bon || pi) + b KL(pi || pi_bon), b = `jeffreys`. The forward part imitates the best of n cached responses. The
 * backward part rewards (n - 1) log p_<=, p_<= the share of the pool, the response included, that it is not beaten by, with KL
 * weight 1: the bound L<= (alignment.md 1.7), whose optimum is proportional to pi_ref p_<=^(n - 1). The authors use a baseline,
 * the mean over the batch: `--optimizer reinforce`.
 */
export const bond: Objective = {
  name: "bond",
  doc: "(1 - b) KL(Best-of-N || policy) + b KL(policy || Best-of-N)",
  needsCache: true,
  terminal(sample, settings) {
    const { atMost, size } = cdfOf(sample, "bond");
    return jeffreysOf(settings) * (settings.n - 1) * Math.log((atMost + 1) / (size + 1));
  },
  klWeight: jeffreysOf,
  imitates: { source: "cache", weight: (settings) => 1 - jeffreysOf(settings) },
};

/** b: the weight of the backward divergence. */
export function jeffreysOf({ jeffreys = 0.5 }: ObjectiveSettings): number {
  return jeffreys;
}
