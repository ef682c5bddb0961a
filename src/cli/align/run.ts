/** A run of `vbon align` while it trains: value pre-training, iterations, what is shown and what is kept. */
import type { Evaluation } from "../../align/evaluation.ts";
import type { AlignMetrics, AlignRun } from "../../align/loop.ts";
import type { Objective, ObjectiveSettings } from "../../align/objectives/index.ts";
import type { Episode } from "../../align/rollout.ts";
import { valueExamples } from "../../align/value/pretrain.ts";
import { ConfigError } from "../../errors.ts";
import { percent } from "../../report/format.ts";
import { createClock } from "../../train/clock.ts";
import type { StepRecord } from "../../train/metrics.ts";
import type { RunFolder } from "../../train/run-folder.ts";
import type { CacheTask } from "../cache/task.ts";
import type { Io } from "../verb.ts";
import type { AlignFlags } from "./schema.ts";
import { TABLE_LEGEND, tableHead, tableRow } from "./table.ts";

/** All that training needs. */
export interface Training {
  readonly run: AlignRun;
  readonly folder: RunFolder;
  readonly task: CacheTask;
  readonly objective: Objective;
  readonly settings: ObjectiveSettings;
  readonly flags: AlignFlags;
  /** An evaluation of the policy as it is; undefined without a cache for it. */
  readonly evaluate: (() => Promise<Evaluation>) | undefined;
  /** Whether what went wrong was the reward. */
  rewardFailed(): boolean;
}

/** Where a run is: what its checkpoint carries beside weights and moments. */
export interface Position {
  /** Iterations done. */
  readonly step: number;
  /** Seconds spent on them and on the pre-training. */
  readonly seconds: number;
}

/**
 * Trains to the end, or until Ctrl-C, and saves a checkpoint of where it stops.
 * @throws ConfigError when training diverges, or the reward gives no number; the last checkpoint stays
 */
export async function train(training: Training, io: Io): Promise<Position> {
  const { run, flags } = training;
  const first = restoredPosition(training) ?? (await begin(training, io));
  const total = run.iterations;
  if (first.step < total) io.note(`${TABLE_LEGEND}\n${tableHead()}`);
  const clock = createClock();
  let at = first;
  let skipped = first.step === 0 ? 0 : Infinity; // after a resume the first iteration tells
  while (at.step < total && !io.signal.aborted) {
    const began = performance.now();
    const here = at;
    const { metrics, episodes } = await run
      .iterate(at.step)
      .catch((error: unknown) => rescue(training, here, error, io));
    checkFinite(metrics);
    noteSkips(metrics, skipped, io);
    skipped = metrics.skipped ?? 0;
    for (const [what, seconds] of Object.entries(metrics.seconds)) clock.add(what, seconds);
    at = { step: at.step + 1, seconds: at.seconds + (performance.now() - began) / 1000 };
    const each = (at.seconds - first.seconds) / (at.step - first.step);
    io.note(tableRow({ metrics, secondsLeft: each * (total - at.step) }));
    await writeRecords(training, at.step, metrics, episodes);
    if (due(flags.evalEvery, at.step) && at.step < total) await writeEvaluation(training, at.step, io);
    if (due(flags.saveEvery, at.step) || at.step === total || io.signal.aborted) await save(training, at);
  }
  if (at.step > first.step) io.note(`time: ${sharesText(clock.seconds)}`);
  return at;
}

/** "generate 41.0 %, score 12.3 %, …" */
function sharesText(seconds: Readonly<Record<string, number>>): string {
  const all = Object.values(seconds).reduce((a, b) => a + b, 0);
  return Object.entries(seconds)
    .map(([what, s]) => `${what} ${percent(s / all)}`)
    .join(", ");
}

/** A reward fails before anything is updated: the state is that after the last iteration, and worth keeping. */
async function rescue(training: Training, at: Position, error: unknown, io: Io): Promise<never> {
  if (training.rewardFailed()) {
    await save(training, at);
    io.note(`saved after iteration ${at.step}; once the reward is mended, --resume continues`);
  }
  throw error;
}

const due = (every: number, step: number): boolean => every > 0 && step % every === 0;

function save({ folder, run, task }: Training, at: Position): Promise<void> {
  return folder.save({
    ...at,
    averaged: run.average?.count ?? 0,
    klCoef: run.kl.control.klCoef,
    data: task.hash,
  });
}

function restoredPosition({ folder: { restored }, run }: Training): Position | undefined {
  if (!restored) return undefined;
  if (run.average) run.average.count = Number(restored["averaged"]);
  const { klCoef = run.kl.control.klCoef } = restored as { klCoef?: number };
  run.kl.control = { ...run.kl.control, klCoef };
  return { step: restored.step, seconds: Number(restored["seconds"]) };
}

/** The value function's pre-training, and a checkpoint after it: a run that resumes need not repeat it. */
async function begin(training: Training, io: Io): Promise<Position> {
  const began = performance.now();
  await pretrain(training, io);
  const at = { step: 0, seconds: (performance.now() - began) / 1000 };
  await save(training, at);
  return at;
}

async function pretrain({ run, folder, task, objective, settings, flags }: Training, io: Io): Promise<void> {
  const { valueTrainer, cdfs } = run;
  const { valuePretrainEpochs: epochs, valuePretrainLr: lr, minibatch, seed } = flags;
  if (!valueTrainer || !cdfs || epochs === 0) return;
  const examples = valueExamples(task.entries, cdfs, objective, settings);
  if (examples.length === 0)
    return io.note(`${task.path}: keeps no responses, so that the value function is not pre-trained`);
  const steps = epochs * Math.max(1, Math.floor(examples.length / minibatch));
  const progress = io.progress({ label: "value function", total: steps, unit: "steps" });
  for (let epoch = 0; epoch < epochs; epoch++) {
    const onStep = (done: number, total: number): void =>
      progress.update(epoch * total + done, "value function, on the cache");
    const valueLoss = await valueTrainer.pass(examples, {
      lr,
      minibatch,
      seed,
      stream: `value pass ${epoch}`,
      onStep,
    });
    await folder.metrics.write({ step: 0, pretrainEpoch: epoch + 1, valueLoss });
  }
  progress.stop();
}

/** Metrics of an iteration, flat. */
export function metricsRecord(step: number, metrics: AlignMetrics): StepRecord {
  const { iteration: _, seconds, ...numbers } = metrics;
  const times = Object.entries(seconds).map(([what, s]) => [`${what}Seconds`, s] as const);
  return { step, ...numbers, ...Object.fromEntries(times) };
}

async function writeRecords(
  { folder, task, flags }: Training,
  step: number,
  metrics: AlignMetrics,
  episodes: readonly Episode[],
): Promise<void> {
  await folder.metrics.write(metricsRecord(step, metrics));
  if (!due(flags.samplesEvery, step)) return;
  for (const { prompt, text, score, rank } of episodes.slice(0, SAMPLES)) {
    await folder.samples.write({ step, prompt: task.prompts[prompt]!.text, text, score, rank });
  }
}

/** Responses of an iteration that samples.jsonl keeps. */
const SAMPLES = 8;

async function writeEvaluation({ folder, evaluate }: Training, step: number, io: Io): Promise<void> {
  if (!evaluate) return;
  const evaluation = await evaluate();
  await folder.metrics.write(evaluationRecord(step, evaluation));
  const { win, reward, kl, J } = evaluation;
  io.note(
    `step ${step}, held-out prompts: win ${win.mean.toFixed(3)}, reward ${reward.toFixed(3)}, KL ${kl.toFixed(3)}, J ${J.toFixed(3)}`,
  );
}

/** An evaluation as a line of metrics.jsonl. */
export function evaluationRecord(
  step: number,
  { win, reward, kl, klK1, klK3, J, length, eosRate, distinct2 }: Evaluation,
): StepRecord {
  const wins = { evalWin: win.mean, evalWinLow: win.low, evalWinHigh: win.high };
  const kls = { evalKl: kl, evalKlK1: klK1, evalKlK3: klK3, evalJ: J };
  return {
    step,
    ...wins,
    evalReward: reward,
    ...kls,
    evalLength: length,
    evalEosRate: eosRate,
    evalDistinct2: distinct2,
  };
}

function noteSkips({ iteration, skipped = 0, lossScale }: AlignMetrics, before: number, io: Io): void {
  if (skipped <= before) return;
  const steps = skipped - before;
  io.note(
    `iteration ${iteration + 1}: ${steps} steps overflowed and were skipped; the loss scale is ${lossScale}`,
  );
}

function checkFinite({ iteration, policyLoss, valueLoss, kl }: AlignMetrics): void {
  if ([policyLoss, valueLoss, kl].every(Number.isFinite)) return;
  throw new ConfigError(
    `vbon align: iteration ${iteration + 1} gave policy loss ${policyLoss}, value loss ${valueLoss}, KL ${kl}; training diverged. ` +
      "Lower --lr or --value-lr; the last checkpoint is as it was.",
  );
}
