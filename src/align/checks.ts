/** What a run of the alignment loop cannot be: settings that would change what its objective means. */
import { ConfigError } from "../errors.ts";
import type { GenerateSettings } from "../generate/engine.ts";
import type { Objective } from "./objectives/index.ts";
import type { OnlineOptimizer } from "./update/group-advantage.ts";

/** What of a run's settings stands beside the objective. */
interface Checked {
  readonly optimizer?: OnlineOptimizer;
  readonly group?: number;
  readonly minibatch: number;
  readonly klTarget?: number | undefined;
}

/** @throws ConfigError for an optimizer that the objective's second loss, or its pairs, cannot stand beside */
export function checkObjective(
  { name, imitates, pairLoss }: Objective,
  { optimizer = "ppo", group = 1, minibatch }: Checked,
): void {
  if (imitates && (optimizer === "ppo" || optimizer === "grpo")) {
    throw new ConfigError(
      `align: ${name} adds imitation to the rewards' gradient, and ${optimizer} divides advantages by their spread, which would ` +
        "change the weight of one against the other; expected --optimizer reinforce or rloo",
    );
  }
  if (pairLoss && (group < 2 || minibatch % group !== 0)) {
    throw new ConfigError(
      `align: ${name} compares the responses of a group, and ${group} stand in one, ${minibatch} in a minibatch; expected at ` +
        "least 2, and minibatches of whole groups: change --group or --minibatch",
    );
  }
}

/** @throws ConfigError for an objective whose optimum the KL weight is a part of */
export function checkKlTarget({ name, klMoves }: Objective, { klTarget }: Checked): void {
  if (klTarget === undefined || klMoves) return;
  throw new ConfigError(
    `align: ${name} stands for one KL weight, which its optimum is made of; expected a KL target with --method ppo only`,
  );
}

/** Log-probabilities, KL and Best-of-N all speak of the whole distribution: samples of a truncated one would bias them. */
export function checkSampling({ topK = 0, topP = 1, greedy = false }: GenerateSettings): void {
  if (topK === 0 && topP === 1 && !greedy) return;
  throw new ConfigError(
    `align: rollouts would be sampled ${greedy ? "greedily" : `with top-k ${topK} and top-p ${topP}`}; ` +
      "expected the whole distribution: leave these settings out, and lower the temperature for bolder samples",
  );
}
