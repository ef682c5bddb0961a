/** Training of language models: the next token, on blocks of text or on responses to prompts. */
import type { Batch, LanguageModel } from "../nn/lm.ts";
import { weightedNll } from "../ops/logprob.ts";
import { backward } from "../optim/gradients.ts";
import { createLossScale, type LossScale } from "../optim/loss-scale.ts";
import { input, type Tensor } from "../tensor/tensor.ts";
import type { LmBatch, LmSource } from "./examples.ts";
import type { LoopEvents, LoopResult } from "./loop.ts";
import {
  createTraining,
  evalBatches,
  type Lesson,
  type Programs,
  programsByLength,
  type Training,
  type TrainingSettings,
} from "./training.ts";

/** What to learn from, and what to test on. */
export interface LmData {
  readonly train: LmSource;
  readonly heldOut?: LmSource | undefined;
}

/** Settings of {@link languageModelTraining}. */
export interface SftSettings extends TrainingSettings {
  /** Held-out items an evaluation looks at, at most. */
  readonly evalItems: number;
}

/**
 * Prepares training by cross-entropy: the mean of -log p(target) over the step's counting tokens, in nats. Programs are
 * recorded for the longest batch at once, so that the device's memory is known before the first step.
 * @param model with trained parameters
 * @throws ConfigError as {@link createTraining}; DeviceError when the batch does not fit the device
 */
export async function languageModelTraining(
  model: LanguageModel,
  data: LmData,
  settings: SftSettings,
): Promise<Training> {
  const { batch } = settings;
  const { device } = model.parameters;
  const lossScale = settings.lossScale && createLossScale(device, settings.lossScale);
  const learning = programsByLength(device, "train", (T) => recordLoss(model, batch, T, { lossScale }));
  const testing = programsByLength(device, "evaluate", (T) => recordLoss(model, batch, T));
  const { train, heldOut } = data;
  const lesson: Lesson<LmBatch> = {
    count: train.count,
    lossScale,
    gather: (items) => train.gather(items),
    learn: (part, divisor) => runLoss(learning, part, divisor),
    ...(heldOut && { evaluate: () => heldOutLoss(testing, heldOut, batch, settings.evalItems) }),
    dispose() {
      learning.dispose();
      testing.dispose();
    },
  };
  const training = await createTraining(model.parameters, lesson, settings);
  await learning.at(train.longest);
  if (heldOut) await testing.at(heldOut.longest);
  return training;
}

/**
 * Trains `model` in place.
 * @example await trainLanguageModel(model, { train: blockSource(packed) }, settings, { onRecord: console.log });
 */
export async function trainLanguageModel(
  model: LanguageModel,
  data: LmData,
  settings: SftSettings,
  events: LoopEvents = {},
): Promise<LoopResult> {
  const training = await languageModelTraining(model, data, settings);
  try {
    return await training.run(events);
  } finally {
    training.dispose();
  }
}

/** Inputs and result of a pass over B rows of T tokens. */
export interface LossProgram {
  readonly batch: Batch;
  readonly targets: Tensor;
  /** [B·T] */
  readonly weights: Tensor;
  /** [1] */
  readonly loss: Tensor;
}

/** Records the weighted cross-entropy of a batch; with `learns` also its way back. */
export function recordLoss(
  model: LanguageModel,
  B: number,
  T: number,
  learns?: { readonly lossScale: LossScale | undefined },
): LossProgram {
  const batch = {
    ids: input([B, T], "u32", "ids"),
    positions: input([B, T], "u32", "positions"),
    range: input([B, 2], "u32", "range"),
  };
  const targets = input([B * T], "u32", "targets");
  const weights = input([B * T], "f32", "weights");
  const { logprobs } = model.logprobs(model.hidden(batch).reshape(B * T, -1), targets);
  const loss = weightedNll(logprobs, weights);
  if (learns) backward(loss, learns.lossScale);
  return { batch, targets, weights, loss: loss.detach() };
}

async function runLoss(programs: Programs<LossProgram>, part: LmBatch, divisor: number): Promise<Tensor> {
  const program = await programs.at(part.T);
  const { batch, targets, weights, loss } = program.result;
  batch.ids.write(part.ids);
  batch.positions.write(part.positions);
  batch.range.write(part.range);
  targets.write(part.targets);
  weights.write(part.mask.map((m) => m / divisor));
  program.run();
  return loss;
}

/** Mean loss over the first held-out items, in nats a token. */
async function heldOutLoss(
  programs: Programs<LossProgram>,
  source: LmSource,
  size: number,
  most: number,
): Promise<{ evalLoss: number }> {
  let [sum, count] = [0, 0];
  for (const { items, real } of evalBatches(Math.min(source.count, most), size)) {
    const part = source.gather(items);
    const mask = part.mask.fill(0, real * part.T);
    const tokens = mask.reduce((n, m) => n + m, 0);
    sum += (await (await runLoss(programs, { ...part, mask }, 1)).read())[0]!;
    count += tokens;
  }
  return { evalLoss: sum / count };
}
