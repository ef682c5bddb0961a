/**
 * What M samples allow N to be. A perfect optimiser of the estimated objective weighs a fresh sample whose rank among M is k
 * by ((k + 1)/(M + 1))^(N-1) (`code`), or by its share of the best of N from the pool of M + 1 (`pooled`); ranks of
 * continuous rewards are uniform. What it reaches against the true Best-of-N: alignment.md 1.4 and 3.2 (Figure 4).
 */

import { bonKlBound, bonWinRate } from "../../evaluate/bon-curve.ts";
import type { Estimator } from "../best-of-n/cdf.ts";
import { type Analysis, fewest } from "./analysis.ts";

const USUAL_N = [2, 4, 8, 16, 32, 64, 128, 256];
/** Share of the true KL that counts as enough. */
const ENOUGH = 0.95;

/** What the optimum of an estimated objective reaches. */
export interface Optimum {
  /** From the reference, nats. */
  readonly kl: number;
  /** Against one sample of the reference. */
  readonly win: number;
}

/** The optimum with M samples and N, for continuous rewards: sums over the ranks k = 0..M, each of reference mass 1/(M + 1). */
export function estimatedOptimum(m: number, n: number, estimator: Estimator): Optimum {
  const weight = (k: number): number =>
    estimator === "code" ? ((k + 1) / (m + 1)) ** (n - 1) : ((k + 1) / (m + 1)) ** n - (k / (m + 1)) ** n;
  const weights = Array.from({ length: m + 1 }, (_, k) => weight(k));
  const total = weights.reduce((sum, w) => sum + w, 0);
  let [kl, win] = [0, 0];
  weights.forEach((w, k) => {
    const p = w / total;
    if (p > 0) kl += p * Math.log(p * (m + 1));
    win += (p * (k + 0.5)) / (m + 1);
  });
  return { kl, win };
}

/** A row for each N: what M samples reach with either estimator, and what there is to reach. */
export const cap: Analysis = {
  name: "cap",
  question: "how large may N be with the samples there are?",
  run(prompts, { m, n }) {
    const size = m?.[0] ?? fewest(prompts);
    const rows = (n ?? USUAL_N).map((best) => {
      const [code, pooled] = [estimatedOptimum(size, best, "code"), estimatedOptimum(size, best, "pooled")];
      return {
        n: best,
        ideal: bonKlBound(best),
        code: code.kl,
        pooled: pooled.kl,
        idealWin: bonWinRate(best),
        codeWin: code.win,
        pooledWin: pooled.win,
      };
    });
    const largest = (key: "code" | "pooled"): number =>
      Math.max(1, ...rows.filter((row) => row[key] >= ENOUGH * row.ideal).map((row) => row.n));
    return {
      columns: [
        { key: "n", title: "N" },
        { key: "ideal", title: "KL of Best-of-N", digits: 4 },
        { key: "code", title: "code", digits: 4 },
        { key: "pooled", title: "pooled", digits: 4 },
        { key: "idealWin", title: "its win rate", digits: 4 },
        { key: "codeWin", title: "code", digits: 4 },
        { key: "pooledWin", title: "pooled", digits: 4 },
      ],
      rows,
      notes: [
        `With M = ${size} and a perfect optimiser, ${100 * ENOUGH} % of Best-of-N's KL is reached up to N = ${largest("code")} (code) and ${largest("pooled")} (pooled), of the N above.`,
      ],
    };
  },
};
