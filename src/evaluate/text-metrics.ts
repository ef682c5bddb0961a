/** What samples look like, beside what they score: reported with every point of a curve (alignment.md 3.2). */

/** Lengths in tokens. */
export interface LengthSummary {
  mean: number;
  min: number;
  median: number;
  max: number;
}

/**
 * Distinct-n: different n-grams over all n-grams of all samples, in (0, 1]; 0 when no sample has n tokens. A fall says that
 * the policy repeats itself. Source: Li et al., "A diversity-promoting objective function", NAACL 2016, section 5.3.
 */
export function distinctN(samples: readonly ArrayLike<number>[], n: number): number {
  const seen = new Set<string>();
  let total = 0;
  for (const ids of samples) {
    for (let start = 0; start + n <= ids.length; start++) {
      seen.add(Array.from({ length: n }, (_, i) => ids[start + i]).join(" "));
      total++;
    }
  }
  return total === 0 ? 0 : seen.size / total;
}

/** Summary of response lengths; all NaN for no samples. */
export function lengthSummary(lengths: readonly number[]): LengthSummary {
  const sorted = [...lengths].sort((a, b) => a - b);
  const at = (i: number): number => sorted[i] ?? NaN;
  const last = sorted.length - 1;
  const mean = sorted.reduce((sum, length) => sum + length, 0) / sorted.length;
  return { mean, min: at(0), median: (at(last >> 1) + at((last + 1) >> 1)) / 2, max: at(last) };
}

/** Share of samples that ended with EOS rather than at the length limit; NaN for no samples. */
export function eosRate(finished: readonly boolean[]): number {
  return finished.filter(Boolean).length / finished.length;
}
