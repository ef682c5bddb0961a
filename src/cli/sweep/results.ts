/** The points of a sweep, read back from the folders of its runs. */
import { join } from "node:path";
import type { CacheHeader } from "../../align/cache/cache.ts";
import { readCacheHeader } from "../../align/cache/file.ts";
import { exists, readJson, readText, writeFileAtomic } from "../../data/files.ts";
import { isRecord } from "../../data/json.ts";
import { FormatError } from "../../errors.ts";
import { csvOf, POINT_COLUMNS, toJson } from "../../report/downloads.ts";
import type { Baseline, SweepResults, SweepRow } from "../../report/types.ts";
import { bonPointsOf, methodOf, readEvaluation, type StoredEvaluation } from "../evaluate/report.ts";
import { version } from "../version.ts";
import type { Task } from "./nested.ts";
import type { PlannedRun, SweepPlan } from "./plan.ts";

/** The evaluation that `vbon align` ends with. */
export const HELD_OUT = "held-out";

/** Beside a cache: what its samples took, when they were drawn here. */
export const costFile = (cache: string): string => cache.replace(/\.jsonl$/, ".cost.json");

/** All that is there at the moment. `machine`: what it was measured on. */
export async function sweepResults(plan: SweepPlan, machine: string): Promise<SweepResults> {
  const rows: SweepRow[] = [];
  const baselines: Record<string, Baseline> = {};
  const failed: Record<string, string> = {};
  let first: StoredEvaluation | undefined;
  for (const run of plan.runs) {
    for (const { evaluation, path, task } of evaluationsOf(run)) {
      if (!(await exists(path))) continue;
      const stored = await readEvaluation(path);
      first ??= stored;
      const temperature = (await headerOf(task))?.temperature ?? NaN;
      const times = { ...(await trainingSeconds(run)), ...(await samplingSeconds(run)) };
      rows.push({ ...rowOf(run, stored), evaluation, temperature, ...times });
      baselines[evaluation] ??= {
        reference: methodOf("reference", stored.reference),
        bonCurve: bonPointsOf(stored.bestOfN),
      };
    }
    const wrong = join(run.folder, "error.txt");
    if (await exists(wrong)) failed[run.point.id] = (await readText(wrong)).trim();
  }
  return {
    title: plan.file.title ?? "Sweep",
    task: await taskInfo(plan, first, machine),
    rows,
    baselines,
    failed,
  };
}

/** Where each evaluation of a run is, and the command whose cache it is on. */
function evaluationsOf({
  folder,
  config,
  evaluations,
}: PlannedRun): { evaluation: string; path: string; task: Pick<Task, "config"> }[] {
  const own = { evaluation: HELD_OUT, path: join(folder, "evaluation.json"), task: { config } };
  const more = [...evaluations].map(([evaluation, of]) => ({
    evaluation,
    path: join(folder, "evaluations", `${evaluation}.json`),
    task: of,
  }));
  return [own, ...more];
}

async function headerOf({ config }: Pick<Task, "config">): Promise<CacheHeader | undefined> {
  return readCacheHeader(String(config["evalCache"] ?? config["cache"]));
}

async function trainingSeconds({ folder }: PlannedRun): Promise<Pick<SweepRow, "seconds">> {
  const path = join(folder, "result.json");
  if (!(await exists(path))) return {};
  return { seconds: ((await readJson(path)) as { seconds: { training: number } }).seconds.training };
}

/** What drawing the cached samples took that a run used, where it used a number of its own. */
async function samplingSeconds({ config }: PlannedRun): Promise<Pick<SweepRow, "samplingSeconds">> {
  const { cache, maxSamples } = config;
  const path = costFile(String(cache));
  if (maxSamples === undefined || !(await exists(path))) return {};
  const { secondsPerSample, prompts } = (await readJson(path)) as {
    secondsPerSample: number;
    prompts: number;
  };
  return { samplingSeconds: secondsPerSample * prompts * Number(maxSamples) };
}

function rowOf(
  { point, config }: PlannedRun,
  { policy }: StoredEvaluation,
): Omit<SweepRow, "evaluation" | "temperature"> {
  const number = (key: "n" | "beta" | "maxSamples"): Partial<SweepRow> =>
    config[key] === undefined ? {} : { [key]: Number(config[key]) };
  return {
    ...methodOf(point.series, policy),
    setting: point.knob,
    id: point.id,
    method: String(config["method"]),
    seed: point.seed,
    ...number("n"),
    ...number("beta"),
    ...number("maxSamples"),
    klSe: policy.klSe,
    klK1Se: policy.klK1Se,
    klK3Se: policy.klK3Se,
  };
}

async function taskInfo(
  { runs }: SweepPlan,
  first: StoredEvaluation | undefined,
  machine: string,
): Promise<SweepResults["task"]> {
  const { config } = runs[0]!;
  const header = await headerOf({ config }).catch(() => undefined);
  const { episodes, lr, rollout, minibatch, passes } = config;
  return {
    policy: header?.model ?? String(config["policy"]),
    reward: (header?.reward ?? String(config["reward"])).split("@")[0]!,
    prompts: first?.policy.prompts ?? 0,
    M: first?.samples ?? 0,
    N: first?.n ?? NaN,
    maxNewTokens: header?.maxNewTokens ?? NaN,
    temperature: header?.temperature ?? NaN,
    seed: 0,
    machine,
    date: new Date().toISOString(),
    version: await version(),
    durations: {},
    settings: {
      runs: runs.length,
      "samples per test prompt": first?.policy.samplesPerPrompt ?? NaN,
      "episodes, rollout, minibatch": [episodes, rollout, minibatch].join(", "),
      "passes of offline methods": Number(passes),
      ...(lr !== undefined && { "learning rate": Number(lr) }),
    },
  };
}

/** Writes points.json and points.csv. */
export async function writeResults(out: string, results: SweepResults): Promise<void> {
  await writeFileAtomic(join(out, "points.json"), `${toJson(results)}\n`);
  await writeFileAtomic(join(out, "points.csv"), csvOf(results.rows, POINT_COLUMNS));
}

/**
 * The points of the sweep in a folder, or in a file of its own.
 * @throws FormatError where there are none
 */
export async function readPoints(path: string): Promise<SweepResults> {
  const file = path.endsWith(".json") ? path : join(path, "points.json");
  const results = await readJson(file);
  if (isRecord(results) && Array.isArray(results["rows"])) return results as unknown as SweepResults;
  throw new FormatError(`${file}: expected the points of a sweep (\`vbon sweep\`)`);
}
