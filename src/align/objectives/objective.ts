/**
 * What an objective is: two numbers for the loop. A response's per-token rewards are `terminal` on its last token minus
 * `klWeight` (logprob - refLogprob) on every token, so that every optimiser (PPO, RLOO, GRPO) serves every objective.
 */

import { ConfigError } from "../../errors.ts";
import { type CdfPoint, type MissingEos, ruledScore } from "../best-of-n/cdf.ts";
import { processScore } from "../update/reward-shaping.ts";
import type { OfflineObjective } from "./offline.ts";

/** A scored response. */
export interface ScoredSample {
  /** The reward model's scalar. */
  score: number;
  /** log pi_ref of the response, nats: response tokens only, EOS included, at the training temperature. */
  logProbRef: number;
  /** Where the score stands in the prompt's cache; only for objectives with `needsCache`. */
  cdf?: CdfPoint;
  /** Scores of the anchor's responses to the same prompt; only for objectives that imitate an anchor. */
  rivals?: readonly number[];
}

/** The settings that objectives share; make them with `resolveSettings`. */
export interface ObjectiveSettings {
  /** Best of how many; real, at least 1. */
  n: number;
  /** The KL-RL coefficient, and what `compat` weighs KL with. */
  klCoef: number;
  /** Divide rewards and KL weight by this instead of the objective's own scale. */
  scale?: number;
  /** `vbon-release`: the released code's R/n with KL weight 1/(n-1), whose optimum is not pi_bon. */
  compat?: "vbon-release";
  /** Terminal rewards beyond ± this are clipped; the released code uses 10. Default: none. */
  rewardClip?: number;
  /** What a response without an end scores; default its own score. */
  missingEos?: MissingEos;
  /** BOND: weight of KL(policy || Best-of-N) against its reverse, in [0, 1]. */
  jeffreys?: number;
  /** J-BOND: additional weight of the KL penalty against the anchor. */
  anchorKl?: number;
}

/** A second loss beside the rewards: weight times -log pi of responses that somebody else gave. */
export interface Imitates {
  /** The best of n of the cache's responses, or of two of an anchor's, which follows the policy. */
  readonly source: "cache" | "anchor";
  weight(settings: ObjectiveSettings): number;
}

/** One objective. */
export interface Objective {
  readonly name: string;
  /** The formula, one line. */
  readonly doc: string;
  /** Does `terminal` read `sample.cdf`? */
  readonly needsCache: boolean;
  /** Reward on the last token. */
  terminal(sample: ScoredSample, settings: ObjectiveSettings): number;
  /** Weight of the per-token KL penalty. */
  klWeight(settings: ObjectiveSettings): number;
  /** Its KL coefficient is a means, which may move toward a target, and no part of what it is. */
  readonly klMoves?: boolean;
  readonly imitates?: Imitates;
  /** The loss of pairs of the policy's own responses, in place of rewards and advantages. */
  readonly pairLoss?: OfflineObjective;
}

/**
 * The reward on a response's last token: the objective's, by the rule for responses without an end, clipped.
 * @throws ConfigError where a clip is given and the objective's is not finite
 */
export function terminalOf(
  objective: Objective,
  { finished, ...sample }: ScoredSample & { readonly finished: boolean },
  settings: ObjectiveSettings,
): number {
  const { rewardClip: clip, missingEos = "none" } = settings;
  const score = ruledScore(sample.score, finished, missingEos);
  const terminal = objective.terminal({ ...sample, score }, settings);
  return clip === undefined ? terminal : processScore(terminal, { clip });
}

/** The sample's place in its cache. @throws ConfigError when the sample carries none. */
export function cdfOf(sample: ScoredSample, objective: string): CdfPoint {
  if (!sample.cdf) {
    throw new ConfigError(
      `${objective}: the sample has no CDF point; look its score up in the prompt's reward cache`,
    );
  }
  return sample.cdf;
}

/** Scale of the bounds: (n - 1), which leaves log F as the reward and beta = 1/(n - 1) as KL weight; 1 at n = 1. */
export function boundScale({ n, scale }: ObjectiveSettings): number {
  return scale ?? (n === 1 ? 1 : n - 1);
}
