/** Best-of-N at inference as curves over N: reward, win rate and KL, all from the cached samples (alignment.md 2, 3.1). */

import { bonKlBound, expectedBest, expectedBonWin, tieGroupKl } from "../../evaluate/bon-curve.ts";
import { sortScores, tieGroups } from "../../evaluate/ranks.ts";
import { mean, standardError } from "../../evaluate/mean.ts";
import { type Analysis, type Curve, fewest, within } from "./analysis.ts";

const USUAL = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/** Unbiased estimates with standard errors over prompts; the KL bound, and the exact KL of the scores as they are tied. */
export const bon: Analysis = {
  name: "bon",
  question: "what does Best-of-N buy, and how far does it go from the reference?",
  run(prompts, { n }) {
    const most = fewest(prompts);
    const scores = prompts.map(({ rewards }) => sortScores(rewards, "analyse bon"));
    const levels = scores.map((sorted) => tieGroups(sorted).map((size) => size / sorted.length));
    const rows = within("n", n, USUAL, most).map((best) => {
      const rewards = scores.map((list) => expectedBest(list, best));
      const wins = best < most ? scores.map((list) => expectedBonWin(list, best)) : undefined;
      return {
        n: best,
        reward: mean(rewards),
        rewardError: standardError(rewards),
        win: wins && mean(wins),
        winError: wins && standardError(wins),
        bound: bonKlBound(best),
        tied: mean(levels.map((shares) => tieGroupKl(shares, best))),
      };
    });
    const curve = (panel: string, key: "reward" | "win"): Curve => ({
      name: "Best-of-N",
      panel,
      points: rows.flatMap(({ bound, [key]: y }) => (y === undefined ? [] : [[bound, y] as const])),
    });
    return {
      columns: [
        { key: "n", title: "N" },
        { key: "reward", title: "reward", digits: 4 },
        { key: "rewardError", title: "s.e.", digits: 4 },
        { key: "win", title: "win rate", digits: 4 },
        { key: "winError", title: "s.e.", digits: 4 },
        { key: "bound", title: "KL bound", digits: 4 },
        { key: "tied", title: "KL of the cached levels", digits: 4 },
      ],
      rows,
      notes: [
        `${prompts.length} prompts of at least ${most} samples. KL bound: log N - (N - 1)/N, nats. The last column takes the cached scores for the whole distribution, ties shared out: it stays below log M.`,
      ],
      picture: {
        x: "KL bound, nats",
        y: "",
        step: false,
        curves: [curve("mean reward", "reward"), curve("win rate", "win")],
      },
    };
  },
};
