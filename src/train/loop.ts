/**
 * The training loop: micro-batches accumulate gradients, the optimizer steps, results are logged, evaluated, saved.
 * What it carries from step to step is weights, moments and the step's number; data and random numbers follow from
 * that number, so that a resumed run continues bit for bit.
 */
import { ConfigError } from "../errors.ts";
import type { Device } from "../gpu/device.ts";
import type { Optimizer } from "../optim/adamw.ts";
import { CLIP_WIDTH, type Outcome, outcomesIn } from "../optim/clip.ts";
import { schedule, type ScheduleKind } from "../optim/schedule.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { StepRecord } from "./metrics.ts";
import { createRing, readRings, type Ring } from "./ring.ts";

/** A forward and backward pass over a part of a step's batch. */
export interface MicroBatch {
  /** Tokens (or items) whose loss counts. */
  readonly tokens: number;
  /**
   * Adds its part of the step's gradient; answers its part of the step's loss, and of the task's `reports`: [1 + reports],
   * valid until the next pass.
   */
  run(): Promise<Tensor>;
}

/** What is trained, and on what. */
export interface TrainTask {
  /** The micro-batches of step `step` (from 0): a pure function of it. Their losses add up to the step's mean loss. */
  microBatches(step: number): readonly MicroBatch[];
  /** Most micro-batches a step. */
  readonly accumulate: number;
  /** Names of what is logged beside the loss. */
  readonly reports?: readonly string[] | undefined;
  /** Whether gradients are scaled, so that a step may be skipped. */
  readonly scaled?: boolean;
  /** Held-out results by name: `evalLoss`, … */
  evaluate?(): Promise<Readonly<Record<string, number>>>;
}

/** Settings of the loop. */
export interface LoopSettings {
  /** Optimizer steps in all. */
  readonly steps: number;
  /** Peak learning rate. */
  readonly lr: number;
  readonly schedule: ScheduleKind;
  /** Steps of linear rise. */
  readonly warmup: number;
  /** Steps between two of each; 0 = never (evaluation also comes after the last step). */
  readonly evalEvery: number;
  readonly saveEvery: number;
  readonly sampleEvery: number;
  /** Steps between two readbacks of losses. Every step is logged. */
  readonly logEvery: number;
}

/** What the loop tells, and asks, its surroundings. */
export interface LoopEvents {
  /** A record for metrics.jsonl: one a step, and one an evaluation. */
  onRecord?(record: StepRecord): Promise<void> | void;
  /** Saves a checkpoint of the state after `step` steps. */
  save?(step: number): Promise<void>;
  /** Draws samples. */
  sample?(step: number): Promise<void>;
  /** After an evaluation. True ends the run early. */
  onEval?(step: number, results: Readonly<Record<string, number>>): Promise<boolean>;
  /** Aborted: save after the step at hand and return. */
  readonly signal?: AbortSignal;
}

/** How a run ended. */
export interface LoopResult {
  /** Steps taken, those before a resume included. */
  readonly step: number;
  readonly end: "done" | "early" | "stopped";
}

/**
 * Trains from step `first` to `settings.steps`.
 * @throws ConfigError when the loss is no longer finite
 */
export async function trainLoop(
  task: TrainTask,
  optimizer: Optimizer,
  settings: LoopSettings,
  events: LoopEvents,
  first = 0,
): Promise<LoopResult> {
  const { steps, lr, evalEvery, saveEvery, sampleEvery, warmup } = settings;
  const factor = schedule({ kind: settings.schedule, warmup, total: Math.max(steps, warmup) });
  let saved = first > 0;
  const log = createLog(optimizer.clip.device, task, settings, events, () => saved);
  const due = (every: number, step: number): boolean => every > 0 && step % every === 0;
  const evaluate = async (step: number): Promise<boolean> => {
    if (!task.evaluate) return false;
    const results = await task.evaluate();
    await events.onRecord?.({ step, ...results });
    return (await events.onEval?.(step, results)) ?? false;
  };
  const walk = async (): Promise<LoopResult> => {
    for (let step = first; step < steps; step++) {
      const rate = lr * factor(step);
      const microBatches = task.microBatches(step);
      for (const [i, micro] of microBatches.entries()) log.keepLoss(i, await micro.run());
      optimizer.step(rate);
      const done = step + 1;
      const stops = events.signal?.aborted === true;
      const pauses =
        stops || due(evalEvery, done) || due(saveEvery, done) || due(sampleEvery, done) || done === steps;
      await log.step(done, rate, microBatches, optimizer.clip, pauses);
      const early = (due(evalEvery, done) || done === steps) && (await evaluate(done));
      if (due(sampleEvery, done) || done === steps) await events.sample?.(done);
      if (stops || early || due(saveEvery, done) || done === steps) {
        await events.save?.(done);
        saved = true;
      }
      log.resume();
      if (stops && done < steps) return { step: done, end: "stopped" };
      if (early) return { step: done, end: "early" };
    }
    return { step: Math.max(first, steps), end: "done" };
  };
  try {
    return await walk();
  } finally {
    log.dispose();
  }
}

interface Pending {
  readonly step: number;
  readonly lr: number;
  readonly tokens: number;
  readonly parts: number;
}

interface Log {
  /** Keeps the loss of micro-batch `i` of the step at hand. */
  keepLoss(i: number, loss: Tensor): void;
  /** Ends a step; writes the records of all steps since the last readback when that is due, or with `flush`. */
  step(step: number, lr: number, parts: readonly MicroBatch[], clip: Tensor, flush: boolean): Promise<void>;
  /** Starts the clock again after evaluation, samples and saving, which do not count. */
  resume(): void;
  dispose(): void;
}

/** A software adapter is read every step: it keeps the queue short, and its readbacks cost nothing. */
function createLog(
  device: Device,
  { accumulate, reports = [], scaled = false }: TrainTask,
  { logEvery }: LoopSettings,
  events: LoopEvents,
  isSaved: () => boolean,
): Log {
  const window = device.software ? 1 : Math.max(1, logEvery);
  const names = ["loss", ...reports];
  const losses = createRing(device, window * accumulate, names.length, "losses of steps");
  const norms = createRing(device, window, CLIP_WIDTH, "gradient norms of steps");
  let pending: Pending[] = [];
  let since = performance.now();
  return {
    keepLoss: (i, loss) => losses.keep(pending.length * accumulate + i, loss),
    async step(step, lr, parts, clip, flush) {
      norms.keep(pending.length, clip);
      pending.push({ step, lr, tokens: parts.reduce((n, part) => n + part.tokens, 0), parts: parts.length });
      if (!flush && pending.length < window) return device.pace();
      const records = await readRecords(device, pending, { losses, norms, names, accumulate });
      const seconds = (performance.now() - since) / 1000;
      const tokensPerSecond = pending.reduce((n, p) => n + p.tokens, 0) / seconds;
      for (const record of records) {
        checkFinite(record, isSaved());
        const shown = scaled ? scaledRecord(record) : record.record;
        await events.onRecord?.({ ...shown, tokensPerSecond: Math.round(tokensPerSecond) });
      }
      pending = [];
      since = performance.now();
    },
    resume: () => (since = performance.now()),
    dispose() {
      losses.dispose();
      norms.dispose();
    },
  };
}

/** What the steps since the last readback have left on the GPU. */
interface Kept {
  readonly losses: Ring;
  readonly norms: Ring;
  /** Of the columns of `losses`. */
  readonly names: readonly string[];
  readonly accumulate: number;
}

async function readRecords(
  device: Device,
  pending: readonly Pending[],
  { losses, norms, names, accumulate }: Kept,
): Promise<Taken[]> {
  const [values, norm] = (await readRings(device, [losses, norms])) as [Float32Array, Float32Array];
  const width = names.length;
  const outcomes = outcomesIn(norm, pending.length);
  return pending.map(({ step, lr, tokens, parts }, i) => {
    const sums = names.map((name, k) => {
      const ofStep = Array.from({ length: parts }, (_, part) => values[(i * accumulate + part) * width + k]!);
      return [name, ofStep.reduce((sum, l) => sum + l, 0)] as const;
    });
    const { loss, ...reports } = Object.fromEntries(sums);
    const outcome = outcomes[i]!;
    return { outcome, record: { step, loss: loss!, ...reports, lr, gradNorm: outcome.gradNorm, tokens } };
  });
}

/** A step that was taken, or skipped. */
interface Taken {
  readonly record: StepRecord & Readonly<Record<"step" | "loss" | "gradNorm", number>>;
  readonly outcome: Outcome;
}

/** With the scale, and how many steps have been skipped so far; of one of these only what is a number. */
function scaledRecord({ record, outcome: { lossScale, skips } }: Taken): StepRecord {
  const finite = Object.entries(record).filter(([, value]) => Number.isFinite(value));
  return { step: record.step, ...Object.fromEntries(finite), lossScale, skipped: skips };
}

/**
 * The norm too: max() in a kernel may drop a NaN, so that the loss of NaN logits is a number. A skipped step has changed
 * nothing, and may be what it is.
 */
function checkFinite({ record: { step, loss, gradNorm }, outcome }: Taken, isSaved: boolean): void {
  if (Number.isFinite(loss) && Number.isFinite(gradNorm)) return;
  if (outcome.skipped && !outcome.diverged) return;
  throw new ConfigError(
    `train: step ${step} has loss ${loss} and gradient norm ${gradNorm}; training diverged. Lower the learning rate, ` +
      `lengthen the warm-up or clip gradients; ${afterDiverging(isSaved)}`,
  );
}

/** What a run that has diverged leaves. */
const afterDiverging = (isSaved: boolean): string =>
  isSaved
    ? "the last checkpoint is as it was."
    : "there is no checkpoint yet: choose another --out, or delete this one.";
