/**
 * Offline alignment: the policy learns from the responses that the reference drew for the cache; nothing is sampled and no
 * reward is asked. The training loop is that of `src/train`: what it carries is weights, moments and the step's number.
 */
import { bucketLength } from "../../data/batch.ts";
import { ConfigError } from "../../errors.ts";
import type { LayerSettings } from "../../nn/last-layers.ts";
import type { LanguageModel } from "../../nn/lm.ts";
import type { LoraSettings } from "../../nn/lora.ts";
import { createLossScale, type LossScaleOptions } from "../../optim/loss-scale.ts";
import type { ScheduleKind } from "../../optim/schedule.ts";
import {
  createTraining,
  type Lesson,
  type Programs,
  programsByLength,
  stepsPerEpoch,
  type Training,
  type TrainingSettings,
} from "../../train/training.ts";
import type { MissingEos } from "../best-of-n/cdf.ts";
import type { CacheEntry } from "../cache/cache.ts";
import type { OfflineObjective, OfflineSettings } from "../objectives/index.ts";
import { type Groups, groupsOf } from "../pairs.ts";
import { positionsOf } from "../sequences.ts";
import { trainableCopy } from "../value/function.ts";
import { checkGroups, exampleOf, type JudgedEntry, judgedEntries, longestOf } from "./data.ts";
import { createLevel, type Level } from "./level.ts";
import { type OfflineExample, type OfflineInputs, recordOffline, reportsOf, runOffline } from "./loss.ts";

/** How long and how fast. */
export interface OfflineTraining {
  /** Passes over the cached responses, each in other groups. */
  readonly passes: number;
  /** Responses an optimizer step, and a forward and backward pass: a pair is two. */
  readonly minibatch: number;
  readonly microBatch: number;
  readonly lr: number;
  readonly lrSchedule: ScheduleKind;
  /** Steps of linear rise. */
  readonly warmup: number;
  readonly betas: readonly [number, number];
  readonly weightDecay: number;
  readonly gradClip: number;
  /** Scale the loss, as f16 wants it; not by default. */
  readonly lossScale?: LossScaleOptions | undefined;
  readonly seed: number;
  /** Steps between checkpoints, and evaluations; 0 = only at the end. */
  readonly saveEvery: number;
  readonly evalEvery: number;
}

/** What to align, from what. */
export interface OfflineOptions {
  /** The reference; it is never changed. */
  readonly refPolicy: LanguageModel;
  /** Prompts with the reference's responses and their scores. */
  readonly entries: readonly CacheEntry[];
  readonly objective: OfflineObjective;
  readonly settings: OfflineSettings;
  /** Train adapters on the reference's weights instead of a copy of them. */
  readonly lora?: LoraSettings | undefined;
  /** Train the last blocks only, on the reference's other weights. */
  readonly layers?: LayerSettings | undefined;
  /** That the cache was sampled at. */
  readonly temperature: number;
  readonly missingEos: MissingEos;
  readonly training: OfflineTraining;
  /** Results on other prompts by name, as the policy stands. */
  evaluate?(): Promise<Readonly<Record<string, number>>>;
}

/** A run that is ready to start: restore its state into `training.carried`, or just run it. */
export interface OfflineRun {
  readonly policy: LanguageModel;
  readonly training: Training;
  /** Its `memory` belongs to the checkpoint too. */
  readonly level: Level;
  /** Optimizer steps in all. */
  readonly steps: number;
  /** Examples a step. */
  readonly examples: number;
  dispose(): void;
}

/** Examples of a micro-batch. */
interface OfflineBatch {
  readonly examples: readonly OfflineExample[];
  readonly tokens: number;
  readonly counted: number;
  /** Positions a sequence. */
  readonly T: number;
}

/**
 * Copies the reference and records the largest program.
 * @throws ConfigError when the cache keeps no responses, when every group ties, or a size does not fit
 */
export async function createOfflineRun(options: OfflineOptions): Promise<OfflineRun> {
  const { refPolicy, objective, settings, temperature, missingEos, training, lora, layers } = options;
  const entries = await judgedEntries({ ...options, batch: training.microBatch });
  const groups = groupsOf(entries, { n: settings.n, seed: training.seed, missingEos });
  checkGroups(groups, objective, settings);
  const loop = loopSettings(training, objective, groups.count);
  const policy = refPolicy.with(
    await trainableCopy(refPolicy, { seed: training.seed, withHead: false, lora, layers }),
  );
  const level = createLevel({ ...options, policy, batch: training.microBatch });
  const { device } = policy.parameters;
  const lossScale = training.lossScale && createLossScale(device, training.lossScale);
  const recorded = { policy, objective, settings, temperature, lossScale, examples: loop.batch };
  const programs = programsByLength(device, objective.name, (T) =>
    recordOffline({ ...recorded, positions: T }),
  );
  const bucket = (positions: number): number => bucketLength(positions, policy.config.blockSize, BUCKET);
  const perPass = stepsPerEpoch(groups.count, loop);
  const lesson = lessonOf({ groups, perPass, programs, level, bucket }, options);
  const trained = await createTraining(policy.parameters, { ...lesson, lossScale }, loop);
  await programs.at(bucket(longestOf(entries)));
  return {
    policy,
    training: trained,
    level,
    steps: loop.steps,
    examples: loop.batch * loop.accumulate,
    dispose() {
      trained.dispose();
      policy.parameters.dispose();
    },
  };
}

interface LessonParts {
  readonly groups: Groups<JudgedEntry>;
  /** Steps in a pass over all groups. */
  readonly perPass: number;
  readonly programs: Programs<OfflineInputs>;
  readonly level: Level;
  /** The length of the program for so many positions. */
  readonly bucket: (positions: number) => number;
}

function lessonOf(
  { groups, perPass, programs, level, bucket }: LessonParts,
  { objective, evaluate }: OfflineOptions,
): Lesson<OfflineBatch> {
  let stepLevel = 0;
  return {
    count: groups.count,
    reports: reportsOf(objective),
    gather(items, step) {
      const pass = Math.floor(step / perPass);
      const examples = items.map((item) => exampleOf(groups.at(item, pass), objective));
      return batchOf(examples, objective, bucket);
    },
    async begin(parts) {
      stepLevel = await level.at(parts.flatMap(({ examples }) => examples));
    },
    async learn({ examples, T }, divisor) {
      const report = runOffline(await programs.at(T), examples, divisor, stepLevel);
      // Read only where somebody listens. The loss comes first, its parts next.
      level.hear?.([...(await report.read())].slice(1));
      return report;
    },
    ...(evaluate && { evaluate }),
    dispose() {
      programs.dispose();
      level.dispose();
    },
  };
}

function batchOf(
  examples: readonly OfflineExample[],
  { per }: OfflineObjective,
  bucket: LessonParts["bucket"],
): OfflineBatch {
  const sequences = examples.flatMap(({ chosen, rejected }) => (rejected ? [chosen, rejected] : [chosen]));
  const tokens = sequences.reduce((n, { response }) => n + response.length, 0);
  const counted = per === "token" ? tokens : examples.filter(({ tied }) => !tied).length;
  return { examples, tokens, counted, T: bucket(positionsOf(sequences)) };
}

/** Lengths of padded batches are multiples of this: few lengths, few programs. */
const BUCKET = 16;

function loopSettings(
  { minibatch, microBatch, passes, lrSchedule, ...rest }: OfflineTraining,
  { learnsFrom, name }: OfflineObjective,
  count: number,
): TrainingSettings {
  const responses = learnsFrom === "pairs" ? 2 : 1;
  const part = Math.min(microBatch, minibatch);
  if (part % responses !== 0 || minibatch % part !== 0) {
    throw new ConfigError(
      `align: ${name} takes ${minibatch} responses a step in parts of ${part}; expected parts of ${responses === 2 ? "whole pairs" : "whole responses"} ` +
        "that make up the step: change --minibatch or --micro-batch",
    );
  }
  const sizes = { batch: part / responses, accumulate: minibatch / part };
  const steps = Math.max(1, Math.round(passes * stepsPerEpoch(count, sizes)));
  return { ...rest, ...sizes, steps, schedule: lrSchedule, sampleEvery: 0, logEvery: 10 };
}
