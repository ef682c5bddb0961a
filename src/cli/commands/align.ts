/** `vbon align`: PPO toward the Best-of-N policy, its bounds, or a score with a KL penalty. */
import { join } from "node:path";
import { cacheWarnings } from "../../align/cache.ts";
import type { Evaluation } from "../../align/evaluation.ts";
import { type AlignRun, createAlignRun } from "../../align/loop.ts";
import { findObjective, type Objective, type ObjectiveSettings } from "../../align/objectives/index.ts";
import type { Reward } from "../../align/rewards.ts";
import { writeFileAtomic } from "../../data/files.ts";
import type { Device } from "../../gpu/device.ts";
import { claimRunFolder, openRunFolder, type RunFolder } from "../../train/run-folder.ts";
import {
  ALIGN_CHANGEABLE,
  type AlignFlags,
  alignSchema,
  cdfOptions,
  objectiveSettings,
  ppoSettings,
} from "../align-flags.ts";
import { evaluationRecord, train } from "../align-run.ts";
import { saveAligned } from "../align-save.ts";
import { type CacheTask, openCacheTask } from "../cache-task.ts";
import { evaluationReport, judgeFor } from "../evaluation-report.ts";
import { measure } from "../measure.ts";
import { endIds, type Opened, openLanguageModel, openReward } from "../open.ts";
import { computingOf } from "../training-flags.ts";
import { checkSameData } from "../training-run.ts";
import { type AnyVerb, defineVerb, type Io } from "../verb.ts";

/** Evaluations draw the random numbers that `vbon evaluate` draws by default, whatever the run's seed. */
const EVALUATION_SEED = 0;

/** A run folder; on stdout, the evaluation at the end. */
export const align: AnyVerb = defineVerb({
  name: "align",
  summary: "align a model with variational Best-of-N (or its bounds, or KL-regularised PPO)",
  schema: alignSchema,
  changeableOnResume: ALIGN_CHANGEABLE,
  examples: [
    {
      does: "toward Best-of-8, evaluated on other prompts at the end",
      line: "vbon align --policy runs/stories/model --reward lexicon:vader --cache train.jsonl --eval-cache test.jsonl --n 8 --out runs/aligned",
    },
    { does: "continue after a stop or a crash", line: "vbon align --resume --out runs/aligned" },
  ],
  run,
});

/** What a run is about. */
interface Subject {
  readonly reference: Opened;
  readonly reward: Reward;
  readonly watched: { readonly reward: Reward; failed(): boolean };
  readonly task: CacheTask;
  readonly test: CacheTask | undefined;
  readonly objective: Objective;
  readonly settings: ObjectiveSettings;
  readonly eosIds: readonly number[];
}

async function run(flags: AlignFlags, io: Io): Promise<void> {
  await claimRunFolder(flags.out, flags.resume);
  const settings = objectiveSettings(flags);
  const device = await io.device();
  const subject = await openSubject(device, flags, settings);
  for (const warning of warningsOf(subject)) io.note(`warning: ${warning}`);
  const aligning = await prepare(subject, flags);
  io.note(
    `${aligning.iterations} iterations of ${flags.rollout} responses; ${mebibytes(device.bytesAllocated)} at most on ${device.name}`,
  );
  const { tensors, optimizers } = aligning;
  const folder = await openRunFolder(
    flags.out,
    { ...flags, resume: false },
    { tensors, optimizers },
    flags.resume,
  );
  try {
    await trainAndFinish(aligning, subject, folder, flags, io);
  } finally {
    await folder.close();
    aligning.dispose();
  }
}

async function openSubject(device: Device, flags: AlignFlags, settings: ObjectiveSettings): Promise<Subject> {
  const opened = await openLanguageModel(device, flags.policy);
  // The policy and a value function that start from the reference compute as it does.
  const reference = { ...opened, model: opened.model.with(opened.model.parameters, computingOf(flags)) };
  const watched = watchReward(await openReward(device, flags.reward));
  const { reward } = watched;
  const { model, tokenizer } = reference;
  const expected = { reference: model, tokenizer, reward, asked: flags };
  const task = await openCacheTask(flags.cache, { ...expected, maxSamples: flags.maxSamples });
  const test =
    flags.evalCache === undefined
      ? undefined
      : await openCacheTask(flags.evalCache, { ...expected, asked: task.sampling });
  const eosIds = endIds(model, tokenizer);
  return { reference, reward, watched, task, test, objective: findObjective(flags.method), settings, eosIds };
}

/** The same reward, and whether it has failed: what a run knows then is still whole. */
function watchReward({ name, score }: Reward): Subject["watched"] {
  let failed = false;
  const watched: Reward["score"] = async (inputs) => {
    failed = true;
    const scores = await score(inputs);
    failed = false;
    return scores;
  };
  return { reward: { name, score: watched }, failed: () => failed };
}

function warningsOf({ task, test, objective, settings }: Subject): string[] {
  const trained = new Set(task.prompts.map((p) => p.ids.join(",")));
  const seen = (test?.prompts ?? []).filter((p) => trained.has(p.ids.join(","))).length;
  return [
    ...(objective.needsCache ? cacheWarnings(task.cache, settings.n) : []),
    ...(seen > 0
      ? [`${seen} of the ${test!.prompts.length} prompts of ${test!.path} are also trained on`]
      : []),
  ];
}

function prepare(
  { reference, reward, task, test, objective, settings, eosIds }: Subject,
  flags: AlignFlags,
): Promise<AlignRun> {
  return createAlignRun({
    refPolicy: reference.model,
    tokenizer: reference.tokenizer,
    reward,
    prompts: task.prompts,
    evalPrompts: test?.prompts ?? [],
    cache: task.cache,
    cdf: cdfOptions(flags),
    objective,
    settings,
    generate: { ...task.sampling, eosIds },
    rows: Math.min(flags.rows, Math.max(flags.rollout, flags.evalSamples * (test?.prompts.length ?? 0))),
    ppo: ppoSettings(flags),
  });
}

async function trainAndFinish(
  aligning: AlignRun,
  subject: Subject,
  folder: RunFolder,
  flags: AlignFlags,
  io: Io,
): Promise<void> {
  const { task, test, objective, settings } = subject;
  checkSameData(folder, task.hash);
  const evaluate = test && (() => evaluation(aligning, subject, test, flags, io));
  const rewardFailed = subject.watched.failed;
  const at = await train(
    { run: aligning, folder, task, objective, settings, flags, evaluate, rewardFailed },
    io,
  );
  if (at.step < aligning.iterations) {
    return io.note(
      `stopped after iteration ${at.step} of ${aligning.iterations}; continue with: vbon align --resume --out ${flags.out}`,
    );
  }
  aligning.finish();
  const began = performance.now();
  const measured = await evaluate?.();
  const seconds = {
    training: at.seconds,
    ...(measured && { evaluation: (performance.now() - began) / 1000 }),
  };
  await finish(aligning, subject, { measured, seconds, step: at.step }, folder, flags, io);
}

function evaluation(
  { engine, scorer }: AlignRun,
  subject: Subject,
  test: CacheTask,
  flags: AlignFlags,
  io: Io,
): Promise<Evaluation> {
  const { reference, reward, settings } = subject;
  const who = {
    engine,
    scorer,
    tokenizer: reference.tokenizer,
    reward,
    task: test,
    judge: judgeFor(settings.n),
  };
  return measure({ ...who, samples: flags.evalSamples, seed: EVALUATION_SEED }, io);
}

interface Outcome {
  readonly measured: Evaluation | undefined;
  readonly seconds: Readonly<Record<string, number>>;
  readonly step: number;
}

async function finish(
  aligning: AlignRun,
  subject: Subject,
  { measured, seconds, step }: Outcome,
  folder: RunFolder,
  flags: AlignFlags,
  io: Io,
): Promise<void> {
  const { reference, reward, task, test, settings, eosIds } = subject;
  const model = join(flags.out, "model");
  const report =
    measured && test && evaluationReport(flags.method, measured, test.entries, judgeFor(settings.n));
  const evalPrompts = test?.prompts.length ?? 0;
  await saveAligned(model, {
    run: aligning,
    reference,
    task,
    reward: reward.name,
    n: settings.n,
    eosIds,
    report,
    evalPrompts,
    seconds,
    flags,
  });
  if (measured) await folder.metrics.write(evaluationRecord(step, measured));
  if (report)
    await writeFileAtomic(join(flags.out, "evaluation.json"), `${JSON.stringify(report.record, null, 2)}\n`);
  const text = `${model}: ${aligning.iterations * flags.rollout} episodes`;
  io.result(
    { model, iterations: step, seconds, ...report?.record },
    report ? `${report.text}\n\n${text}` : text,
  );
}

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
