/** `vbon align` with an offline method: trains on the cached responses, shows and keeps what `vbon sft` does. */
import type { Evaluation } from "../../align/evaluation.ts";
import type { OfflineObjective, OfflineSettings } from "../../align/objectives/index.ts";
import { createOfflineRun, type OfflineRun } from "../../align/offline/run.ts";
import { createScorer, type Scorer } from "../../align/scorer.ts";
import { createEngine, type Engine } from "../../generate/engine.ts";
import { forSampling } from "../../nn/lm.ts";
import { openRunFolder, type RunFolder } from "../../train/run-folder.ts";
import { layersOf } from "../flags/layers.ts";
import { loraOf } from "../flags/lora.ts";
import { checkSameData, memoryNote, watchTraining } from "../train/run.ts";
import type { Io } from "../verb.ts";
import { endingOf } from "./flags.ts";
import { offlineSettings, offlineTraining } from "./offline-flags.ts";
import { evaluationRecord } from "./run.ts";
import type { AlignFlags } from "./schema.ts";
import { evaluateOn, finishRun, openSubject, overlapWarnings, type Subject } from "./subject.ts";

/** A run whose policy can be evaluated. */
export interface PreparedOffline {
  readonly run: OfflineRun;
  /** Evaluates the policy as it is; undefined without a cache for it. */
  readonly evaluate: (() => Promise<Evaluation>) | undefined;
  /** The last evaluation of this process. */
  readonly last: { evaluation: Evaluation | undefined };
  dispose(): void;
}

/** Trains, evaluates, saves. */
export async function runOffline(objective: OfflineObjective, flags: AlignFlags, io: Io): Promise<void> {
  const settings = offlineSettings(flags, objective);
  const device = await io.device();
  const subject = await openSubject(device, flags, settings.n);
  for (const warning of overlapWarnings(subject)) io.note(`warning: ${warning}`);
  const prepared = await prepareOffline(objective, settings, subject, flags, io);
  const { run } = prepared;
  const unit = objective.learnsFrom === "pairs" ? "pairs" : "responses";
  const plan = `${run.steps} steps of ${run.examples} ${unit}`;
  io.note(memoryNote(device, run.policy.parameters.count, plan));
  const { carried } = run.training;
  const folder = await openRunFolder(flags.out, { ...flags, resume: false }, carried, flags.resume);
  try {
    await trainAndFinish(prepared, { subject, folder, unit }, flags, io);
  } finally {
    await folder.close();
    prepared.dispose();
    subject.reference.dispose();
  }
}

/** Records all that the run needs; `vbon plan` does so on paper. */
export async function prepareOffline(
  objective: OfflineObjective,
  settings: OfflineSettings,
  subject: Subject,
  flags: AlignFlags,
  io: Io,
): Promise<PreparedOffline> {
  const { reference, task, test } = subject;
  const last: PreparedOffline["last"] = { evaluation: undefined };
  let judges: { readonly engine: Engine; readonly scorer: Scorer } | undefined;
  const evaluate =
    test && (async () => (last.evaluation = await evaluateOn(test, judges!, subject, flags, io)));
  const run = await createOfflineRun({
    refPolicy: reference.model,
    entries: task.entries,
    objective,
    settings,
    lora: loraOf(flags),
    layers: layersOf("align", flags),
    temperature: task.sampling.temperature,
    missingEos: endingOf(flags),
    training: offlineTraining(flags),
    ...(evaluate && { evaluate: async () => numbersOf(await evaluate()) }),
  });
  judges = test && (await judgesOf(run, subject, test, flags));
  return {
    run,
    evaluate,
    last,
    dispose() {
      judges?.engine.dispose();
      judges?.scorer.dispose();
      run.dispose();
    },
  };
}

async function judgesOf(
  { policy }: OfflineRun,
  { reference, task, eosIds }: Subject,
  test: NonNullable<Subject["test"]>,
  flags: AlignFlags,
): Promise<{ engine: Engine; scorer: Scorer }> {
  const { temperature } = task.sampling;
  const rows = Math.min(flags.rows, flags.evalSamples * test.prompts.length);
  const longest = Math.max(...test.prompts.map((p) => p.ids.length));
  const engine = await createEngine(forSampling(policy), rows, longest, { ...task.sampling, eosIds });
  const scorer = createScorer({ policy, refPolicy: reference.model, temperature, batch: flags.microBatch });
  await engine.prepare(test.prompts.length);
  await scorer.prepare(longest + task.sampling.maxNewTokens - 1);
  return { engine, scorer };
}

/** An evaluation as the training loop keeps it. */
function numbersOf(evaluation: Evaluation): Record<string, number> {
  const { step: _, ...numbers } = evaluationRecord(0, evaluation);
  return numbers as Record<string, number>;
}

async function trainAndFinish(
  { run, evaluate, last }: PreparedOffline,
  { subject, folder, unit }: { readonly subject: Subject; readonly folder: RunFolder; readonly unit: string },
  flags: AlignFlags,
  io: Io,
): Promise<void> {
  checkSameData(folder, subject.task.hash);
  const first = folder.restored?.step ?? 0;
  const before = Number(folder.restored?.["seconds"] ?? 0);
  const began = performance.now();
  const seconds = (): number => before + (performance.now() - began) / 1000;
  if (folder.restored) run.level.memory = folder.restored["level"] as number[];
  const state = (): Record<string, unknown> => ({
    data: subject.task.hash,
    seconds: seconds(),
    level: run.level.memory,
  });
  const events = watchTraining(io, { label: flags.method, unit, folder, steps: run.steps, first, state });
  const end = await run.training.run(events, first);
  const training = seconds();
  events.stop();
  if (end.end === "stopped") {
    return io.note(
      `stopped after step ${end.step} of ${run.steps}; continue with: vbon align --resume --out ${flags.out}`,
    );
  }
  // The loop has evaluated after its last step, unless this process had none left to take.
  const measured = last.evaluation ?? (await evaluate?.());
  const { policy } = run;
  const amount = { [unit]: end.step * run.examples };
  const { loss } = events.results;
  const record = { steps: end.step, ...(loss !== undefined && { loss }) };
  await finishRun({ policy, measured, seconds: { training }, amount, record }, subject, flags, io);
}
