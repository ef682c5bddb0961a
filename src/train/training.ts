/** What language models and classifiers have in common when they are trained. */
import { planEpochs } from "../data/batch.ts";
import type { Device } from "../gpu/device.ts";
import type { Program } from "../gpu/program.ts";
import type { Parameters } from "../nn/parameters.ts";
import { createAdamW, type Optimizer } from "../optim/adamw.ts";
import type { LossScale, LossScaleOptions } from "../optim/loss-scale.ts";
import { record, type Tensor } from "../tensor/tensor.ts";
import { type Carried, carriedOf } from "./checkpoint.ts";
import { type LoopEvents, type LoopResult, type LoopSettings, trainLoop, type TrainTask } from "./loop.ts";

/** Settings of a training run. */
export interface TrainingSettings extends LoopSettings {
  /** Items a forward and backward pass. */
  readonly batch: number;
  /** Passes an optimizer step: `batch` · `accumulate` items a step give the same gradient however they are split. */
  readonly accumulate: number;
  readonly weightDecay: number;
  /** Largest gradient norm; 0 = no clipping. */
  readonly gradClip: number;
  readonly betas: readonly [number, number];
  /** Scale the loss, as f16 wants it; not by default. */
  readonly lossScale?: LossScaleOptions | undefined;
  /** Chooses the order of the data. */
  readonly seed: number;
}

/** A run that is ready to start: restore its state into `carried`, or just run it. */
export interface Training {
  readonly carried: Carried;
  readonly optimizer: Optimizer;
  /** Trains from step `first` on. */
  run(events: LoopEvents, first?: number): Promise<LoopResult>;
  /** Results on the held-out items, if there are any. */
  evaluate(): Promise<Readonly<Record<string, number>>>;
  dispose(): void;
}

/** What a batch must tell of itself. */
export interface Counted {
  readonly tokens: number;
  /** What the mean loss is a mean over, where that is not the tokens. */
  readonly counted?: number;
}

/** Items to learn from, and the pass over a batch of them. */
export interface Lesson<B extends Counted> {
  readonly count: number;
  /** Names of what is logged beside the loss. */
  readonly reports?: readonly string[];
  /** What {@link Lesson.learn} multiplies gradients by, where it does. */
  readonly lossScale?: LossScale | undefined;
  /** The batch of these items in step `step`: a pure function of both. */
  gather(items: readonly number[], step: number): B;
  /** Hears of all batches of a step before the first of them is learnt from. */
  begin?(parts: readonly B[]): Promise<void>;
  /**
   * Adds the gradient of (sum of the batch's losses) / `divisor`.
   * @returns that quotient, and `reports` after it: [1 + reports]
   */
  learn(batch: B, divisor: number): Promise<Tensor>;
  evaluate?(): Promise<Readonly<Record<string, number>>>;
  dispose(): void;
}

/** Optimizer steps in one pass over `count` items. */
export function stepsPerEpoch(
  count: number,
  { batch, accumulate }: Pick<TrainingSettings, "batch" | "accumulate">,
): number {
  return Math.max(1, Math.floor(count / (batch * accumulate)));
}

/**
 * Prepares the training of all trained tensors of `parameters`.
 * @throws ConfigError when nothing is trained, when there are fewer items than a step takes, or a setting is wrong
 */
export async function createTraining<B extends Counted>(
  parameters: Parameters,
  lesson: Lesson<B>,
  settings: TrainingSettings,
): Promise<Training> {
  const { weightDecay, gradClip, betas } = settings;
  const { lossScale } = lesson;
  const task = createTask(lesson, settings);
  const optimizer = await createAdamW(parameters.device, parameters, {
    weightDecay,
    gradClip,
    betas,
    lossScale,
  });
  return {
    carried: carriedOf(parameters, optimizer),
    optimizer,
    run: (events, first = 0) => trainLoop(task, optimizer, settings, events, first),
    evaluate: async () => (await lesson.evaluate?.()) ?? {},
    dispose() {
      optimizer.dispose();
      lesson.dispose();
    },
  };
}

/** A step's items, split into micro-batches whose losses share one divisor: the tokens of the whole step. */
function createTask<B extends Counted>(lesson: Lesson<B>, settings: TrainingSettings): TrainTask {
  const { batch, accumulate, seed } = settings;
  const plan = planEpochs(lesson.count, { batchSize: batch * accumulate, seed });
  return {
    accumulate,
    reports: lesson.reports,
    scaled: lesson.lossScale !== undefined,
    ...(lesson.evaluate && { evaluate: () => lesson.evaluate!() }),
    microBatches(step) {
      const items = plan.at(step);
      const parts = Array.from({ length: accumulate }, (_, i) =>
        lesson.gather(items.slice(i * batch, (i + 1) * batch), step),
      );
      const divisor = parts.reduce((n, part) => n + (part.counted ?? part.tokens), 0);
      let begun: Promise<void> | undefined;
      const run = async (part: B): Promise<Tensor> => {
        await (begun ??= lesson.begin?.(parts));
        return lesson.learn(part, divisor);
      };
      return parts.map((part) => ({ tokens: part.tokens, run: () => run(part) }));
    },
  };
}

/** Programs recorded once for each length. */
export interface Programs<R> {
  at(T: number): Promise<Program<R>>;
  dispose(): void;
}

/** Records `build(T)` when length T is first met. */
export function programsByLength<R>(device: Device, label: string, build: (T: number) => R): Programs<R> {
  const programs = new Map<number, Promise<Program<R>>>();
  return {
    at(T) {
      const known = programs.get(T) ?? record(device, `${label} T=${T}`, () => build(T));
      programs.set(T, known);
      return known;
    },
    dispose: () => programs.forEach((program) => void program.then((p) => p.dispose())),
  };
}

/** Items 0 … count - 1 in groups of `size`, the last one filled up by repeating its first item: `real` of it count. */
export function evalBatches(count: number, size: number): { items: number[]; real: number }[] {
  return Array.from({ length: Math.ceil(count / size) }, (_, g) => {
    const real = Math.min(size, count - g * size);
    return { items: Array.from({ length: size }, (__, i) => g * size + (i < real ? i : 0)), real };
  });
}
