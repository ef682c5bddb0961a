/** Preference pairs from scored samples of one prompt, for DPO and its relatives (alignment.md 2, D18). */

import { ConfigError } from "../errors.ts";
import { createRandom } from "../tensor/random.ts";
import { type MissingEos, ruledScore } from "./best-of-n/cdf.ts";
import type { CacheEntry } from "./cache/cache.ts";

/** Indices of two samples; `chosen` has the strictly larger score. */
export interface ScoredPair {
  chosen: number;
  rejected: number;
}

/**
 * All pairs of different scores, ties dropped: C(m, 2) less the tied ones, in order of the samples.
 * @throws ConfigError for a score that is not finite.
 */
export function untiedPairs(scores: ArrayLike<number>): ScoredPair[] {
  const pairs: ScoredPair[] = [];
  for (let i = 0; i < scores.length; i++) {
    const first = scores[i] ?? NaN;
    if (!Number.isFinite(first))
      throw new ConfigError(`untiedPairs: score ${i} is ${first}; expected a finite number`);
    for (let j = 0; j < i; j++) {
      const second = scores[j] ?? NaN;
      if (first !== second)
        pairs.push(first > second ? { chosen: i, rejected: j } : { chosen: j, rejected: i });
    }
  }
  return pairs;
}

/** Groups of n cached responses of one prompt, drawn anew in every pass. */
export interface Groups<E extends CacheEntry = CacheEntry> {
  /** Groups in a pass over all prompts. */
  readonly count: number;
  /** Group number `item` of pass `pass`: a pure function of both, of the seed, and of the prompt. */
  at(item: number, pass: number): Group<E>;
}

/** The best and the worst of a group: indices into the entry's samples, and whether they tie. */
export interface Group<E extends CacheEntry = CacheEntry> extends ScoredPair {
  readonly entry: E;
  readonly tied: boolean;
}

/** How responses are grouped and compared. */
export interface GroupOptions {
  readonly n: number;
  readonly seed: number;
  readonly missingEos: MissingEos;
}

/**
 * The M responses of each prompt in an order drawn from (seed, pass, prompt), cut into floor(M / n) groups of n: within a
 * pass no response is used twice, and a group is n independent draws from the reference. Equal scores: the first drawn.
 * @throws ConfigError when n is no whole number, or a prompt has fewer responses
 */
export function groupsOf<E extends CacheEntry>(
  entries: readonly E[],
  { n, seed, missingEos }: GroupOptions,
): Groups<E> {
  if (!(Number.isInteger(n) && n >= 1))
    throw new ConfigError(`pairs: n is ${n}; expected a whole number of responses to compare`);
  const prompts = entries.map((entry) => ({ entry, scores: comparedScores(entry, missingEos) }));
  const items = prompts.flatMap(({ entry, scores }) => {
    const groups = Math.floor(scores.length / n);
    if (groups === 0) {
      throw new ConfigError(
        `pairs: the prompt ${JSON.stringify(entry.prompt)} has ${scores.length} cached responses; expected at least n = ${n} to compare`,
      );
    }
    return Array.from({ length: groups }, (_, group) => ({ entry, scores, group }));
  });
  const latest = new Map<CacheEntry, { pass: number; order: readonly number[] }>();
  const orderOf = (entry: CacheEntry, pass: number): readonly number[] => {
    const known = latest.get(entry);
    if (known?.pass === pass) return known.order;
    const order = createRandom(seed, `groups ${pass} ${entry.promptId}`).permutation(entry.rewards.length);
    latest.set(entry, { pass, order });
    return order;
  };
  return {
    count: items.length,
    at(item, pass) {
      const { entry, scores, group } = items[item]!;
      return { entry, ...bestAndWorst(orderOf(entry, pass).slice(group * n, (group + 1) * n), scores) };
    },
  };
}

/** Of the samples numbered `drawn` the one with the largest score; of equal ones the first drawn. */
export const bestOfDrawn = (drawn: readonly number[], scores: ArrayLike<number>): number =>
  drawn.reduce((best, m) => (scores[m]! > scores[best]! ? m : best), drawn[0]!);

function bestAndWorst(drawn: readonly number[], scores: readonly number[]): ScoredPair & { tied: boolean } {
  const first = drawn[0]!;
  const chosen = bestOfDrawn(drawn, scores);
  const rejected = drawn.reduce((worst, m) => (scores[m]! < scores[worst]! ? m : worst), first);
  return { chosen, rejected, tied: scores[chosen] === scores[rejected] };
}

/** The scores that responses are compared by: those without an end rank as `missingEos` says. */
export const comparedScores = ({ rewards, finished }: CacheEntry, missingEos: MissingEos): number[] =>
  rewards.map((score, m) => ruledScore(score, finished?.[m] ?? true, missingEos));
