/**
 * The empirical CDF of one prompt's reference scores: how good is a score for this prompt?
 *
 * Amini et al. 2025, Eq. 4 and 6: F(r) = P(score' < r) for a reference sample, strictly. The released code estimates it by
 * (k + 1)/(M + 1), k = #{m : s_m < r}, which is our default; Appendix C orders equal scores. alignment.md 1.3, 1.4.
 */

import { ConfigError } from "../../errors.ts";
import { countAtMost, countBelow, fractionBeaten, sortScores, tiedPairs } from "../../evaluate/ranks.ts";
import { hashIds } from "../../tensor/hash.ts";
import type { ExponentialFit } from "./exponential-fit.ts";

/** How F is made from the rank k: (k+1)/(M+1) | k/M, at least 1/(M+1) | (k+1)/(M+2) | (k + 1/2 + ties/2)/(M+1). */
export type Smoothing = "code" | "paper" | "laplace" | "mid";

/**
 * What equal scores mean: `strict` ignores them (fine for continuous scores); `total-order` breaks them by a key
 * (App. C); `random` treats the tied group as one outcome, as a Best-of-N that picks among tied maxima by lot.
 */
export type Ties = "strict" | "total-order" | "random";

/** `code`: log F and log pi_ref enter the closed form. `pooled`: ranks alone, see `pooledLogRatio`. */
export type Estimator = "code" | "pooled";

/** `none`: scores as they are. `bottom`: unfinished samples rank below all finished ones. A number: their score. */
export type MissingEos = "none" | "bottom" | number;

/** Settings of {@link createCdf}; every one has a default. */
export interface CdfOptions {
  smoothing?: Smoothing;
  ties?: Ties;
  estimator?: Estimator;
  missingEos?: MissingEos;
  /** `fitExponential`: replace the steps by the exponential fit where it is accepted. By default not: it breaks monotone invariance. */
  fit?: ((sorted: Float64Array) => ExponentialFit) | undefined;
  /** Of each cached sample, did it end with EOS? Read when `missingEos` is not `none`. */
  finished?: readonly boolean[];
  /** Tie-break key of each cached sample, compared element by element, a proper prefix first. For `total-order`. */
  keys?: readonly ArrayLike<number>[];
}

/** What else is known of the sample that is looked up. */
export interface SampleFacts {
  /** Default true. */
  finished?: boolean;
  /** Its tie-break key; needed for `total-order`. */
  key?: ArrayLike<number>;
}

/** Where a score stands among the reference's. The objectives read this and nothing else of the cache. */
export interface CdfPoint {
  /** log F, smoothed: <= 0, and -Infinity only for an exact F = 0. */
  logF: number;
  /** Log mass of the other samples with this score under `ties: "random"`, else -Infinity. */
  logTie: number;
  /** kL = #{s_m < score} (under the total order where that is on). */
  below: number;
  /** kR = #{s_m <= score}. */
  atMost: number;
  /** M. */
  size: number;
  estimator: Estimator;
}

/** The empirical CDF of one prompt. */
export interface EmpiricalCdf {
  /** M, the number of cached scores. */
  readonly size: number;
  /** Ascending; unfinished samples are -Infinity under `missingEos: "bottom"`. */
  readonly sorted: Float64Array;
  /** Share of pairs of cached scores that are equal; over 1 %, prefer the pooled estimator. */
  readonly tieRate: number;
  /** The fit, when it was asked for; used only where accepted. */
  readonly fit: ExponentialFit | undefined;
  /** @throws ConfigError for a score that is not finite, or a missing key under `total-order`. */
  at(score: number, facts?: SampleFacts): CdfPoint;
  /** Share of the M cached samples that `score` beats, ties half: the win rate of one sample. */
  rank(score: number, facts?: SampleFacts): number;
}

/**
 * The CDF of `scores` (M >= 1, any order, generation order included).
 * @throws ConfigError for a score that is not finite, or `keys`/`finished` that are missing or of another length.
 */
export function createCdf(scores: ArrayLike<number>, options: CdfOptions = {}): EmpiricalCdf {
  const { smoothing = "code", ties = "strict", estimator = "code", missingEos = "none" } = options;
  sortScores(scores, "createCdf");
  const placed = Float64Array.from(scores, (score, i) =>
    ruledScore(score, finishedAt(options, i, scores.length), missingEos),
  );
  const sorted = placed.slice().sort();
  const keysAt = ties === "total-order" ? sortedKeys(placed, options.keys) : undefined;
  const fit = options.fit?.(sorted);
  const size = sorted.length;

  const find = (score: number, facts: SampleFacts): number => {
    if (!Number.isFinite(score)) throw new ConfigError(`cdf: score is ${score}; expected a finite number`);
    return ruledScore(score, facts.finished ?? true, missingEos);
  };
  const at = (score: number, facts: SampleFacts = {}): CdfPoint => {
    const value = find(score, facts);
    const tied = { below: countBelow(sorted, value), atMost: countAtMost(sorted, value) };
    const { below, atMost } = keysAt ? narrow(tied, keysAt, facts.key) : tied;
    const fitted = fit?.accepted && Number.isFinite(value);
    const logF = fitted ? fit.logF(value) : Math.log(smoothed(smoothing, below, atMost, size));
    const logTie = ties === "random" ? Math.log((atMost - below) / (size + 1)) : -Infinity;
    return { logF, logTie, below, atMost, size, estimator };
  };
  const rank = (score: number, facts: SampleFacts = {}): number => fractionBeaten(sorted, find(score, facts));
  return { size, sorted, tieRate: tiedPairs(sorted).rate, fit, at, rank };
}

/**
 * Seeded tie-break key of a response: two hash words. Fair where the lexicographic order of App. C would favour
 * alphabetically late strings; for that order, pass the token ids themselves as keys.
 */
export function tieKey(ids: ArrayLike<number>, seed = 0): readonly [number, number] {
  return hashIds(ids, hashIds([seed]));
}

/** Element by element, a proper prefix first: below 0, 0 or above 0 (App. C). */
export function compareKeys(a: ArrayLike<number>, b: ArrayLike<number>): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/** F from the rank; every form lies in (0, 1], so that its log is finite. */
function smoothed(smoothing: Smoothing, below: number, atMost: number, size: number): number {
  switch (smoothing) {
    case "code":
      return (below + 1) / (size + 1);
    case "paper":
      return below === 0 ? 1 / (size + 1) : below / size;
    case "laplace":
      return (below + 1) / (size + 2);
    case "mid":
      return (below + 0.5 + (atMost - below) / 2) / (size + 1);
  }
}

/** What a score counts as: a response without an end may count as another score, or as less than any. */
export function ruledScore(score: number, finished: boolean, missingEos: MissingEos): number {
  if (finished || missingEos === "none") return score;
  return missingEos === "bottom" ? -Infinity : missingEos;
}

function finishedAt(options: CdfOptions, index: number, size: number): boolean {
  if ((options.missingEos ?? "none") === "none") return true;
  if (options.finished?.length !== size) {
    throw new ConfigError(
      `createCdf: missingEos needs "finished" for all ${size} cached samples, got ${options.finished?.length ?? "none"}; ` +
        `rebuild the cache or set missingEos to "none"`,
    );
  }
  return options.finished[index] ?? true;
}

function sortedKeys(placed: Float64Array, keys: CdfOptions["keys"]): ArrayLike<number>[] {
  if (keys?.length !== placed.length) {
    throw new ConfigError(
      `createCdf: ties "total-order" needs ${placed.length} keys, got ${keys?.length ?? "none"}`,
    );
  }
  const pairs = keys.map((key, i) => ({ key, score: placed[i] ?? 0 }));
  // -Infinity minus -Infinity is NaN, so scores are compared, not subtracted.
  pairs.sort((a, b) => (a.score < b.score ? -1 : a.score > b.score ? 1 : compareKeys(a.key, b.key)));
  return pairs.map((pair) => pair.key);
}

/** Within the run of equal scores, counts the keys below and up to `key`. */
function narrow(
  tied: { below: number; atMost: number },
  keys: readonly ArrayLike<number>[],
  key: ArrayLike<number> | undefined,
): { below: number; atMost: number } {
  if (!key) throw new ConfigError(`cdf: ties "total-order" needs the sample's key; pass tieKey(ids)`);
  const run = keys.slice(tied.below, tied.atMost).map((other) => compareKeys(other, key));
  const before = run.filter((order) => order < 0).length;
  const same = run.filter((order) => order === 0).length;
  return { below: tied.below + before, atMost: tied.below + before + same };
}
