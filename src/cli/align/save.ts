/** What `vbon align` leaves behind: the aligned model as a Hugging Face folder with its model card. */
import { join } from "node:path";
import { saveModel } from "../../../models/load.ts";
import { writeFileAtomic } from "../../data/files.ts";
import type { LanguageModel } from "../../nn/lm.ts";
import { renderModelCard } from "../../report/markdown.ts";
import type { Comparison } from "../../report/types.ts";
import { commandLine } from "../arguments/command-line.ts";
import type { CacheTask } from "../cache/task.ts";
import { bonPointsOf, type EvaluationReport } from "../evaluate/report.ts";
import { saveDtype } from "../flags/training.ts";
import { machineName } from "../machine.ts";
import type { Opened } from "../open.ts";
import { saveGenerationConfig } from "../train/save.ts";
import { version } from "../version.ts";
import { type AlignFlags, alignSchema } from "./schema.ts";

/** A run that has ended. */
export interface Ended {
  readonly policy: LanguageModel;
  /** How much it has trained: "episodes", "pairs". */
  readonly amount: Readonly<Record<string, number>>;
  readonly reference: Opened;
  readonly task: CacheTask;
  /** Name of the reward. */
  readonly reward: string;
  readonly n: number;
  readonly eosIds: readonly number[];
  readonly report: EvaluationReport | undefined;
  /** Prompts of the evaluation. */
  readonly evalPrompts: number;
  readonly seconds: Readonly<Record<string, number>>;
  readonly flags: AlignFlags;
}

/** Writes weights, config, tokenizer, generation settings and the card into `folder`. */
export async function saveAligned(folder: string, ended: Ended): Promise<void> {
  const { policy, reference, task, eosIds, flags } = ended;
  await saveModel(folder, policy, { dtype: saveDtype(flags.dtype) });
  await reference.tokenizer.save(folder);
  await saveGenerationConfig(folder, reference.tokenizer, { eosIds, ...task.sampling });
  await writeFileAtomic(join(folder, "README.md"), await card(ended));
}

async function card(ended: Ended): Promise<string> {
  const { reference, reward, flags, n } = ended;
  return renderModelCard({
    name: `${reference.name}-${flags.method}`,
    summary:
      `${reference.name}, aligned with ${flags.method} (N = ${n}) to score higher on ${reward}. ` +
      "N says how far: a perfect vBoN policy draws what the best of N samples of the reference would be.",
    license: "other",
    language: [],
    tags: [...new Set(["vbon", "alignment", flags.method])],
    comparison: await comparison(ended),
    attributions: [],
    commands: [{ what: "How it was made:", command: commandLine("align", alignSchema, flags) }],
    limits: [
      `It inherits the limits and the licence of ${reference.name}, and the blind spots of the reward.`,
      "It was trained on prompts like those of its cache; on others it may be no better than the reference.",
    ],
  });
}

async function comparison({
  policy,
  amount,
  reference,
  task,
  reward,
  n,
  report,
  evalPrompts,
  seconds,
  flags,
}: Ended): Promise<Comparison> {
  const { temperature, maxNewTokens } = task.sampling;
  return {
    title: `${reference.name}: ${flags.method}`,
    task: {
      policy: reference.name,
      reward,
      prompts: evalPrompts,
      M: Math.min(...task.entries.map((e) => e.rewards.length)),
      N: n,
      maxNewTokens,
      temperature,
      seed: flags.seed,
      machine: machineName(policy.parameters.device),
      date: new Date().toISOString().slice(0, 10),
      version: await version(),
      durations: seconds,
      settings: { "training prompts": task.prompts.length, ...amount },
    },
    methods: report?.methods ?? [],
    bonCurve: bonPointsOf(report?.bon ?? []),
    trainingCurves: {},
    cdfs: [],
    samples: [],
  };
}
