/** KL-regularised RL (Amini et al. 2025, Eq. 1; Ziegler et al. 2019): E[score] - klCoef KL(pi || pi_ref). */

import type { Objective } from "./objective.ts";

/** The score itself, KL weight klCoef. Its optimum is proportional to pi_ref exp(score / klCoef). */
export const ppo: Objective = {
  name: "ppo",
  doc: "E[score] - klCoef KL(policy || reference)",
  needsCache: false,
  klMoves: true,
  terminal: ({ score }, { scale = 1 }) => score / scale,
  klWeight: ({ klCoef, scale = 1 }) => klCoef / scale,
};
