/** How well the exponential forms describe log F, and where they fail (Amini et al. 2025, footnote 17; alignment.md 1.5). */

import { sortScores } from "../../evaluate/ranks.ts";
import { fitExponential, fitExponentialOffset } from "../best-of-n/exponential-fit.ts";
import { type Analysis, type AnalysisRow, quantile } from "./analysis.ts";

/** `-a exp(-b r)`, which may be used, and the released code's `-a exp(-b r) - c`, which is only looked at. */
export const fit: Analysis = {
  name: "fit",
  question: "does log F look like -a exp(-b r), so that a fit could stand in for it?",
  run(prompts) {
    const scores = prompts.map(({ rewards }) => sortScores(rewards, "analyse fit"));
    const rows = [
      rowOf("-a exp(-b r)", scores.map(fitExponential)),
      rowOf("-a exp(-b r) - c", scores.map(fitExponentialOffset)),
    ];
    return {
      columns: [
        { key: "form", title: "form" },
        { key: "accepted", title: "accepted %", digits: 1 },
        { key: "median", title: "median residual", digits: 3 },
        { key: "worst", title: "95 % below", digits: 3 },
        { key: "why", title: "most often refused because" },
      ],
      rows,
      notes: [
        "Residuals: root mean square of log F over a prompt's scores, nats. A fit is not invariant to transforms of the reward.",
      ],
    };
  },
};

function rowOf(
  form: string,
  fits: readonly { readonly reason: string; readonly rmse: number }[],
): AnalysisRow {
  const refused = fits.filter(({ reason }) => reason !== "");
  const residuals = fits.map(({ rmse }) => rmse).filter(Number.isFinite);
  return {
    form,
    accepted: (100 * (fits.length - refused.length)) / fits.length,
    median: quantile(residuals, 0.5),
    worst: quantile(residuals, 0.95),
    why: commonest(refused.map(({ reason }) => kindOf(reason))),
  };
}

/** The reason without its measured numbers, which differ from prompt to prompt. */
const kindOf = (reason: string): string => reason.replace(/-?\d+\.\d+(?:e[-+]?\d+)?/g, "x");

function commonest(reasons: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const reason of reasons) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  const [most] = [...counts].sort(([, a], [, b]) => b - a);
  return most ? `${most[0]} (${most[1]})` : "";
}
