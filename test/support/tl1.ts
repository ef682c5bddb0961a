/** TL-1, the seven-string language model whose optima are known exactly: at most two letters, rewards all different. */

import type { CdfPoint } from "../../src/align/best-of-n/cdf.ts";
import type { ScoredSample } from "../../src/align/objectives/index.ts";
import { type LogitTable, type StringModel, stringLogprobs, stringModel, total } from "./string-model.ts";

export const model: StringModel = stringModel(2);

/** log P(a, b, end | '', a, b). */
export const refTable: LogitTable = [
  [1 / 2, 3 / 10, 1 / 5],
  [1 / 4, 1 / 2, 1 / 4],
  [2 / 5, 2 / 5, 1 / 5],
].map((row) => row.map(Math.log));

/** Of '', a, b, aa, ab, ba, bb. */
export const rewards: readonly number[] = [0, 1, -1, 3, 0.5, 2, -2];

export const logRef: readonly number[] = stringLogprobs(model, refTable);

/** Exact strict F of every string under `scores`. */
export function exactF(scores: readonly number[], logPi: readonly number[] = logRef): number[] {
  return scores.map((score) =>
    total(logPi.map((logP, z) => ((scores[z] ?? NaN) < score ? Math.exp(logP) : 0))),
  );
}

/** A CDF point that knows F exactly; ranks are not defined. */
export function exactPoint(F: number, tie = 0): CdfPoint {
  return { logF: Math.log(F), logTie: Math.log(tie), below: NaN, atMost: NaN, size: NaN, estimator: "code" };
}

/** The seven strings as scored samples with exact F. */
export const samples: readonly ScoredSample[] = exactF(rewards).map((F, y) => ({
  score: rewards[y] ?? NaN,
  logProbRef: logRef[y] ?? NaN,
  cdf: exactPoint(F),
}));
