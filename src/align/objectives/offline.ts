/**
 * What an offline objective is: a loss over responses that the reference drew and a reward has compared. Nothing is sampled
 * while it trains; the cache is all it sees. alignment.md 2.
 */
import { sub } from "../../ops/binary.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/** The settings that offline objectives share; each reads what its formula has. */
export interface OfflineSettings {
  /** Responses of the reference that are compared at once: the best is chosen, the worst rejected. */
  readonly n: number;
  /** The KL-RL coefficient that the loss stands for. */
  readonly beta: number;
  /** DPO: share of pairs whose order is taken to be wrong, 0 <= it < 1/2. */
  readonly labelSmoothing: number;
  /** BoNBoN: weight of the best's log-probability against the pair's margin; `auto`: so that both contribute equally. */
  readonly alpha: number | "auto";
  /** KTO: weights of chosen and rejected responses. */
  readonly desirable: number;
  readonly undesirable: number;
}

/** P responses, one an example. All logarithms are natural, sums over the response's tokens, at the training temperature. */
export interface Outcome {
  /** log pi(y) [P] */
  readonly logprob: Tensor;
  /** log pi(y) - log pi_ref(y) [P]; the gradient is `logprob`'s. */
  readonly logRatio: Tensor;
}

/** P examples as a loss sees them. */
export interface Compared {
  readonly chosen: Outcome;
  /** For objectives that learn from the best alone: `chosen` again. */
  readonly rejected: Outcome;
  /** [1], no gradient: what `level` names, the same for the whole step; 0 where it names nothing. */
  readonly level: Tensor;
}

/** Losses of the examples, before the mean. */
export interface Losses {
  /** [P] */
  readonly loss: Tensor;
  /** Terms of the loss that are logged, named by the objective's `parts`: [P] each. */
  readonly parts?: readonly Tensor[];
}

/** One offline objective. */
export interface OfflineObjective {
  readonly name: string;
  /** The formula, one line. */
  readonly doc: string;
  /** An example is the best response of n with the worst (dropped where they tie), or the best alone. */
  readonly learnsFrom: "pairs" | "best";
  /** What the loss is a mean over. */
  readonly per: "example" | "token";
  /** beta where none is given. */
  defaultBeta(n: number): number;
  /** A number that the loss needs and that is found anew before each step. */
  readonly level?: "alpha" | "referencePoint";
  /** Names of the terms that `loss` tells apart. */
  readonly parts?: readonly string[];
  loss(compared: Compared, settings: OfflineSettings): Losses;
}

/** h = (chosen log-ratio) - (rejected log-ratio) [P]; beta h is the margin of the implicit rewards. */
export const margin = ({ chosen, rejected }: Compared): Tensor => sub(chosen.logRatio, rejected.logRatio);
