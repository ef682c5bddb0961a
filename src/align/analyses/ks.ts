/** Table 1: do the first M scores have the distribution of all of them? (Amini et al. 2025, section 5.3; alignment.md 3.2.) */

import { ConfigError } from "../../errors.ts";
import { type KsResult, ksTest } from "../../evaluate/ks.ts";
import { mean } from "../../evaluate/mean.ts";
import { type Analysis, type AnalysisRow, fewest, type ScoredPrompt, within } from "./analysis.ts";

/** The table's M. */
const USUAL = [5, 20, 100, 200, 250];

/**
 * `subset`: against all samples, the M among them, as the paper must have done (its rates fall far below alpha as M
 * grows). `independent`: against the other samples, where the null hypothesis gives alpha at every M.
 */
const DESIGNS = {
  subset: ({ rewards }: ScoredPrompt) => rewards,
  independent: ({ rewards }: ScoredPrompt, m: number) => rewards.slice(m),
} as const;

/** Two-sided two-sample Kolmogorov-Smirnov tests, one a prompt; shares, and means over the prompts that were rejected. */
export const ks: Analysis = {
  name: "ks",
  question: "Table 1: how many samples M give the reward distribution that many more would give?",
  run(prompts, { m, alpha }) {
    const total = fewest(prompts);
    const ms = within("m", m, USUAL, total - 1);
    if (ms.length === 0)
      throw new ConfigError(
        `analyse ks: ${total} samples a prompt are too few to test; expected more than 5`,
      );
    const rows = Object.keys(DESIGNS).flatMap((design) =>
      ms.flatMap((size) => rowsOf(prompts, size, design as keyof typeof DESIGNS, alpha)),
    );
    return {
      columns: [
        { key: "design", title: "design" },
        { key: "m", title: "M" },
        { key: "p", title: "p-value" },
        { key: "rejected", title: "rejected %", digits: 2 },
        { key: "error", title: "+- s.e.", digits: 2 },
        { key: "statistic", title: "mean D of those", digits: 3 },
        { key: "pvalue", title: "mean p of those", digits: 4 },
      ],
      rows,
      notes: [
        `${prompts.length} prompts of at least ${total} samples, alpha ${alpha}. The paper: 6.14, 4.02, 1.14, 0.06, 0.00 % at M = ${USUAL.join(", ")} of 600.`,
        "independent: the rest of the samples stand for the distribution; about alpha is rejected whatever M is.",
      ],
    };
  },
};

function rowsOf(
  prompts: readonly ScoredPrompt[],
  m: number,
  design: keyof typeof DESIGNS,
  alpha: number,
): AnalysisRow[] {
  const tests = prompts.map((prompt) => ksTest(prompt.rewards.slice(0, m), DESIGNS[design](prompt, m)));
  const row = (p: string, value: (test: KsResult) => number): AnalysisRow => {
    const rejected = tests.filter((test) => value(test) < alpha);
    const share = rejected.length / tests.length;
    const of = (field: (test: KsResult) => number): number | undefined =>
      rejected.length === 0 ? undefined : mean(rejected.map(field));
    return {
      design,
      m,
      p,
      rejected: 100 * share,
      error: 100 * Math.sqrt((share * (1 - share)) / tests.length),
      statistic: of(({ statistic }) => statistic),
      pvalue: of(value),
    };
  };
  return [row("exact", ({ pExact }) => pExact), row("asymptotic", ({ pAsymptotic }) => pAsymptotic)];
}
