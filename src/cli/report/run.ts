/** The page of one run of `vbon align`. */
import { join } from "node:path";
import { readCache } from "../../align/cache/file.ts";
import { exists, readJson } from "../../data/files.ts";
import { ConfigError } from "../../errors.ts";
import { renderReport } from "../../report/page.ts";
import type { Comparison, TrainingPoint } from "../../report/types.ts";
import { readRecords, type StepRecord } from "../../train/metrics.ts";
import { type AlignFlags, alignSchema } from "../align/schema.ts";
import { commandLine } from "../arguments/command-line.ts";
import { bonPointsOf, methodOf, readEvaluation } from "../evaluate/report.ts";
import { version } from "../version.ts";

/**
 * The page of the run in `folder`.
 * @throws ConfigError when it is not evaluated yet, or its evaluation's cache is gone
 */
export async function runPage(folder: string): Promise<string> {
  const flags = (await readJson(join(folder, "config.json"))) as AlignFlags;
  if (!(await exists(join(folder, "evaluation.json"))) || flags.evalCache === undefined)
    throw new ConfigError(
      `${folder}: has no evaluation.json; a report needs a run that has ended, made with --eval-cache`,
    );
  const stored = await readEvaluation(join(folder, "evaluation.json"));
  const { header, entries } = await readCache(flags.evalCache);
  const records = await readRecords(join(folder, "metrics.jsonl"));
  const { policy, reference, bestOfN, n, samples: M } = stored;
  const setting =
    { vbon: `N = ${n}`, ppo: `beta = ${flags.beta ?? 1 / (n - 1)}` }[flags.method] ?? `N = ${n}`;
  const comparison: Comparison = {
    title: `${header?.model ?? flags.policy}: ${flags.method}`,
    task: {
      policy: header?.model ?? flags.policy,
      reward: (header?.reward ?? flags.reward).split("@")[0]!,
      prompts: policy.prompts,
      M,
      N: n,
      maxNewTokens: header?.maxNewTokens ?? NaN,
      temperature: header?.temperature ?? NaN,
      seed: flags.seed,
      machine: "see the model card",
      date: new Date().toISOString(),
      version: await version(),
      durations: {},
      settings: { command: commandLine("align", alignSchema, flags) },
    },
    methods: [methodOf("reference", reference), { ...methodOf(flags.method, policy), setting }],
    bonCurve: bonPointsOf(bestOfN),
    trainingCurves: { [flags.method]: records.flatMap(trainingPoint) },
    cdfs: [...entries.values()].map(({ prompt, rewards }) => ({ prompt, rewards })),
    samples: policy.shown.map(({ prompt, ...row }) => ({ prompt, rows: [{ method: flags.method, ...row }] })),
  };
  return renderReport(comparison);
}

function trainingPoint(record: StepRecord): TrainingPoint[] {
  const { episodes, reward, rank, kl, entropy, clipFrac } = record as Readonly<Record<string, number>>;
  if (episodes === undefined) return [];
  return [
    {
      episodes,
      ...(reward !== undefined && { reward }),
      ...(rank !== undefined && { rank }),
      ...(kl !== undefined && { kl }),
      ...(entropy !== undefined && { entropy }),
      ...(clipFrac !== undefined && { clipFraction: clipFrac }),
    },
  ];
}
