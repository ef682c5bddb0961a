/** One rollout: prompts, responses of the policy, their scores, and from these the experience PPO learns from. */
import type { Tokenizer } from "../data/tokenizer/tokenizer.ts";
import { mean } from "../evaluate/mean.ts";
import { type Engine, isFinished, type Sample } from "../generate/engine.ts";
import { createRandom } from "../tensor/random.ts";
import { type Clock, createClock } from "../train/clock.ts";
import { type EmpiricalCdf, ruledScore, tieKey } from "./best-of-n/cdf.ts";
import { type Prompt, streamOf } from "./cache/build.ts";
import { judgeSamples } from "./judge.ts";
import { sequenceKl } from "./kl.ts";
import { type Objective, type ObjectiveSettings, terminalOf } from "./objectives/index.ts";
import type { Reward } from "./rewards.ts";
import type { Scorer, Scores } from "./scorer.ts";
import type { Sequence } from "./sequences.ts";
import type { Teacher } from "./teacher.ts";
import { gae, whiten } from "./update/advantage.ts";
import { groupAdvantages, type OnlineOptimizer } from "./update/group-advantage.ts";
import type { Experience } from "./update/ppo.ts";
import { tokenRewards } from "./update/reward-shaping.ts";

/** What a rollout needs; the models are inside `engine` and `scorer`. */
export interface RolloutOptions {
  readonly engine: Engine;
  readonly scorer: Scorer;
  readonly tokenizer: Tokenizer;
  readonly reward: Reward;
  readonly prompts: readonly Prompt[];
  /** The reference's scores of each prompt, in the order of `prompts`; undefined where no cache is used. */
  readonly cdfs: readonly EmpiricalCdf[] | undefined;
  readonly objective: Objective;
  readonly settings: ObjectiveSettings;
  readonly episodes: number;
  readonly seed: number;
  readonly gamma: number;
  readonly lam: number;
  /** How rewards become advantages; default "ppo". */
  readonly optimizer?: OnlineOptimizer;
  /** Responses to each prompt, one after the other; default 1. */
  readonly group?: number;
  /** Divide per-token rewards by their standard deviation over the rollout; their mean stays. Default false. */
  readonly whitenRewards?: boolean;
  readonly teacher?: Teacher | undefined;
  readonly onProgress?: (tokens: number) => void;
  /** Counts seconds: `generate`, `score` (by the models), `reward`, `shape` (from scores to advantages), `teach`. */
  readonly clock?: Clock;
}

/** A response with all that was learned about it. */
export interface Episode {
  readonly prompt: number;
  readonly sample: Sample;
  readonly text: string;
  readonly score: number;
  /** Share of the prompt's cached scores that it beats, ties half; NaN without a cache. */
  readonly rank: number;
  /** The objective's terminal reward. */
  readonly terminal: number;
}

/** Means over responses; sums over a response's tokens where it says "a response". */
export interface AnswerStats {
  readonly reward: number;
  readonly rank: number;
  readonly terminal: number;
  /** Full-vocabulary KL(policy || reference), nats a response. */
  readonly kl: number;
  readonly klK1: number;
  readonly klK3: number;
  /** Entropy, nats a response. */
  readonly entropy: number;
  readonly length: number;
  readonly eosRate: number;
  /** E[terminal] / klWeight - KL: for the exact objective an estimate of -KL(policy || Best-of-N). */
  readonly J: number;
}

/** Means over a rollout. */
export interface RolloutStats extends AnswerStats {
  /** 1 - var(return - value) / var(return) over tokens. */
  readonly explainedVariance: number;
}

/** An experience with what pairs are made by. */
export interface JudgedExperience extends Experience {
  readonly score: number;
  /** log pi_ref of the response, nats. */
  readonly refLogprob: number;
}

export interface Rollout {
  readonly episodes: readonly Episode[];
  readonly experience: readonly JudgedExperience[];
  readonly stats: RolloutStats;
}

/** Prompt number `i` of an endless walk over `count` prompts, each pass in its own order. */
export function promptAt(i: number, count: number, seed: number): number {
  const pass = Math.floor(i / count);
  return createRandom(seed, `prompts of pass ${pass}`).permutation(count)[i % count]!;
}

/**
 * Draws and scores `episodes` responses. A pure function of the weights, the seed and `iteration`.
 * @param iteration counts rollouts from 0; decides prompts and random numbers
 * @throws ConfigError when the reward gives something else than finite numbers
 */
export async function rollout(iteration: number, options: RolloutOptions): Promise<Rollout> {
  const { prompts, episodes: count, seed, group = 1, teacher, clock = createClock() } = options;
  const first = iteration * count;
  const picks = Array.from({ length: count }, (_, e) =>
    promptAt(Math.floor((first + e) / group), prompts.length, seed),
  );
  // The cache was drawn from the same seed: high words of their own keep the rollouts' random numbers apart.
  const lessons = teacher && (await clock.time("teach", () => teacher.teach(picks, iteration)));
  const asked = { ...options, clock, ...(lessons && { rivals: lessons.map(({ rivals }) => rivals) }) };
  const answered = await respond(picks, (e) => first + e, seed + ROLLOUTS, asked);
  const anchored = await clock.time("score", () => teacher?.scorer?.score(answered.sequences));
  return clock.time("shape", () => {
    const { refLogprobs } = anchored ?? answered.scores;
    const experience = experienceOf(answered, refLogprobs, options).map((own, e) =>
      lessons ? { ...own, imitated: lessons[e]!.best } : own,
    );
    const stats = { ...statsOf(answered, options), explainedVariance: explained(experience) };
    return { episodes: answered.episodes, experience, stats };
  });
}

const ROLLOUTS = 2 ** 32;

/** Responses, what the models say of them, and what the reward does. */
export interface Answered {
  readonly episodes: readonly Episode[];
  readonly sequences: readonly Sequence[];
  readonly scores: Scores;
}

/** What {@link respond} needs. */
export interface RespondOptions extends Omit<
  RolloutOptions,
  "episodes" | "seed" | "gamma" | "lam" | "optimizer" | "group" | "whitenRewards" | "teacher"
> {
  /** Of each response, the scores of others to the same prompt that its objective compares it with. */
  readonly rivals?: readonly (readonly number[])[];
}

/**
 * One response to each of the prompts numbered `picks`, scored by models and reward.
 * @param index number of the e-th response among its prompt's: its random stream
 */
export async function respond(
  picks: readonly number[],
  index: (e: number) => number,
  seed: number,
  options: RespondOptions,
): Promise<Answered> {
  const { engine, scorer, prompts, onProgress, clock = createClock() } = options;
  const requests = picks.map((p, e) => ({
    ids: prompts[p]!.ids,
    stream: streamOf(prompts[p]!.ids, index(e)),
  }));
  const samples = await clock.time("generate", () =>
    engine.generate(requests, { seed, ...(onProgress && { onProgress }) }),
  );
  const sequences = samples.map((s, e) => ({ query: prompts[picks[e]!]!.ids, response: s.ids }));
  const scores = await clock.time("score", () => scorer.score(sequences));
  const judged = await clock.time("reward", () => judgeSamples(picks, samples, options));
  const episodes = await clock.time("shape", () => episodesOf(picks, samples, scores, judged, options));
  return { episodes, sequences, scores };
}

function episodesOf(
  picks: readonly number[],
  samples: readonly Sample[],
  scores: Scores,
  { texts, scores: judged }: Awaited<ReturnType<typeof judgeSamples>>,
  { cdfs, objective, settings, ...options }: RespondOptions,
): Episode[] {
  return samples.map((sample, e) => {
    const score = judged[e]!;
    const cdf = cdfs?.[picks[e]!];
    const finished = isFinished(sample);
    const logProbRef = scores.refLogprobs[e]!.reduce((a, b) => a + b, 0);
    const point = cdf?.at(score, { finished, key: tieKey(sample.ids) });
    const rivals = options.rivals?.[e];
    const terminal = terminalOf(
      objective,
      { score, finished, logProbRef, ...(point && { cdf: point }), ...(rivals && { rivals }) },
      settings,
    );
    return {
      prompt: picks[e]!,
      sample,
      text: texts[e]!,
      score,
      rank: cdf?.rank(score, { finished }) ?? NaN,
      terminal,
    };
  });
}

function experienceOf(
  { episodes, sequences, scores: { logprobs, refLogprobs, values } }: Answered,
  /** log-probabilities under the model that the KL penalty is against: the reference, or an anchor. */
  penalised: readonly Float32Array[],
  { objective, settings, gamma, lam, optimizer = "ppo", group = 1, whitenRewards = false }: RolloutOptions,
): JudgedExperience[] {
  const klWeight = objective.klWeight(settings);
  const shaped = episodes.map(({ terminal }, e) =>
    tokenRewards({ logprobs: logprobs[e]!, refLogprobs: penalised[e]!, terminal, klWeight }),
  );
  const rewards = whitenRewards ? whiten(shaped, { shiftMean: false }) : shaped;
  const { advantages, returns } =
    optimizer === "ppo"
      ? whitened(gae({ rewards, values, gamma, lam }))
      : grouped(rewards, groupAdvantages(optimizer, rewards.map(total), group));
  return sequences.map((s, e) => ({
    ...s,
    oldLogprobs: logprobs[e]!,
    oldValues: values[e]!,
    advantages: advantages[e]!,
    returns: returns[e]!,
    score: ruledScore(episodes[e]!.score, isFinished(episodes[e]!.sample), settings.missingEos ?? "none"),
    refLogprob: total(refLogprobs[e]!),
  }));
}

type Advantages = ReturnType<typeof gae>;

const whitened = ({ advantages, returns }: Advantages): Advantages => ({
  advantages: whiten(advantages),
  returns,
});

/** Each response's advantage at all of its tokens; no value function learns from the returns. */
function grouped(rewards: readonly Float64Array[], advantages: readonly number[]): Advantages {
  return {
    advantages: rewards.map((row, e) => new Float64Array(row.length).fill(advantages[e]!)),
    returns: rewards.map((row) => new Float64Array(row.length).fill(total(row))),
  };
}
const total = (xs: ArrayLike<number>): number => Array.from(xs).reduce((a, b) => a + b, 0);

/** The means of answered prompts. */
export function statsOf(
  { episodes, scores }: Answered,
  { objective, settings }: Pick<RespondOptions, "objective" | "settings">,
): AnswerStats {
  const kl = mean(scores.kl.map(total));
  const terminal = mean(episodes.map((e) => e.terminal));
  const estimate = (estimator: "k1" | "k3"): number =>
    mean(scores.logprobs.map((row, e) => sequenceKl(row, scores.refLogprobs[e]!, estimator)));
  return {
    reward: mean(episodes.map((e) => e.score)),
    rank: mean(episodes.map((e) => e.rank)),
    terminal,
    kl,
    klK1: estimate("k1"),
    klK3: estimate("k3"),
    entropy: mean(scores.entropy.map(total)),
    length: mean(episodes.map((e) => e.sample.ids.length)),
    eosRate: mean(episodes.map((e) => (isFinished(e.sample) ? 1 : 0))),
    J: terminal / objective.klWeight(settings) - kl,
  };
}

function explained(experience: readonly Experience[]): number {
  const returns = experience.flatMap((e) => Array.from(e.returns));
  const errors = experience.flatMap((e) => Array.from(e.returns, (r, t) => r - e.oldValues[t]!));
  const variance = (xs: readonly number[]): number => {
    const m = mean(xs);
    return mean(xs.map((x) => (x - m) ** 2));
  };
  return 1 - variance(errors) / variance(returns);
}
