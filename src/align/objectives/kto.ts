/** KTO (Ethayarajh et al. 2024, section 4.1): lambda - v, v = lambda sigmoid of how far a log-ratio is on its side of z. */
import { add, addScalar, scale, sub } from "../../ops/binary.ts";
import { sigmoid } from "../../ops/unary.ts";
import type { OfflineObjective } from "./offline.ts";

/**
 * The best of n is a desirable response, the worst an undesirable one, each judged by itself; the mean over both of
 *
 *     lambda_D (1 - sigmoid(beta (D(chosen) - z)))   and   lambda_U (1 - sigmoid(beta (z - D(rejected)))),
 *
 * D = log pi - log pi_ref. The reference point z, the step's `level`, is max(0, the mean of D over the step's responses to
 * another example's prompt), an estimate of KL(pi || pi_ref), and carries no gradient. Losses saturate: a response that is
 * far on its side, or hopelessly far on the other, no longer counts.
 */
export const kto: OfflineObjective = {
  name: "kto",
  doc: "1 - sigmoid(beta (D - z)) of the best of n, 1 - sigmoid(beta (z - D)) of the worst, z an estimate of KL",
  learnsFrom: "pairs",
  per: "example",
  level: "referencePoint",
  defaultBeta: () => 0.1,
  loss({ chosen, rejected, level }, { beta, desirable, undesirable }) {
    const gain = sigmoid(scale(sub(chosen.logRatio, level), beta));
    const relief = sigmoid(scale(sub(level, rejected.logRatio), beta));
    const value = add(scale(gain, -desirable / 2), scale(relief, -undesirable / 2));
    return { loss: addScalar(value, (desirable + undesirable) / 2) };
  },
};
