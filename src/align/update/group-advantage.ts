/**
 * Advantages without a value function: a response is measured by the others of the rollout. They serve every objective: what
 * they compare are the sums of its per-token rewards, the KL penalty included. alignment.md 2.
 */
import { ConfigError } from "../../errors.ts";

/** How rewards become advantages; `ppo` is GAE with a value function. */
export const OPTIMIZERS = ["ppo", "rloo", "grpo", "reinforce"] as const;

/** See {@link OPTIMIZERS}. */
export type OnlineOptimizer = (typeof OPTIMIZERS)[number];

/**
 * One advantage a response, the same for all of its tokens.
 *
 * - `rloo`: R_i - mean of the others of its group (Ahmadian et al. 2024, "Back to basics", Eq. 9): unbiased.
 * - `grpo`: (R_i - mean) / (std + 1e-4) of its group, unbiased std (Shao et al. 2024, "DeepSeekMath", section 4.1.2): prompts
 *   with small differences count as much as those with large ones.
 * - `reinforce`: R_i - mean of all others of the rollout, whatever their prompts (Williams 1992, with a baseline).
 * @param totals R_i; responses to one prompt stand together
 * @param group responses a prompt
 * @throws ConfigError as {@link checkGroups}
 */
export function groupAdvantages(
  optimizer: Exclude<OnlineOptimizer, "ppo">,
  totals: readonly number[],
  group: number,
): number[] {
  checkGroups({ optimizer, group, rolloutSize: totals.length });
  const size = optimizer === "reinforce" ? totals.length : group;
  const advantage = optimizer === "grpo" ? standardised : leaveOneOut;
  return Array.from({ length: totals.length / size }, (_, g) =>
    advantage(totals.slice(g * size, (g + 1) * size)),
  ).flat();
}

/** R - (sum - R) / (k - 1) = (R - mean) k / (k - 1). */
function leaveOneOut(rewards: readonly number[]): number[] {
  const k = rewards.length;
  const mean = rewards.reduce((a, b) => a + b, 0) / k;
  return rewards.map((r) => ((r - mean) * k) / (k - 1));
}

function standardised(rewards: readonly number[]): number[] {
  const k = rewards.length;
  const mean = rewards.reduce((a, b) => a + b, 0) / k;
  const std = Math.sqrt(rewards.reduce((sum, r) => sum + (r - mean) ** 2, 0) / (k - 1));
  return rewards.map((r) => (r - mean) / (std + 1e-4));
}

/** What decides the groups of a rollout. */
export interface Grouping {
  readonly optimizer?: OnlineOptimizer;
  readonly group?: number;
  readonly rolloutSize: number;
}

/** @throws ConfigError when groups do not make up the rollout, or are too small to compare */
export function checkGroups({ optimizer = "ppo", group = 1, rolloutSize }: Grouping): void {
  const least = optimizer === "rloo" || optimizer === "grpo" ? 2 : 1;
  if (
    Number.isInteger(group) &&
    group >= least &&
    rolloutSize % group === 0 &&
    (optimizer === "ppo" || rolloutSize > 1)
  )
    return;
  throw new ConfigError(
    `align: ${optimizer} with ${group} responses a prompt in rollouts of ${rolloutSize}; expected at least ${least}, and ` +
      "rollouts of whole groups: change --group or --rollout",
  );
}
