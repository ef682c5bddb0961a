/** The demo's results as records for the page. */
import { createCdf } from "../../align/best-of-n/cdf.ts";
import { cacheEntry, type CacheEntry } from "../../align/cache/cache.ts";
import type { AlignMetrics } from "../../align/loop.ts";
import { bonCurve, bonKlBound, expectedBest, expectedBonWin } from "../../evaluate/bon-curve.ts";
import { mean } from "../../evaluate/mean.ts";
import { distinctN } from "../../evaluate/text-metrics.ts";
import { bootstrapMean } from "../../evaluate/win-rate.ts";
import { runtime } from "../../host.ts";
import type {
  BonPoint,
  Comparison,
  MethodResult,
  PromptSamples,
  SampleRow,
  TrainingPoint,
} from "../../report/types.ts";
import { createRandom } from "../../tensor/random.ts";
import { version } from "../version.ts";
import type { Aligned, Judged } from "./align.ts";
import type { Caches } from "./caches.ts";
import type { Stage } from "./stages.ts";

/** Everything that was measured. */
export interface DemoResults {
  readonly title: string;
  readonly caches: Caches;
  readonly reference: Judged;
  readonly ppo: Aligned;
  readonly vbon: Aligned;
  /** PPO's KL coefficient. */
  readonly beta: number;
  /** Adapter, as the device calls it. */
  readonly adapter: string;
}

/** N of the Best-of-N curve, as far as the test cache reaches. */
const NS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32];

/** The records of the report page. */
export async function comparisonOf(results: DemoResults, stage: Stage): Promise<Comparison> {
  const { reference, ppo, vbon, beta, adapter, caches } = results;
  const { plan, prompts, opened, reward, seed, generate, clock } = stage;
  const entries = prompts.test.map((p) => cacheEntry(caches.test, p));
  const { n } = stage.vbon;
  const { episodes, rolloutSize, minibatch, lr, valueLr } = plan.ppo;
  return {
    title: results.title,
    task: {
      policy: opened.name,
      reward: shortName(reward.name),
      prompts: prompts.test.length,
      M: plan.samples.test,
      N: n,
      maxNewTokens: generate.maxNewTokens,
      temperature: generate.temperature,
      seed,
      machine: `${adapter}, ${runtime()}`,
      date: new Date().toISOString(),
      version: await version(),
      durations: clock.seconds,
      settings: {
        "train prompts": prompts.train.length,
        "train samples per prompt": plan.samples.train,
        "episodes of each method": episodes,
        "rollout, minibatch": `${rolloutSize}, ${minibatch}`,
        "learning rates, policy and value": `${lr}, ${valueLr}`,
        "samples per test prompt": plan.samplesPerPrompt,
      },
    },
    methods: [
      methodOf("reference", reference),
      methodOf("vbon", vbon, `N = ${n}`),
      methodOf("ppo", ppo, `beta = ${beta.toPrecision(2)}`),
      bestOf(entries, Math.round(n), seed),
    ],
    bonCurve: curveOf(entries),
    trainingCurves: { vbon: vbon.metrics.map(pointOf), ppo: ppo.metrics.map(pointOf) },
    cdfs: entries.map(({ prompt, rewards }) => ({ prompt, rewards })),
    samples: samplesOf(results, entries, Math.round(n)).slice(0, plan.shown.page),
  };
}

/** A reward's name without the hash of its weights. */
export const shortName = (name: string): string => name.split("@")[0]!;

function methodOf(name: string, { evaluation }: Judged, setting?: string): MethodResult {
  const { reward, rewardSe, win, kl, klK1, klK3, J, length, eosRate, distinct2 } = evaluation;
  const measured = {
    reward,
    rewardSe,
    win: win.mean,
    winInterval: [win.low, win.high] as const,
    kl,
    klK1,
    klK3,
    J,
  };
  return { name, ...(setting !== undefined && { setting }), ...measured, length, eosRate, distinct2 };
}

/**
 * Best-of-n from the cached samples: reward and win rate by the unbiased order statistics, KL by its bound, and what its
 * responses look like from the best of each n consecutive samples.
 */
function bestOf(entries: readonly CacheEntry[], n: number, seed: number): MethodResult {
  const rewards = entries.map((e) => expectedBest(e.rewards, n));
  const win = bootstrapMean(
    entries.map((e) => expectedBonWin(e.rewards, n)),
    createRandom(seed, "bootstrap"),
  );
  const winners = entries.flatMap((e) => {
    const groups = Math.floor(e.rewards.length / n);
    return Array.from({ length: groups }, (_, g) => ({ e, best: bestIndex(e.rewards, g * n, n) }));
  });
  const ids = winners.map(({ e, best }) => e.responseIds?.[best] ?? []);
  return {
    name: `best-of-${n}`,
    reward: mean(rewards),
    rewardSe: standardError(rewards),
    win: win.mean,
    winInterval: [win.low, win.high],
    kl: bonKlBound(n),
    length: mean(ids.map((row) => row.length)),
    eosRate: mean(winners.map(({ e, best }) => Number(e.finished?.[best] ?? false))),
    distinct2: distinctN(ids, 2),
  };
}

function bestIndex(rewards: readonly number[], first: number, n: number): number {
  const some = rewards.slice(first, first + n);
  return first + some.indexOf(Math.max(...some));
}

function curveOf(entries: readonly CacheEntry[]): BonPoint[] {
  const fewest = Math.min(...entries.map((e) => e.rewards.length));
  const points = bonCurve(
    entries.map((e) => e.rewards),
    NS.filter((n) => n < fewest),
  );
  return points.map(({ n, reward, winRate, klBound }) => ({ n, reward, win: winRate ?? NaN, kl: klBound }));
}

function pointOf({ episodes, reward, rank, kl, entropy, clipFrac }: AlignMetrics): TrainingPoint {
  return { episodes, reward, rank, kl, entropy, clipFraction: clipFrac };
}

/** The first response of each policy to a prompt, and the best of the first n cached ones. */
function samplesOf(
  { reference, ppo, vbon }: DemoResults,
  entries: readonly CacheEntry[],
  n: number,
): PromptSamples[] {
  const row = (method: string, { first }: Judged, p: number): SampleRow => {
    const { text, score, rank } = first[p]!;
    return { method, text, score, rank };
  };
  return entries.map((entry, p) => ({
    prompt: entry.prompt,
    rows: [row("reference", reference, p), row("vbon", vbon, p), row("ppo", ppo, p), bestSample(entry, n)],
  }));
}

function bestSample(entry: CacheEntry, n: number): SampleRow {
  const best = bestIndex(entry.rewards, 0, n);
  const score = entry.rewards[best]!;
  return {
    method: `best-of-${n}`,
    text: entry.responses?.[best] ?? "",
    score,
    rank: createCdf(entry.rewards).rank(score),
  };
}

function standardError(xs: readonly number[]): number {
  const m = mean(xs);
  return Math.sqrt(xs.reduce((sum, x) => sum + (x - m) ** 2, 0) / Math.max(1, xs.length - 1) / xs.length);
}
