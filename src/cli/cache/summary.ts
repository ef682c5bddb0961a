/** What a reward cache holds, in a line. */
import { createCdf } from "../../align/best-of-n/cdf.ts";
import type { RewardCache } from "../../align/cache/cache.ts";
import { percent } from "../../report/format.ts";

/** Numbers for `--json`, and the same as text. */
export interface CacheSummary {
  readonly record: Readonly<Record<string, number>>;
  readonly text: string;
}

/** Prompts, samples, and how the reference scores; `tieRate` is the share of tied pairs within prompts. */
export function cacheSummary({ entries }: RewardCache): CacheSummary {
  const all = [...entries.values()];
  const rewards = all.flatMap((e) => e.rewards);
  const mean = average(rewards);
  const sd = Math.sqrt(average(rewards.map((r) => (r - mean) ** 2)));
  const tieRate = average(all.map((e) => createCdf(e.rewards).tieRate));
  const record = { prompts: all.length, samples: rewards.length, meanReward: mean, sdReward: sd, tieRate };
  const text =
    `${all.length} prompts, ${rewards.length} samples, reward ${mean.toFixed(4)} (sd ${sd.toFixed(4)}), ` +
    `${percent(tieRate)} tied pairs`;
  return { record, text };
}

const average = (xs: readonly number[]): number => xs.reduce((a, b) => a + b, 0) / xs.length;
