/** Training of classifiers: one number a text, read at its last token, as the log-odds that the text is good. */
import { bucketLength, padBatch } from "../data/batch.ts";
import { ConfigError } from "../errors.ts";
import type { Batch, ScalarModel } from "../nn/lm.ts";
import { takeRows } from "../ops/gather.ts";
import { concat } from "../ops/layout.ts";
import { crossEntropy } from "../ops/logprob.ts";
import { backward } from "../optim/gradients.ts";
import { createLossScale, type LossScale } from "../optim/loss-scale.ts";
import { createRandom } from "../tensor/random.ts";
import { input, type Tensor } from "../tensor/tensor.ts";
import {
  createTraining,
  evalBatches,
  type Lesson,
  type Programs,
  programsByLength,
  type Training,
  type TrainingSettings,
} from "./training.ts";

/** A text as token ids, at least one, and what to make of it. */
export interface LabelledIds {
  readonly ids: readonly number[];
  /** 0 (bad) or 1 (good). */
  readonly label: 0 | 1;
}

/** What to learn from, and what to evaluate on while learning. */
export interface ClassifierData {
  readonly train: readonly LabelledIds[];
  readonly heldOut?: readonly LabelledIds[] | undefined;
}

/** Settings of {@link classifierTraining}. */
export interface ClassifierSettings extends TrainingSettings {
  /** Share of the tokens that are left out, others at each step, while learning: few texts are learnt by heart else. */
  readonly tokenDropout: number;
}

/** How well a classifier does: the share of signs that are right, and the mean cross-entropy in nats. */
export interface ClassifierResults {
  readonly evalAccuracy: number;
  readonly evalLoss: number;
  readonly [name: string]: number;
}

/** A classifier at work. */
export interface Classifier {
  /** The log-odds of each text, in order. */
  scores(texts: readonly LabelledIds[]): Promise<Float32Array>;
  evaluate(texts: readonly LabelledIds[]): Promise<ClassifierResults>;
  dispose(): void;
}

/**
 * Prepares training by binary cross-entropy, -log sigmoid(±score): the likelihood of a logistic model of the label.
 * @param model with trained parameters
 * @throws ConfigError for a text without tokens or longer than the model's context, and as {@link createTraining}
 */
export async function classifierTraining(
  model: ScalarModel,
  data: ClassifierData,
  settings: ClassifierSettings,
): Promise<Training> {
  const { device } = model.parameters;
  const { blockSize } = model.config;
  const { train, heldOut } = data;
  for (const { ids } of [...train, ...(heldOut ?? [])]) checkLength(ids.length, blockSize);
  const lossScale = settings.lossScale && createLossScale(device, settings.lossScale);
  const learning = programsByLength(device, "train", (T) => recordLoss(model, settings.batch, T, lossScale));
  const classifier = heldOut && createClassifier(model, settings.batch);
  const lesson: Lesson<ClassifierBatch> = {
    count: train.length,
    lossScale,
    gather: (items, step) =>
      gather(
        items.map((i) => dropTokens(train[i]!, i, step, settings)),
        blockSize,
      ),
    learn: (part, divisor) => learn(learning, part, divisor),
    ...(classifier && { evaluate: () => classifier.evaluate(heldOut) }),
    dispose() {
      learning.dispose();
      classifier?.dispose();
    },
  };
  const training = await createTraining(model.parameters, lesson, settings);
  await learning.at(bucketLength(Math.max(...train.map(({ ids }) => ids.length)), blockSize));
  return training;
}

/** Prepares scoring of `batch` texts side by side, the model's weights as they are at each call. */
export function createClassifier(model: ScalarModel, batch: number): Classifier {
  const { blockSize } = model.config;
  const programs = programsByLength(model.parameters.device, "classify", (T) =>
    recordScores(model, batch, T),
  );
  const scores = async (texts: readonly LabelledIds[]): Promise<Float32Array> => {
    const out = new Float32Array(texts.length);
    const order = texts.map((_, i) => i).toSorted((a, b) => texts[a]!.ids.length - texts[b]!.ids.length);
    for (const { items, real } of evalBatches(texts.length, batch)) {
      const part = gather(
        items.map((i) => texts[order[i]!]!),
        blockSize,
      );
      const program = await programs.at(part.T);
      writeBatch(program.result, part);
      program.run();
      const found = await program.result.scores.read();
      for (let i = 0; i < real; i++) out[order[items[i]!]!] = found[i]!;
    }
    return out;
  };
  return {
    scores,
    evaluate: async (texts) => resultsOf(await scores(texts), texts),
    dispose: () => programs.dispose(),
  };
}

function resultsOf(scores: Float32Array, texts: readonly LabelledIds[]): ClassifierResults {
  let [right, loss] = [0, 0];
  scores.forEach((score, i) => {
    const signed = texts[i]!.label === 1 ? score : -score;
    right += signed > 0 ? 1 : 0;
    loss += Math.max(0, -signed) + Math.log1p(Math.exp(-Math.abs(signed)));
  });
  return { evalAccuracy: right / texts.length, evalLoss: loss / texts.length };
}

/**
 * Leaves each token out with probability `tokenDropout`, one at least stays (word dropout of Iyyer et al. 2015,
 * "Deep unordered composition rivals syntactic methods"). Drawn for the item and the step, whatever its batch.
 */
function dropTokens(
  text: LabelledIds,
  item: number,
  step: number,
  settings: ClassifierSettings,
): LabelledIds {
  const { tokenDropout, seed } = settings;
  if (tokenDropout === 0) return text;
  const random = createRandom(seed, `token dropout ${step}.${item}`);
  const kept = text.ids.filter(() => random.float() >= tokenDropout);
  return { ids: kept.length > 0 ? kept : text.ids.slice(-1), label: text.label };
}

interface ClassifierBatch {
  readonly T: number;
  /** Texts: each counts as one. */
  readonly tokens: number;
  readonly ids: Uint32Array;
  readonly positions: Uint32Array;
  readonly range: Uint32Array;
  /** [B]: the row of the hidden states, [B·T, C], at each text's last token. */
  readonly last: number[];
  readonly labels: number[];
}

function gather(texts: readonly LabelledIds[], blockSize: number): ClassifierBatch {
  const T = bucketLength(Math.max(...texts.map(({ ids }) => ids.length)), blockSize);
  const { ids, positions, range } = padBatch(
    texts.map((text) => text.ids),
    { padId: 0, length: T },
  );
  const last = texts.map((text, b) => b * T + text.ids.length - 1);
  return { T, tokens: texts.length, ids, positions, range, last, labels: texts.map(({ label }) => label) };
}

interface ScoreProgram {
  readonly batch: Batch;
  /** u32 [B] */
  readonly last: Tensor;
  /** [B] */
  readonly scores: Tensor;
}

interface LossProgram extends ScoreProgram {
  /** u32 [B] */
  readonly labels: Tensor;
  /** [B] */
  readonly weights: Tensor;
  /** [1] */
  readonly loss: Tensor;
}

function recordScores(model: ScalarModel, B: number, T: number): ScoreProgram {
  const batch = {
    ids: input([B, T], "u32", "ids"),
    positions: input([B, T], "u32", "positions"),
    range: input([B, 2], "u32", "range"),
  };
  const last = input([B], "u32", "last");
  const scores = model.scores(takeRows(model.hidden(batch).reshape(B * T, -1), last));
  return { batch, last, scores };
}

/** -log sigmoid(score) is the cross-entropy of the label 1 under the two logits (0, score). */
function recordLoss(model: ScalarModel, B: number, T: number, lossScale: LossScale | undefined): LossProgram {
  const { batch, last, scores } = recordScores(model, B, T);
  const labels = input([B], "u32", "labels");
  const weights = input([B], "f32", "weights");
  const logits = concat([input([B, 1], "f32", "zeros"), scores.reshape(B, 1)], 1);
  const loss = crossEntropy(logits, labels, weights);
  backward(loss, lossScale);
  return { batch, last, scores: scores.detach(), labels, weights, loss: loss.detach() };
}

function writeBatch({ batch, last }: ScoreProgram, part: ClassifierBatch): void {
  batch.ids.write(part.ids);
  batch.positions.write(part.positions);
  batch.range.write(part.range);
  last.write(part.last);
}

async function learn(
  programs: Programs<LossProgram>,
  part: ClassifierBatch,
  divisor: number,
): Promise<Tensor> {
  const program = await programs.at(part.T);
  writeBatch(program.result, part);
  program.result.labels.write(part.labels);
  program.result.weights.write(part.labels.map(() => 1 / divisor));
  program.run();
  return program.result.loss;
}

function checkLength(length: number, blockSize: number): void {
  if (length >= 1 && length <= blockSize) return;
  throw new ConfigError(
    `classifier: a text has ${length} tokens; expected 1 to ${blockSize}, the model's context. Cut it first`,
  );
}
