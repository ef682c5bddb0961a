/** What the points of a sweep say: the pooled front and who owns it, who leads at equal KL, what the estimators of KL agree on. */
import type { AnalysisColumn, AnalysisResult, AnalysisRow } from "../../align/analyses/index.ts";
import { seriesAt } from "../../evaluate/equal-kl.ts";
import { paretoFront, paretoShare } from "../../evaluate/pareto.ts";
import type { SweepResults, SweepRow } from "../../report/types.ts";

/** An analysis of points. */
export interface PointAnalysis {
  readonly name: string;
  readonly question: string;
  run(results: SweepResults): AnalysisResult;
}

/** Points on the front of all methods together, for win rate and reward, and each method's share (alignment.md 3.1). */
const pareto: PointAnalysis = {
  name: "pareto",
  question: "Figures 2, 6 and 7: which runs does no other beat, in win rate or reward at no larger KL?",
  run({ rows: all }) {
    const rows = all.filter(({ evaluation }) => evaluation === "held-out");
    const fronts = MEASURES.map((key) => new Set(paretoFront(pointsOf(rows, key))));
    const own = new Set([...new Set(rows.map(({ name }) => name))].flatMap((name) => ownFront(rows, name)));
    return {
      columns: [
        { key: "run", title: "run" },
        { key: "kl", title: "KL", digits: 3 },
        { key: "win", title: "win rate", digits: 3 },
        { key: "reward", title: "reward", digits: 3 },
        { key: "fronts", title: "on the front of all" },
        { key: "own", title: "on its series' own, win rate" },
      ],
      rows: rows
        .map((row, i) => ({
          run: row.id,
          kl: row.kl,
          win: row.win,
          reward: row.reward,
          fronts: MEASURES.filter((_, m) => fronts[m]!.has(i)).join(", "),
          own: own.has(row) ? "yes" : "",
        }))
        .toSorted((a, b) => a.kl - b.kl),
      notes: MEASURES.map((key, m) => {
        const shares = paretoShare(pointsOf(rows, key));
        const text = [...shares].map(([name, share]) => `${name} ${(100 * share).toFixed(0)} %`).join(", ");
        return `Front of ${key === "win" ? "win rates" : "rewards"}: ${fronts[m]!.size} of ${rows.length} runs; shares: ${text}.`;
      }),
    };
  },
};

const MEASURES = ["win", "reward"] as const;

const pointsOf = (
  rows: readonly SweepRow[],
  key: (typeof MEASURES)[number],
): { method: string; kl: number; value: number }[] =>
  rows.map(({ name: method, kl, [key]: value }) => ({ method, kl, value }));

function ownFront(rows: readonly SweepRow[], name: string): SweepRow[] {
  const own = rows.filter((row) => row.name === name);
  return paretoFront(pointsOf(own, "win")).map((i) => own[i]!);
}

/** The full KL and the sampled estimates of it, with standard errors over prompts (alignment.md 3.1). */
const kl: PointAnalysis = {
  name: "kl",
  question: "what is the KL from the reference, by the full vocabulary and by the estimators k1 and k3?",
  run({ rows }) {
    const columns: AnalysisColumn[] = [
      { key: "run", title: "run" },
      { key: "evaluation", title: "evaluation" },
      ...(["kl", "klK1", "klK3"] as const).flatMap((key): AnalysisColumn[] => [
        { key, title: KL_TITLES[key], digits: 4 },
        { key: `${key}Se`, title: "s.e.", digits: 4 },
      ]),
      { key: "z", title: "(k1 - full) / s.e. of k1", digits: 2 },
    ];
    const shown = rows.map((row) => {
      const { id: run, evaluation, klSe, klK1 = NaN, klK1Se = NaN, klK3, klK3Se } = row;
      return { run, evaluation, kl: row.kl, klSe, klK1, klK1Se, klK3, klK3Se, z: (klK1 - row.kl) / klK1Se };
    });
    const far = shown.filter(({ z }) => Math.abs(z) > 3);
    return {
      columns,
      rows: shown,
      notes: [
        "All three estimate the same KL, nats a response; the full one has the least variance, k3 a huge one where the policy suppresses what the reference likes. k2 is biased and left out.",
        far.length === 0
          ? "k1 lies within 3 of its standard errors of the full KL in every run."
          : `k1 lies more than 3 of its standard errors from the full KL in ${far.map(({ run }) => run).join(", ")}: are samples and scores of one temperature?`,
      ],
    };
  },
};

const KL_TITLES = { kl: "full", klK1: "k1", klK3: "k3" } as const;

/** Every series at the same KL, with the spread of its seeds: what a single point cannot say. */
export const equalKl: PointAnalysis = {
  name: "equal-kl",
  question:
    "which series is ahead where all went equally far from the reference, and is that more than the seeds' spread?",
  run({ rows: all }) {
    const against = all.some(({ name }) => name === "vbon") ? "vbon" : (all[0]?.name ?? "");
    const compared = (evaluation: string, key: (typeof MEASURES)[number]): AnalysisRow[] => {
      const rows = all.filter((row) => row.evaluation === evaluation);
      const points = rows.map(({ name: series, seed, kl: far, [key]: value }) => ({
        series,
        seed,
        kl: far,
        value,
      }));
      const at = LEVELS.map((level) => [level, seriesAt(points, level, against)] as const);
      return at
        .filter(([, found]) => found.length > 1)
        .flatMap(([level, found]) => found.map((row) => ({ evaluation, measure: key, kl: level, ...row })));
    };
    const evaluations = [...new Set(all.map(({ evaluation }) => evaluation))];
    return {
      columns: [
        { key: "evaluation", title: "evaluation" },
        { key: "measure", title: "measure" },
        { key: "kl", title: "at KL", digits: 2 },
        { key: "series", title: "series" },
        { key: "value", title: "mean over seeds", digits: 3 },
        { key: "se", title: "s.e.", digits: 3 },
        { key: "difference", title: `above ${against}`, digits: 3 },
        { key: "differenceSe", title: "s.e.", digits: 3 },
        { key: "seeds", title: "seeds", digits: 0 },
      ],
      rows: evaluations.flatMap((evaluation) => MEASURES.flatMap((key) => compared(evaluation, key))),
      notes: [
        "Of each series and seed a line through its runs in the order of their KL, read off at these KLs; nothing is extrapolated. Standard errors are over seeds, differences within a seed.",
      ],
    };
  },
};

/** Nats at which series are compared. */
const LEVELS = [0.25, 0.5, 1, 1.5, 2, 2.5, 3, 4, 6];

/** In the order of the help. */
export const pointAnalyses: readonly PointAnalysis[] = [pareto, equalKl, kl];
