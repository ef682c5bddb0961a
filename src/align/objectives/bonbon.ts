/** BoNBoN (Gui, Garbacea, Veitch 2024, arXiv 2406.00832): alpha (-log pi(best)) + (1 - alpha) (h - c_n)^2. */
import { add, addScalar, mul, sub } from "../../ops/binary.ts";
import { neg, square } from "../../ops/unary.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { bonMargin } from "../best-of-n/log-bon.ts";
import { type Compared, margin, type OfflineObjective, type OfflineSettings } from "./offline.ts";

/**
 * BoN-SFT and IPO at once, both of which aim at pi_bon: the best of n is a draw from it, and c_n = 1/(2 beta_n) is the mean
 * that h, the log-ratio of the best of n minus that of the worst, has under it. Sums over tokens in both terms: c_n speaks of
 * log-likelihood ratios, and a mean over tokens would aim elsewhere. alpha is the step's `level`: fixed, .005 as in the
 * authors' runs, or `auto`, at which both terms contribute equally (Amini et al. 2025, section 5).
 */
export const bonbon: OfflineObjective = {
  name: "bonbon",
  doc: "alpha (-log policy of the best) + (1 - alpha) (h - c_n)^2, c_n = (n - 1)(1 + 1/2 + … + 1/(n - 1))",
  learnsFrom: "pairs",
  per: "example",
  level: "alpha",
  parts: ["ipo", "nll"],
  // Not in the formula: c_n stands where 1/(2 beta) would.
  defaultBeta: (n) => 1 / (2 * bonMargin(n)),
  loss(compared, settings) {
    const [ipo, nll] = terms(compared, settings);
    const mixed = add(ipo, mul(compared.level, sub(nll, ipo)));
    return { loss: mixed, parts: [ipo, nll] };
  },
};

function terms(compared: Compared, { n }: OfflineSettings): [ipo: Tensor, nll: Tensor] {
  return [square(addScalar(margin(compared), -bonMargin(n))), neg(compared.chosen.logprob)];
}
