/** DPO (Rafailov et al. 2023, Eq. 7): -log sigmoid(beta (log-ratio of the chosen - log-ratio of the rejected)). */
import { add, scale } from "../../ops/binary.ts";
import { logSigmoid, neg } from "../../ops/unary.ts";
import { margin, type OfflineObjective } from "./offline.ts";

/**
 * With h the margin: -(1 - eps) log sigmoid(beta h) - eps log sigmoid(-beta h); eps = `labelSmoothing` > 0 is conservative
 * DPO (Mitchell 2023, "A note on DPO with noisy preferences"), whose optimum is finite where one order is always preferred. On pairs labelled by
 * Bradley-Terry the optimum is proportional to pi_ref exp(score / beta), that of KL-regularised RL.
 */
export const dpo: OfflineObjective = {
  name: "dpo",
  doc: "-log sigmoid(beta h), h = log-ratio of the best of n minus that of the worst",
  learnsFrom: "pairs",
  per: "example",
  // Measured on stories260K, best against worst of 8: alignment.md, appendix B.
  defaultBeta: () => 1,
  loss(compared, { beta, labelSmoothing }) {
    const z = scale(margin(compared), beta);
    const right = scale(logSigmoid(z), labelSmoothing - 1);
    if (labelSmoothing === 0) return { loss: right };
    return { loss: add(right, scale(logSigmoid(neg(z)), -labelSmoothing)) };
  },
};
