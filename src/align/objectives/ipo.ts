/** IPO (Azar et al. 2023, Eq. 17): the square of (h - 1/(2 beta)), h = log-ratio of the chosen - that of the rejected. */
import { addScalar } from "../../ops/binary.ts";
import { square } from "../../ops/unary.ts";
import { bonMargin } from "../best-of-n/log-bon.ts";
import { margin, type OfflineObjective } from "./offline.ts";

/**
 * A regression of the margin, with sums over tokens as in the paper (TRL's means per token are another objective): where DPO
 * drives a pair that is always ordered one way apart for ever, it stops at 1/(2 beta). On pairs of n = 2 its optimum is
 * proportional to pi_ref exp(win / beta), win = P(score beats that of the reference), ties half: only ranks enter.
 */
export const ipo: OfflineObjective = {
  name: "ipo",
  doc: "(h - 1/(2 beta))^2, h = log-ratio of the best of n minus that of the worst",
  learnsFrom: "pairs",
  per: "example",
  // The margin that Best-of-n itself has.
  defaultBeta: (n) => 1 / (2 * bonMargin(n)),
  loss: (compared, { beta }) => ({ loss: square(addScalar(margin(compared), -1 / (2 * beta))) }),
};
