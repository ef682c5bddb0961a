/** What the page of a sweep shows beside its points: analyses of its train cache, responses side by side. */
import { join } from "node:path";
import { type AnalysisSettings, analyses, promptsOf } from "../../align/analyses/index.ts";
import { readCache } from "../../align/cache/file.ts";
import type { ShownResponse } from "../../align/evaluation.ts";
import { exists } from "../../data/files.ts";
import { renderSweep, type SweepReport } from "../../report/sweep-page.ts";
import type { PromptSamples, SweepResults, SweepRow } from "../../report/types.ts";
import { readEvaluation } from "../evaluate/report.ts";
import { equalKl } from "../sweep/analyses.ts";
import { HELD_OUT, readPoints } from "../sweep/results.ts";

/** The paper's analyses of a cache, and how many samples a prompt each needs to say anything. */
const ANALYSES = [
  { name: "logf", heading: "Figure 3: log F against M", least: 20 },
  { name: "ks", heading: "Table 1: Kolmogorov-Smirnov tests", least: 20 },
] as const;

/** The page of the sweep in `folder`. */
export async function sweepPage(folder: string): Promise<string> {
  const results = await readPoints(folder);
  const tables = [...compared(results), ...(await analysed(folder))];
  return renderSweep({ results, analyses: tables, ...(await sideBySide(folder, results)) });
}

/** Series side by side at equal KL, where there are several that went somewhere. */
function compared(results: SweepResults): SweepReport["analyses"] {
  const result = equalKl.run(results);
  return result.rows.length > 0 ? [{ heading: "At equal KL", result }] : [];
}

async function analysed(folder: string): Promise<SweepReport["analyses"]> {
  const path = join(folder, "caches", "train.jsonl");
  if (!(await exists(path))) return [];
  const prompts = promptsOf(await readCache(path));
  const fewest = Math.min(...prompts.map(({ rewards }) => rewards.length));
  const settings: AnalysisSettings = { alpha: 0.05 };
  return ANALYSES.filter(({ least }) => fewest >= least).map(({ name, heading }) => ({
    heading,
    result: analyses.find((analysis) => analysis.name === name)!.run(prompts, settings),
  }));
}

/** Of each series the run of the first seed that went about as far as the others: its first responses. */
async function sideBySide(
  folder: string,
  { rows }: SweepResults,
): Promise<Pick<SweepReport, "samples" | "samplesNote">> {
  const own = rows.filter(({ evaluation }) => evaluation === HELD_OUT);
  const aim = median(own.map(({ kl }) => kl));
  const chosen = [...new Set(own.map(({ name }) => name))].map((name) =>
    own
      .filter((row) => row.name === name)
      .reduce((best, row) => (distance(row, aim) < distance(best, aim) ? row : best)),
  );
  const prompts = new Map<string, PromptSamples["rows"][number][]>();
  for (const row of chosen) {
    for (const { prompt, ...response } of await shownOf(folder, row)) {
      const rowsOf = prompts.get(prompt) ?? [];
      rowsOf.push({ method: row.name, ...response });
      prompts.set(prompt, rowsOf);
    }
  }
  const ids = chosen.map(({ id, kl }) => `${id} (${kl.toFixed(2)} nats)`).join(", ");
  return {
    samples: [...prompts].map(([prompt, list]) => ({ prompt, rows: list })),
    samplesNote: `The first response to each of the first prompts, not chosen; of each series the run whose KL is nearest to the median of all: ${ids}.`,
  };
}

const distance = ({ kl, seed }: SweepRow, aim: number): number => Math.abs(kl - aim) + 1e-9 * seed;

async function shownOf(folder: string, { id }: SweepRow): Promise<readonly ShownResponse[]> {
  const path = join(folder, "runs", id, "evaluation.json");
  // Points outlive their runs' folders, which are large.
  if (!(await exists(path))) return [];
  return (await readEvaluation(path)).policy.shown;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}
