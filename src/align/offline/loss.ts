/** The program of an offline objective: sequence log-probabilities of a micro-batch, its loss, the way back. */
import type { Program } from "../../gpu/program.ts";
import type { LanguageModel } from "../../nn/lm.ts";
import { mul, scale, sub } from "../../ops/binary.ts";
import { concat, slice } from "../../ops/layout.ts";
import { sum } from "../../ops/reduce.ts";
import { clip } from "../../ops/select.ts";
import { backward } from "../../optim/gradients.ts";
import type { LossScale } from "../../optim/loss-scale.ts";
import { input, type Tensor } from "../../tensor/tensor.ts";
import type { Compared, OfflineObjective, OfflineSettings } from "../objectives/index.ts";
import { type Sequence, type SequenceInputs, sequenceInputs, spread, writeSequences } from "../sequences.ts";

/** A response with what the reference says of it: log pi_ref, summed over its tokens, nats. */
export interface JudgedSequence extends Sequence {
  readonly refLogprob: number;
}

/** What one example consists of. */
export interface OfflineExample {
  readonly chosen: JudgedSequence;
  /** Undefined for objectives that learn from the best alone. */
  readonly rejected?: JudgedSequence;
  /** A pair of equal scores counts for nothing. */
  readonly tied: boolean;
}

/**
 * What is logged beside the loss, means over what the loss is a mean over: the loss's parts and level, both log-ratios against
 * the reference (in DPO both may fall, as long as the rejected one falls faster), and the share of pairs in which the chosen one
 * is the larger.
 */
export function reportsOf({ learnsFrom, parts = [], level }: OfflineObjective): readonly string[] {
  const ratios =
    learnsFrom === "pairs" ? ["chosenLogRatio", "rejectedLogRatio", "accuracy"] : ["chosenLogRatio"];
  return [...parts, ...(level ? [level] : []), ...ratios];
}

/** What is recorded, and for how much. */
export interface OfflineProgram {
  readonly policy: LanguageModel;
  readonly objective: OfflineObjective;
  readonly settings: OfflineSettings;
  readonly temperature: number;
  readonly lossScale?: LossScale | undefined;
  /** P */
  readonly examples: number;
  /** T */
  readonly positions: number;
}

/** Rows are the P chosen responses, then, where there are any, the P rejected ones. */
export interface OfflineInputs {
  readonly inputs: SequenceInputs;
  /** [rows, T]: 1 at the positions that predict a token of the response. */
  readonly mask: Tensor;
  /** [rows] */
  readonly refLogprobs: Tensor;
  /** [P] */
  readonly weights: Tensor;
  /** [1] */
  readonly level: Tensor;
  /** The loss, then {@link reportsOf}. */
  readonly report: Tensor;
}

/** Records sum_p w_p loss_p and its way back. */
export function recordOffline(program: OfflineProgram): OfflineInputs {
  const { policy, objective, settings, temperature, examples: P, positions: T } = program;
  const rows = objective.learnsFrom === "pairs" ? 2 * P : P;
  const inputs = sequenceInputs(rows, T);
  const mask = input([rows, T], "f32", "mask");
  const refLogprobs = input([rows], "f32", "reference logprobs");
  const weights = input([P], "f32", "weights");
  const hidden = policy.hidden(inputs.batch).reshape(rows * T, -1);
  const { logprobs } = policy.logprobs(hidden, inputs.targets, { temperature });
  const logprob = sum(mul(logprobs.reshape(rows, T), mask), 1);
  const level = input([1], "f32", "level");
  const compared = { ...outcomesOf(logprob, sub(logprob, refLogprobs), P), level };
  const { loss: losses, parts = [] } = objective.loss(compared, settings);
  const loss = sum(mul(weights, losses));
  backward(loss, program.lossScale);
  const logged = [...parts, ...(objective.level ? [level] : []), ...watched(compared, objective)];
  const means = logged.map((x) => sum(mul(weights, x.detach())));
  return { inputs, mask, refLogprobs, weights, level, report: concat([loss.detach(), ...means], 0) };
}

function outcomesOf(logprob: Tensor, logRatio: Tensor, P: number): Omit<Compared, "level"> {
  const from = (row: number): Compared["chosen"] => ({
    logprob: slice(logprob, 0, row, row + P),
    logRatio: slice(logRatio, 0, row, row + P),
  });
  const chosen = from(0);
  return { chosen, rejected: logprob.size > P ? from(P) : chosen };
}

function watched({ chosen, rejected }: Compared, { learnsFrom }: OfflineObjective): Tensor[] {
  const [better, worse] = [chosen.logRatio.detach(), rejected.logRatio.detach()];
  if (learnsFrom === "best") return [better];
  // A step from 0 to 1 at h = 0, where h is a normal number.
  return [better, worse, clip(scale(sub(better, worse), 1e30), 0, 1)];
}

/**
 * Adds the gradient of (sum of the examples' losses) / `divisor`.
 * @returns the report, valid until the program's next run
 */
export function runOffline(
  program: Program<OfflineInputs>,
  examples: readonly OfflineExample[],
  divisor: number,
  stepLevel = 0,
): Tensor {
  const { inputs, mask, refLogprobs, weights, level, report } = program.result;
  const rows = [...examples.map((e) => e.chosen), ...examples.flatMap((e) => e.rejected ?? [])];
  writeSequences(inputs, rows);
  mask.write(
    spread(
      rows,
      rows.map(({ response }) => new Float32Array(response.length).fill(1)),
      inputs,
    ),
  );
  refLogprobs.write(Float32Array.from(rows, (row) => row.refLogprob));
  weights.write(Float32Array.from(examples, ({ tied }) => (tied ? 0 : 1 / divisor)));
  level.write([stepLevel]);
  program.run();
  return report;
}
