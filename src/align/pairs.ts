/** Preference pairs from scored samples of one prompt, for DPO and its relatives (alignment.md 2, D18). */

import { ConfigError } from "../errors.ts";

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
