/** Training of classifiers: one number a text, read at the token that the model says, the log-odds that it is good. */
import { bucketLength, padBatch } from "../data/batch.ts";
import { ConfigError } from "../errors.ts";
import type { Batch, ScalarModel } from "../nn/lm.ts";
import { type Reads, readIndex } from "../nn/pooling.ts";
import { takeRows } from "../ops/gather.ts";
import { concat } from "../ops/layout.ts";
import { crossEntropy } from "../ops/logprob.ts";
import { backward } from "../optim/gradients.ts";
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
  scores(texts: readonly (readonly number[])[]): Promise<Float32Array>;
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
  for (const texts of [heldOut ?? [], train]) if (texts.length > 0) longestText(idsOf(texts), blockSize);
  const learning = programsByLength(device, "train", (T) => recordLoss(model, settings.batch, T));
  const classifier = heldOut && createClassifier(model, settings.batch);
  const lesson: Lesson<LabelledBatch> = {
    count: train.length,
    gather(items, step) {
      const texts = items.map((i) => dropTokens(train[i]!.ids, i, step, settings, model.reads));
      const labels = items.map((i) => train[i]!.label);
      return { ...gatherTexts(texts, model), tokens: items.length, labels };
    },
    learn: (part, divisor) => learn(learning, part, divisor),
    ...(classifier && { evaluate: () => classifier.evaluate(heldOut) }),
    dispose() {
      learning.dispose();
      classifier?.dispose();
    },
  };
  const training = await createTraining(model.parameters, lesson, settings);
  await learning.at(longestText(idsOf(train), blockSize));
  return training;
}

/** Prepares scoring of `batch` texts side by side, the model's weights as they are at each call. */
export function createClassifier(model: ScalarModel, batch: number): Classifier {
  const programs = programsByLength(model.parameters.device, "classify", (T) =>
    recordScores(model, batch, T),
  );
  const scores: Classifier["scores"] = async (texts) => {
    const out = new Float32Array(texts.length);
    const order = texts.map((_, i) => i).toSorted((a, b) => texts[a]!.length - texts[b]!.length);
    for (const { items, real } of evalBatches(texts.length, batch)) {
      const part = gatherTexts(
        items.map((i) => texts[order[i]!]!),
        model,
      );
      const program = await programs.at(part.T);
      writeTexts(program.result, part);
      program.run();
      const found = await program.result.scores.read();
      for (let i = 0; i < real; i++) out[order[items[i]!]!] = found[i]!;
    }
    return out;
  };
  return {
    scores,
    evaluate: async (texts) => resultsOf(await scores(idsOf(texts)), texts),
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
 * Leaves each token out with probability `tokenDropout` (word dropout of Iyyer et al. 2015, "Deep unordered composition
 * rivals syntactic methods"). One at least stays, and a first token that is read. Drawn for the item and the step, whatever its batch.
 */
export function dropTokens(
  ids: readonly number[],
  item: number,
  step: number,
  { tokenDropout, seed }: ClassifierSettings,
  reads: Reads,
): readonly number[] {
  if (tokenDropout === 0) return ids;
  const random = createRandom(seed, `token dropout ${step}.${item}`);
  const stays = (i: number): boolean => reads === "first" && i === 0;
  const kept = ids.filter((_, i) => random.float() >= tokenDropout || stays(i));
  return kept.length > 0 ? kept : ids.slice(-1);
}

const idsOf = (texts: readonly LabelledIds[]): (readonly number[])[] => texts.map(({ ids }) => ids);

/** B texts, padded to T tokens. */
export interface TextBatch {
  readonly T: number;
  readonly ids: Uint32Array;
  readonly positions: Uint32Array;
  readonly range: Uint32Array;
  /** [B]: the row of the hidden states, [B·T, C], that is read of each text. */
  readonly read: number[];
}

interface LabelledBatch extends TextBatch {
  /** Texts: each counts as one. */
  readonly tokens: number;
  readonly labels: readonly number[];
}

/** Texts as a batch for the model. */
export function gatherTexts(
  texts: readonly (readonly number[])[],
  { config, reads }: ScalarModel,
): TextBatch {
  const T = bucketLength(Math.max(...texts.map(({ length }) => length)), config.blockSize);
  const { ids, positions, range } = padBatch(texts, { padId: 0, length: T });
  const read = texts.map(({ length }, b) => readIndex(reads, b, T, length));
  return { T, ids, positions, range, read };
}

/** A program that scores a batch. */
export interface ScoreProgram {
  readonly batch: Batch;
  /** u32 [B] */
  readonly read: Tensor;
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

/** The scores of B texts of T tokens, with a gradient. */
export function recordScores(model: ScalarModel, B: number, T: number): ScoreProgram {
  const batch = {
    ids: input([B, T], "u32", "ids"),
    positions: input([B, T], "u32", "positions"),
    range: input([B, 2], "u32", "range"),
  };
  const read = input([B], "u32", "read");
  const scores = model.scores(takeRows(model.hidden(batch).reshape(B * T, -1), read));
  return { batch, read, scores };
}

/** -log sigmoid(score) is the cross-entropy of the label 1 under the two logits (0, score). */
function recordLoss(model: ScalarModel, B: number, T: number): LossProgram {
  const { batch, read, scores } = recordScores(model, B, T);
  const labels = input([B], "u32", "labels");
  const weights = input([B], "f32", "weights");
  const logits = concat([input([B, 1], "f32", "zeros"), scores.reshape(B, 1)], 1);
  const loss = crossEntropy(logits, labels, weights);
  backward(loss);
  return { batch, read, scores: scores.detach(), labels, weights, loss: loss.detach() };
}

/** Writes a batch to a program's inputs. */
export function writeTexts({ batch, read }: ScoreProgram, part: TextBatch): void {
  batch.ids.write(part.ids);
  batch.positions.write(part.positions);
  batch.range.write(part.range);
  read.write(part.read);
}

async function learn(programs: Programs<LossProgram>, part: LabelledBatch, divisor: number): Promise<Tensor> {
  const program = await programs.at(part.T);
  writeTexts(program.result, part);
  program.result.labels.write(part.labels);
  program.result.weights.write(part.labels.map(() => 1 / divisor));
  program.run();
  return program.result.loss;
}

/**
 * The length of the program that the longest of the texts needs.
 * @throws ConfigError for a text without tokens or longer than the context
 */
export function longestText(texts: readonly (readonly number[])[], blockSize: number): number {
  const wrong = texts.find(({ length }) => length < 1 || length > blockSize);
  if (!wrong) return bucketLength(Math.max(...texts.map(({ length }) => length)), blockSize);
  throw new ConfigError(
    `classifier: a text has ${wrong.length} tokens; expected 1 to ${blockSize}, the model's context. Cut it first`,
  );
}
