/** Training of rewards from preferences: the chosen text of a pair is to score higher than the rejected one. */
import type { ScalarModel } from "../nn/lm.ts";
import { mul, sub } from "../ops/binary.ts";
import { slice } from "../ops/layout.ts";
import { sum } from "../ops/reduce.ts";
import { logSigmoid, neg } from "../ops/unary.ts";
import { backward } from "../optim/gradients.ts";
import { input, type Tensor } from "../tensor/tensor.ts";
import {
  type ClassifierResults,
  type ClassifierSettings,
  createClassifier,
  dropTokens,
  gatherTexts,
  longestText,
  recordScores,
  type ScoreProgram,
  type TextBatch,
  writeTexts,
} from "./reward.ts";
import { createTraining, type Lesson, programsByLength, type Training } from "./training.ts";

/** Two texts as token ids, at least one each. */
export interface PairIds {
  readonly chosen: readonly number[];
  readonly rejected: readonly number[];
}

/** What to learn from, and what to evaluate on while learning. */
export interface PreferenceData {
  readonly train: readonly PairIds[];
  readonly heldOut: readonly PairIds[];
}

/**
 * Prepares training by -log sigmoid(chosen - rejected), the likelihood of Bradley and Terry's model of which is preferred
 * (Bradley & Terry 1952; Ouyang et al. 2022, Eq. 1). `batch` counts pairs.
 * @param model with trained parameters
 * @throws ConfigError for a text without tokens or longer than the model's context, and as {@link createTraining}
 */
export async function preferenceTraining(
  model: ScalarModel,
  { train, heldOut }: PreferenceData,
  settings: ClassifierSettings,
): Promise<Training> {
  const { blockSize } = model.config;
  longestText(textsOf(heldOut), blockSize);
  const longest = longestText(textsOf(train), blockSize);
  const programs = programsByLength(model.parameters.device, "preferences", (T) =>
    recordPairs(model, settings.batch, T),
  );
  const judge = createPairJudge(model, settings.batch);
  const lesson: Lesson<PairBatch> = {
    count: train.length,
    gather(items, step) {
      // The chosen texts first, then the rejected ones; a text's number says which tokens it loses.
      const sides = (["chosen", "rejected"] as const).flatMap((side, s) =>
        items.map((i) => dropTokens(train[i]![side], 2 * i + s, step, settings, model.reads)),
      );
      return { ...gatherTexts(sides, model), tokens: items.length };
    },
    async learn(part, divisor) {
      const program = await programs.at(part.T);
      writeTexts(program.result, part);
      program.result.weights.write(new Float32Array(settings.batch).fill(1 / divisor));
      program.run();
      return program.result.loss;
    },
    evaluate: () => judge.evaluate(heldOut),
    dispose() {
      programs.dispose();
      judge.dispose();
    },
  };
  const training = await createTraining(model.parameters, lesson, settings);
  await programs.at(longest);
  return training;
}

interface PairBatch extends TextBatch {
  /** Pairs: each counts as one. */
  readonly tokens: number;
}

interface PairProgram extends ScoreProgram {
  /** [P] */
  readonly weights: Tensor;
  /** [1] */
  readonly loss: Tensor;
}

function recordPairs(model: ScalarModel, P: number, T: number): PairProgram {
  const program = recordScores(model, 2 * P, T);
  const weights = input([P], "f32", "weights");
  const loss = preferenceLoss(program.scores, weights);
  backward(loss);
  return { ...program, scores: program.scores.detach(), weights, loss: loss.detach() };
}

/**
 * sum_p w_p (-log sigmoid(chosen_p - rejected_p)).
 * @param scores [2P]: those of the chosen texts, then those of the rejected ones
 * @param weights [P]
 * @returns [1]
 */
export function preferenceLoss(scores: Tensor, weights: Tensor): Tensor {
  const P = weights.size;
  const margin = sub(slice(scores, 0, 0, P), slice(scores, 0, P, 2 * P));
  return neg(sum(mul(weights, logSigmoid(margin))));
}

/** Judges pairs by their scores. */
export interface PairJudge {
  /** Share of the pairs whose chosen text scores higher, and the mean loss in nats. */
  evaluate(pairs: readonly PairIds[]): Promise<ClassifierResults>;
  dispose(): void;
}

/** Prepares judging, `batch` texts side by side, with the model's weights as they are at each call. */
export function createPairJudge(model: ScalarModel, batch: number): PairJudge {
  const classifier = createClassifier(model, batch);
  return {
    async evaluate(pairs) {
      const scores = await classifier.scores(textsOf(pairs));
      const margins = pairs.map((_, i) => scores[2 * i]! - scores[2 * i + 1]!);
      const loss = margins.map((m) => Math.max(0, -m) + Math.log1p(Math.exp(-Math.abs(m))));
      const mean = (xs: readonly number[]): number => xs.reduce((a, b) => a + b, 0) / xs.length;
      return { evalAccuracy: mean(margins.map((m) => (m > 0 ? 1 : 0))), evalLoss: mean(loss) };
    },
    dispose: () => classifier.dispose(),
  };
}

const textsOf = (pairs: readonly PairIds[]): (readonly number[])[] =>
  pairs.flatMap(({ chosen, rejected }) => [chosen, rejected]);
