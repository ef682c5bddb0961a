/** Online DPO (Guo et al. 2024, "Direct language model alignment from online AI feedback"): DPO on pairs of the policy's own responses. */

import { dpo } from "./dpo.ts";
import type { Objective } from "./objective.ts";

/**
 * Of each group of responses to one prompt the best against the worst, ties left out. What it maximises, where labels follow
 * Bradley-Terry, is E[score] - beta KL(pi || pi_ref): `terminal` and `klWeight` say so for J; the loss is {@link dpo}'s.
 */
export const onlineDpo: Objective = {
  name: "online-dpo",
  doc: "DPO on the best and the worst of each group of the policy's own responses",
  needsCache: false,
  terminal: ({ score }) => score,
  klWeight: ({ klCoef }) => klCoef,
  pairLoss: dpo,
};
