/** A policy on held-out prompts: win rate, reward, KL, J, lengths, diversity. */
import { distinctN, eosRate, lengthSummary } from "../evaluate/text-metrics.ts";
import { bootstrapMean, type Interval } from "../evaluate/win-rate.ts";
import { isFinished } from "../generate/engine.ts";
import { createRandom } from "../tensor/random.ts";
import { type KlEstimator, sequenceKl } from "./kl.ts";
import { type Answered, type AnswerStats, respond, type RespondOptions, statsOf } from "./rollout.ts";
import { mean } from "../evaluate/mean.ts";

/** The result of an evaluation. */
export interface Evaluation extends AnswerStats {
  readonly prompts: number;
  readonly samplesPerPrompt: number;
  /** Mean rank among the reference's cached scores, ties half, with a 95 % bootstrap interval over prompts. */
  readonly win: Interval;
  /** Standard error of the mean reward, over prompts. */
  readonly rewardSe: number;
  readonly klSe: number;
  readonly klK1Se: number;
  readonly klK3Se: number;
  readonly lengths: ReturnType<typeof lengthSummary>;
  readonly distinct1: number;
  readonly distinct2: number;
  /** The first response to each of the first prompts, for people to read. */
  readonly shown: readonly ShownResponse[];
}

/** A response as people read it. */
export interface ShownResponse {
  readonly prompt: string;
  readonly text: string;
  readonly score: number;
  /** Share of the prompt's cached scores that it beats, ties half. */
  readonly rank: number;
}

/** Prompts whose first response an evaluation keeps. */
const SHOWN = 8;

/** What to evaluate, and on how many samples. */
export interface EvaluateOptions extends RespondOptions {
  /** The reference's scores of every prompt, in their order. */
  readonly cdfs: NonNullable<RespondOptions["cdfs"]>;
  readonly samplesPerPrompt: number;
  readonly seed: number;
}

/** Evaluations draw from random numbers that neither caches nor rollouts use. */
const EVALUATION = 2 ** 33;

/**
 * Draws `samplesPerPrompt` responses to every prompt and measures them. The same seed draws the same random
 * numbers for every policy, so that policies are compared on equal terms.
 */
export async function evaluatePolicy(
  options: EvaluateOptions,
): Promise<{ evaluation: Evaluation; answered: Answered }> {
  const { prompts, samplesPerPrompt: S, seed } = options;
  const picks = prompts.flatMap((_, p) => Array.from({ length: S }, () => p));
  const answered = await respond(picks, (e) => e % S, seed + EVALUATION, options);
  const { episodes, scores } = answered;
  const perPrompt = (values: readonly number[]): number[] =>
    prompts.map((_, p) => mean(values.slice(p * S, (p + 1) * S)));
  const wins = perPrompt(episodes.map((e) => e.rank));
  const ids = episodes.map((e) => e.sample.ids);
  const sampled = (estimator: KlEstimator): number[] =>
    scores.logprobs.map((row, e) => sequenceKl(row, scores.refLogprobs[e]!, estimator));
  const evaluation = {
    ...statsOf(answered, options),
    prompts: prompts.length,
    samplesPerPrompt: S,
    win: bootstrapMean(wins, createRandom(seed, "bootstrap")),
    rewardSe: standardError(perPrompt(episodes.map((e) => e.score))),
    klSe: standardError(perPrompt(scores.kl.map((row) => row.reduce((a, b) => a + b, 0)))),
    klK1Se: standardError(perPrompt(sampled("k1"))),
    klK3Se: standardError(perPrompt(sampled("k3"))),
    eosRate: eosRate(episodes.map((e) => isFinished(e.sample))),
    lengths: lengthSummary(ids.map((r) => r.length)),
    distinct1: distinctN(ids, 1),
    distinct2: distinctN(ids, 2),
    shown: prompts.slice(0, SHOWN).map(({ text: prompt }, p) => {
      const { text, score, rank } = episodes[p * S]!;
      return { prompt, text, score, rank };
    }),
  };
  return { evaluation, answered };
}

/** Of a mean over prompts, which are independent where samples of one prompt are not. */
function standardError(perPrompt: readonly number[]): number {
  const m = mean(perPrompt);
  const variance = perPrompt.reduce((sum, x) => sum + (x - m) ** 2, 0) / Math.max(1, perPrompt.length - 1);
  return Math.sqrt(variance / perPrompt.length);
}
