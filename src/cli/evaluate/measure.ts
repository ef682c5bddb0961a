/** A policy measured on the prompts of a cache, with progress. */
import { entryCdf } from "../../align/cache/cache.ts";
import { type Evaluation, evaluatePolicy } from "../../align/evaluation.ts";
import type { Reward } from "../../align/rewards.ts";
import type { Scorer } from "../../align/scorer.ts";
import type { Tokenizer } from "../../data/tokenizer/tokenizer.ts";
import type { Engine } from "../../generate/engine.ts";
import type { CacheTask } from "../cache/task.ts";
import type { Io } from "../verb.ts";
import type { Judge } from "./report.ts";

/** Who is measured, and by what. */
export interface Measured {
  readonly engine: Engine;
  readonly scorer: Scorer;
  readonly tokenizer: Tokenizer;
  readonly reward: Reward;
  readonly task: CacheTask;
  readonly judge: Judge;
  /** Responses to each prompt. */
  readonly samples: number;
  readonly seed: number;
}

/** Draws the responses, scores them, compares them with the cached ones. */
export async function measure({ task, judge, samples, ...rest }: Measured, io: Io): Promise<Evaluation> {
  const { prompts, entries, sampling } = task;
  const progress = io.progress({
    label: "evaluate",
    total: samples * prompts.length * sampling.maxNewTokens,
    unit: "tokens",
  });
  let drawn = 0;
  const { evaluation } = await evaluatePolicy({
    ...rest,
    ...judge,
    prompts,
    cdfs: entries.map((e) => entryCdf(e)),
    samplesPerPrompt: samples,
    onProgress: (tokens) => progress.update((drawn += tokens)),
  });
  progress.stop();
  return evaluation;
}
