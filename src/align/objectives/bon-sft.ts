/** BoN-SFT (Amini et al. 2025, section 5; Stiennon et al. 2020): -log pi of the best of n, a mean over tokens. */
import { neg } from "../../ops/unary.ts";
import type { OfflineObjective } from "./offline.ts";

/**
 * Cross-entropy toward the Best-of-n policy: the forward KL(pi_bon || pi), whose optimum is pi_bon itself, but whose policy
 * covers all that pi_bon does where it cannot meet it. Response tokens only, EOS included; the prompt has no part in it.
 */
export const bonSft: OfflineObjective = {
  name: "bon-sft",
  doc: "-log policy of the best of n, a mean over tokens",
  learnsFrom: "best",
  per: "token",
  // Not in the formula.
  defaultBeta: () => 1,
  loss: ({ chosen }) => ({ loss: neg(chosen.logprob) }),
};
