/** What an analysis of a reward cache is: a question, and a pure function from the prompts' scores to a table and curves. */

import { ConfigError } from "../../errors.ts";
import type { RewardCache } from "../cache/cache.ts";

/** The scores of one prompt's reference samples, in the order of generation. */
export interface ScoredPrompt {
  readonly prompt: string;
  readonly rewards: readonly number[];
}

/** What every analysis may be told; each reads what it needs. */
export interface AnalysisSettings {
  /** Numbers of samples M; left out: the analysis's own. */
  readonly m?: readonly number[];
  /** N of Best-of-N; left out: powers of two. */
  readonly n?: readonly number[];
  /** Level of the test, in (0, 1). */
  readonly alpha: number;
}

/** One column of the table. */
export interface AnalysisColumn {
  /** Field of a row. */
  readonly key: string;
  readonly title: string;
  /** Decimals. */
  readonly digits?: number;
}

export type AnalysisRow = Readonly<Record<string, number | string | undefined>>;

/** A line of the picture; `low` to `high` is the spread about a point. */
export interface Curve {
  readonly name: string;
  /** The panel it belongs to, and its title. */
  readonly panel: string;
  readonly points: readonly (readonly [x: number, y: number, low?: number, high?: number])[];
}

/** What to draw: titles of the axes, whether lines jump as a CDF does, and the lines. */
export interface Picture {
  readonly x: string;
  /** Empty: each panel's title names its own quantity. */
  readonly y: string;
  readonly step: boolean;
  /** Draw x by its logarithm. */
  readonly logX?: boolean;
  readonly curves: readonly Curve[];
}

/** What came out. */
export interface AnalysisResult {
  readonly columns: readonly AnalysisColumn[];
  readonly rows: readonly AnalysisRow[];
  /** What the numbers say, a sentence each. */
  readonly notes: readonly string[];
  readonly picture?: Picture;
}

/** One analysis. To add one: its file here, and a line in `index.ts`. */
export interface Analysis {
  readonly name: string;
  /** What it answers, and where the paper has it. */
  readonly question: string;
  run(prompts: readonly ScoredPrompt[], settings: AnalysisSettings): AnalysisResult;
}

/**
 * The prompts of a cache.
 * @throws ConfigError for a cache without prompts
 */
export function promptsOf({ entries }: RewardCache): ScoredPrompt[] {
  if (entries.size === 0)
    throw new ConfigError("analyse: the cache holds no prompt; build it with `vbon cache`");
  return [...entries.values()].map(({ prompt, rewards }) => ({ prompt, rewards }));
}

/** The fewest samples of a prompt. */
export const fewest = (prompts: readonly ScoredPrompt[]): number =>
  Math.min(...prompts.map(({ rewards }) => rewards.length));

/**
 * The values asked for, or those of `usual` that the cache has samples for.
 * @throws ConfigError for a value outside 1 .. most
 */
export function within(
  name: string,
  asked: readonly number[] | undefined,
  usual: readonly number[],
  most: number,
): readonly number[] {
  const wrong = asked?.find((value) => !Number.isInteger(value) || value < 1 || value > most);
  if (wrong !== undefined)
    throw new ConfigError(
      `analyse: --${name} ${wrong}: expected whole numbers from 1 to ${most}, which is what this cache's samples allow`,
    );
  return asked ?? usual.filter((value) => value <= most);
}

/** A value such that the share `q` of them is at most it (nearest rank); NaN of nothing. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? NaN;
}
