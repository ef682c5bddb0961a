/** Offline objectives on TL-1: caches in the reference's exact proportions, training, and where it ought to end. */
import type { CacheEntry } from "../../src/align/cache/cache.ts";
import { promptIdOf } from "../../src/align/cache/cache.ts";
import { createOfflineRun, type OfflineRun, type OfflineTraining } from "../../src/align/offline/run.ts";
import type { OfflineObjective, OfflineSettings } from "../../src/align/objectives/index.ts";
import type { Device } from "../../src/gpu/device.ts";
import { createRandom } from "../../src/tensor/random.ts";
import * as strings from "./string-model.ts";
import * as table from "./table-model.ts";
import * as tl1 from "./tl1.ts";

/** Settings whose knobs do nothing. */
export const settings: OfflineSettings = {
  n: 2,
  beta: 1,
  labelSmoothing: 0,
  alpha: 0.005,
  desirable: 1,
  undesirable: 1,
};

/** How many of a prompt's 200 responses are each string: exactly 200 pi_ref. */
export const counts: readonly number[] = tl1.logRef.map((logP) => Math.round(200 * Math.exp(logP)));

/**
 * `prompts` prompts that end in BOS, and so have the same conditionals, each with 200 responses in the reference's
 * proportions.
 * @param noise added to the rewards: row y holds a number for each copy of string y over all prompts
 */
export function entries(prompts: number, noise?: readonly (readonly number[])[]): CacheEntry[] {
  return Array.from({ length: prompts }, (_, p) => {
    const ids = [...[1, 2, 4, 8].map((bit) => ((p & bit) > 0 ? table.A : table.B)), table.BOS];
    const drawn = counts.flatMap((count, y) => Array.from({ length: count }, (__, copy) => ({ y, copy })));
    return {
      promptId: promptIdOf(ids),
      prompt: `prompt ${p}`,
      promptIds: ids,
      rewards: drawn.map(({ y, copy }) => tl1.rewards[y]! + (noise?.[y]![p * counts[y]! + copy] ?? 0)),
      logprobs: drawn.map(({ y }) => tl1.logRef[y]!),
      responseIds: drawn.map(({ y }) => table.responseOf(y)),
    };
  });
}

/**
 * Gumbel noise for `prompts` prompts, at the quantiles of each string's copies in a random order: of two rewards with such
 * noise the larger is chosen with probability sigmoid(difference), which is Bradley-Terry's label.
 */
export function gumbelNoise(prompts: number): number[][] {
  return counts.map((count, y) => {
    const total = count * prompts;
    const order = createRandom(7, `gumbel ${y}`).permutation(total);
    return order.map((k) => -Math.log(-Math.log((k + 0.5) / total)));
  });
}

/** Of a step over all groups of n of `prompts` prompts. */
export function training(prompts: number, n: number, rest: Partial<OfflineTraining> = {}): OfflineTraining {
  const sizes = { minibatch: (400 / n) * prompts, microBatch: (400 / n) * prompts, passes: 150 };
  const rates = { lr: 0.1, lrSchedule: "linear", warmup: 0, betas: [0.9, 0.95], weightDecay: 0 } as const;
  return { ...sizes, ...rates, gradClip: 0, seed: 0, saveEvery: 0, evalEvery: 0, ...rest };
}

/** A run from TL-1's reference. */
export function offlineRun(
  device: Device,
  objective: OfflineObjective,
  some: Partial<OfflineSettings>,
  cached: readonly CacheEntry[],
  how: OfflineTraining,
): Promise<OfflineRun> {
  return createOfflineRun({
    refPolicy: table.tableModel(device),
    entries: cached,
    objective,
    settings: { ...settings, ...some },
    temperature: 1,
    missingEos: "none",
    training: how,
  });
}

/** log pi of the seven strings after training from the reference. */
export async function trained(...args: Parameters<typeof offlineRun>): Promise<number[]> {
  const run = await offlineRun(...args);
  await run.training.run({});
  const logPi = strings.stringLogprobs(tl1.model, await table.tableOf(run.policy));
  run.dispose();
  return logPi;
}

/** P(best = c, worst = r) over groups of n of the 200 responses, [c][r]; ties (c = r) included. */
export function groupLaw(n: number): number[][] {
  const order = tl1.rewards.map((_, y) => y).toSorted((a, b) => tl1.rewards[a]! - tl1.rewards[b]!);
  const choose = (m: number): number => {
    let product = 1;
    for (let i = 0; i < n; i++) product *= Math.max(0, m - i) / (200 - i);
    return product;
  };
  const within = (lo: number, hi: number): number =>
    choose(strings.total(order.slice(lo, hi + 1).map((y) => counts[y]!)));
  const law = tl1.rewards.map(() => tl1.rewards.map(() => 0));
  order.forEach((c, hi) =>
    order.slice(0, hi + 1).forEach((r, lo) => {
      const inner = lo + 1 <= hi - 1 ? within(lo + 1, hi - 1) : 0;
      const [above, below] = lo < hi ? [within(lo + 1, hi), within(lo, hi - 1)] : [0, 0];
      law[c]![r] = within(lo, hi) - above - below + inner;
    }),
  );
  return law;
}

/** P(best = y) over groups of n. */
export const bestLaw = (n: number): number[] => groupLaw(n).map(strings.total);

/**
 * Where gradient descent over all distributions ends, from the reference, in float64.
 * @param slope d loss / d log pi(y) as if the log-probabilities were free
 */
export function descend(
  slope: (logPi: readonly number[]) => readonly number[],
  steps = 20_000,
  lr = 0.3,
): number[] {
  let logits = [...tl1.logRef];
  for (let i = 0; i < steps; i++) {
    const [logPi] = strings.logSoftmax([logits]) as [number[]];
    const g = slope(logPi);
    const whole = strings.total([...g]);
    logits = logits.map((z, y) => z - lr * (g[y]! - whole * Math.exp(logPi[y]!)));
  }
  return strings.logSoftmax([logits])[0]!;
}

/** The slope of sum over pairs of w(c, r) loss(h), w = {@link groupLaw} without its ties, from loss'(h). */
export function pairSlope(n: number, derivative: (h: number) => number): Parameters<typeof descend>[0] {
  const law = groupLaw(n);
  return (logPi) => {
    const slope = logPi.map(() => 0);
    const ratio = logPi.map((x, y) => x - tl1.logRef[y]!);
    law.forEach((row, c) =>
      row.forEach((w, r) => {
        if (c === r) return;
        const d = w * derivative(ratio[c]! - ratio[r]!);
        slope[c]! += d;
        slope[r]! -= d;
      }),
    );
    return slope;
  };
}
