/**
 * The alignment loop: roll out, learn, repeat. What it carries from one iteration to the next is weights,
 * moments and a counter; prompts, random numbers and learning rates follow from the counter, so that a run
 * that resumes from a checkpoint continues bit for bit.
 */
import type { Tokenizer } from "../data/tokenizer/tokenizer.ts";
import { ConfigError } from "../errors.ts";
import { createEngine, type Engine, type GenerateSettings } from "../generate/engine.ts";
import type { LayerSettings } from "../nn/last-layers.ts";
import { forSampling, type LanguageModel, type ScalarModel } from "../nn/lm.ts";
import type { LoraSettings } from "../nn/lora.ts";
import { frozenCopy, type Parameters } from "../nn/parameters.ts";
import { createAdamW, type Optimizer } from "../optim/adamw.ts";
import { type Average, createAverage } from "../optim/average.ts";
import { createLossScale, type LossScale, type LossScaleOptions } from "../optim/loss-scale.ts";
import { createRandom } from "../tensor/random.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { createClock } from "../train/clock.ts";
import { createAnchor } from "./anchor.ts";
import type { CdfOptions, EmpiricalCdf } from "./best-of-n/cdf.ts";
import { type Prompt } from "./cache/build.ts";
import { cacheEntry, entryCdf, type RewardCache } from "./cache/cache.ts";
import { checkKlTarget, checkObjective, checkSampling } from "./checks.ts";
import { type KlController, updateKlController } from "./kl.ts";
import type { Objective, ObjectiveSettings, OfflineSettings } from "./objectives/index.ts";
import type { Reward } from "./rewards.ts";
import { type Episode, rollout, type RolloutStats } from "./rollout.ts";
import { createScorer, type Scorer } from "./scorer.ts";
import { cacheTeacher, type Teacher } from "./teacher.ts";
import { checkGroups, type OnlineOptimizer } from "./update/group-advantage.ts";
import { createPairUpdater } from "./update/pairs.ts";
import { createUpdater, type Experience, type Updater } from "./update/ppo.ts";
import type { UpdateStats } from "./update/stats.ts";
import { separateValue, sharedValue, trainableCopy, type ValueFunction } from "./value/function.ts";
import { createValueTrainer, type ValueTrainer } from "./value/trainer.ts";

/** Settings of PPO. */
export interface PpoSettings {
  /** Responses in all. */
  readonly episodes: number;
  /** Responses an iteration. */
  readonly rolloutSize: number;
  /** Responses an optimizer step. */
  readonly minibatch: number;
  /** Responses a forward and backward pass; smaller needs less memory and gives the same gradient. */
  readonly microBatch: number;
  /** Passes over each rollout. */
  readonly ppoEpochs: number;
  readonly lr: number;
  readonly valueLr: number;
  /** "linear": to 0 at the last step. */
  readonly lrSchedule: "linear" | "constant";
  readonly betas: readonly [number, number];
  readonly weightDecay: number;
  readonly gradClip: number;
  /** Scale the losses, as f16 wants it; not by default. Policy and a separate value function have a scale each. */
  readonly lossScale?: LossScaleOptions | undefined;
  readonly clipRange: number;
  readonly clipRangeValue: number;
  readonly vfCoef: number;
  readonly gamma: number;
  readonly lam: number;
  readonly value: "separate" | "shared";
  /** Passes of a separate value function over each rollout; those beyond `ppoEpochs` cost no sample. */
  readonly valueEpochs: number;
  /** Average the policy's weights over this last share of the iterations; 0 = take the last weights. */
  readonly averageLast: number;
  /** How rewards become advantages; default "ppo". Of the others, none has a value function. */
  readonly optimizer?: OnlineOptimizer;
  /** Responses to each prompt of a rollout; default 1. */
  readonly group?: number;
  /** Divide per-token rewards by their standard deviation over a rollout; default false. */
  readonly whitenRewards?: boolean;
  /** AdamW's epsilon; default 1e-8. */
  readonly eps?: number;
  /** How much of the policy an anchor takes over at each optimizer step; default 0.02. */
  readonly anchorRate?: number;
  /** Move the KL coefficient until the KL is this, nats a response; by default it stays. Of KL-regularised RL only. */
  readonly klTarget?: number | undefined;
  /** Episodes over which a large error moves the coefficient by a fifth; default 10,000. */
  readonly klHorizon?: number | undefined;
  readonly seed: number;
}

/** What to align, toward what. */
export interface AlignOptions {
  /** The reference; it is never changed. */
  readonly refPolicy: LanguageModel;
  /** What a separate value function starts from; by default the reference. It must read the same tokens. */
  readonly valueFrom?: LanguageModel | ScalarModel | undefined;
  readonly tokenizer: Tokenizer;
  readonly reward: Reward;
  readonly prompts: readonly Prompt[];
  /** Further prompts that the engine must have room for: those of evaluations. */
  readonly evalPrompts?: readonly Prompt[];
  /** The reference's scores; objectives that need none use it for ranks, if there. */
  readonly cache: RewardCache | undefined;
  readonly cdf: CdfOptions;
  readonly objective: Objective;
  readonly settings: ObjectiveSettings;
  /** Train adapters on the reference's weights instead of copies of them: policy and separate value function each. */
  readonly lora?: LoraSettings | undefined;
  /** Train the last blocks only, on the reference's other weights: of the policy and of a separate value function. */
  readonly layers?: LayerSettings | undefined;
  readonly generate: GenerateSettings;
  /** Sequences decoded side by side. */
  readonly rows: number;
  readonly ppo: PpoSettings;
}

/** One line of metrics. */
export interface AlignMetrics extends RolloutStats, UpdateStats {
  readonly iteration: number;
  readonly episodes: number;
  readonly lr: number;
  /** The KL coefficient, where it moves. */
  readonly klCoef?: number;
  /** Response tokens drawn a second, the whole iteration counted. */
  readonly tokensPerSecond: number;
  /** By part: those of a rollout ({@link Rollout}), `update`, and `value` for further passes of the value function. */
  readonly seconds: Readonly<Record<string, number>>;
}

/** A run in memory. */
export interface AlignRun {
  readonly policy: LanguageModel;
  /** Undefined where advantages need none. */
  readonly value: ValueFunction | undefined;
  readonly iterations: number;
  /** Puts the averaged weights into the policy, for evaluation and saving; nothing where none are kept. */
  finish(): void;
  /** Trains a separate value function toward given returns; undefined with a shared one. */
  readonly valueTrainer: ValueTrainer | undefined;
  /** The average's tensors are among `tensors`; a checkpoint restores its count as well. */
  readonly average: Average | undefined;
  /** The KL coefficient as it is now; a checkpoint restores it. */
  readonly kl: { control: KlController };
  /** Weights and moments by name, for checkpoints, and the optimizers' step counts. */
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly optimizers: readonly Optimizer[];
  /** The parts, for value pre-training and for evaluation. */
  readonly engine: Engine;
  readonly scorer: Scorer;
  readonly updater: Updater;
  readonly cdfs: readonly EmpiricalCdf[] | undefined;
  /** Runs iteration number `i`, counted from 0. */
  iterate(
    i: number,
    onProgress?: (tokens: number) => void,
  ): Promise<{ metrics: AlignMetrics; episodes: readonly Episode[] }>;
  dispose(): void;
}

/**
 * Copies the reference, records the programs, and gets ready for iteration 0.
 * @throws ConfigError when the objective needs a cache and none is given, a prompt is not in it, or rollouts would
 *   be sampled from a part of the distribution
 */
export async function createAlignRun(options: AlignOptions): Promise<AlignRun> {
  const { refPolicy, prompts, generate, rows, ppo, objective, cache, lora, layers } = options;
  if (objective.needsCache && !cache) {
    throw new ConfigError(`${objective.name}: needs the reference's scores; build them with "vbon cache"`);
  }
  checkSampling(generate);
  checkGroups(ppo);
  checkObjective(objective, ppo);
  checkKlTarget(objective, ppo);
  const cdfs = cache && prompts.map((p) => entryCdf(cacheEntry(cache, p), options.cdf));
  const { device } = refPolicy.parameters;
  const { optimizer: advantages = "ppo", group = 1 } = ppo;
  const kind = advantages === "ppo" && !objective.pairLoss ? ppo.value : "none";
  const policy = refPolicy.with(
    await trainableCopy(refPolicy, { seed: ppo.seed, withHead: kind === "shared", lora, layers }),
  );
  const value = kind === "none" ? undefined : await valueOf(kind, policy, options);
  const { betas, weightDecay, gradClip, eps = 1e-8 } = ppo;
  const ownValue = value?.kind === "separate" ? value : undefined;
  const scaling = (): LossScale | undefined => ppo.lossScale && createLossScale(device, ppo.lossScale);
  const [lossScale, valueLossScale] = [scaling(), ownValue && scaling()];
  const settings = { betas, eps, weightDecay, gradClip };
  const optimizer = await createAdamW(device, policy.parameters, { ...settings, lossScale });
  const valueOptimizer =
    ownValue && (await createAdamW(device, ownValue.parameters, { ...settings, lossScale: valueLossScale }));
  const longest = Math.max(...[...prompts, ...(options.evalPrompts ?? [])].map((p) => p.ids.length));
  const positions = longest + generate.maxNewTokens - 1;
  const { temperature } = generate;
  const engine = await createEngine(forSampling(policy), rows, longest, generate);
  const scorer = createScorer({ policy, refPolicy, value, temperature, batch: ppo.microBatch });
  const update = { ...ppo, policy, optimizer, lossScale, temperature, positions };
  const updater = objective.pairLoss
    ? await createPairUpdater({
        ...update,
        group,
        objective: objective.pairLoss,
        settings: pairSettings(options),
      })
    : await createUpdater({
        ...update,
        value,
        valueOptimizer,
        valueLossScale,
        imitation: objective.imitates?.weight(options.settings),
      });
  const { teacher, parameters: anchored } = await teacherOf(options, { policy, longest, positions });
  // Recorded now, so that the memory of the largest step is known before the first one.
  await engine.prepare(Math.min(ppo.rolloutSize, prompts.length));
  await scorer.prepare(positions);
  const valueTrainer =
    valueOptimizer &&
    (await createValueTrainer({
      value: value!,
      optimizer: valueOptimizer,
      lossScale: valueLossScale,
      microBatch: ppo.microBatch,
      positions,
    }));
  const total = iterationsOf(ppo);
  const averaged = ppo.averageLast > 0 ? frozenCopy(policy.parameters) : undefined;
  const average = averaged && (await createAverage(policy.parameters, averaged));

  const parts = { ...options, engine, scorer, cdfs, ...ppo, episodes: ppo.rolloutSize, teacher };
  // The responses of a pair's group stay together.
  const unit = objective.pairLoss ? group : 1;
  const { klTarget: target, klHorizon: horizon } = ppo;
  const moves = target !== undefined;
  const given = { klCoef: options.settings.klCoef, ...(horizon !== undefined && { horizon }) };
  const kl: AlignRun["kl"] = { control: moves ? { ...given, target } : given };
  return {
    policy,
    kl,
    value,
    iterations: total,
    valueTrainer,
    average,
    finish: () => averaged && policy.parameters.copyFrom(averaged),
    tensors: named({
      policy: policy.parameters,
      "policy.adamw": optimizer.tensors,
      ...(averaged && { "policy.average": averaged }),
      ...(anchored && { "policy.anchor": anchored }),
      ...(valueOptimizer && { value: value!.parameters, "value.adamw": valueOptimizer.tensors }),
    }),
    optimizers: valueOptimizer ? [optimizer, valueOptimizer] : [optimizer],
    engine,
    scorer,
    updater,
    cdfs,
    async iterate(i, onProgress) {
      const start = performance.now();
      const clock = createClock();
      const { klCoef } = kl.control;
      const aim = moves ? { ...options.settings, klCoef } : options.settings;
      const rolled = await rollout(i, { ...parts, settings: aim, clock, ...(onProgress && { onProgress }) });
      const factor = ppo.lrSchedule === "linear" ? 1 - i / total : 1;
      const rates = { lr: ppo.lr * factor, valueLr: ppo.valueLr * factor };
      const learning = { updater, teacher, rates, unit, ...ppo };
      const stats = await clock.time("update", () => learn(i, rolled.experience, learning));
      for (let epoch = ppo.ppoEpochs; valueTrainer && epoch < ppo.valueEpochs; epoch++) {
        const stream = `value minibatches ${i}.${epoch}`;
        const { minibatch, seed } = ppo;
        const how = { lr: rates.valueLr, minibatch, seed, stream };
        await clock.time("value", () => valueTrainer.pass(rolled.experience, how));
      }
      kl.control = updateKlController(kl.control, rolled.stats.kl, ppo.rolloutSize);
      // However short the run, its last weights count.
      if (average && i >= Math.min(total - 1, total * (1 - ppo.averageLast))) average.add();
      const end = performance.now();
      const tokens = rolled.episodes.reduce((n, e) => n + e.sample.ids.length, 0);
      const metrics = {
        iteration: i,
        episodes: (i + 1) * ppo.rolloutSize,
        ...rolled.stats,
        ...stats,
        lr: rates.lr,
        ...(moves && { klCoef }),
        tokensPerSecond: (1000 * tokens) / (end - start),
        seconds: clock.seconds,
      };
      return { metrics, episodes: rolled.episodes };
    },
    dispose() {
      engine.dispose();
      scorer.dispose();
      updater.dispose();
      teacher?.dispose();
      valueTrainer?.dispose();
      average?.dispose();
      averaged?.dispose();
      optimizer.dispose();
      valueOptimizer?.dispose();
      policy.parameters.dispose();
      if (value?.kind === "separate") value.parameters.dispose();
    },
  };
}

/** Whom the policy imitates; for an anchor, its weights. */
async function teacherOf(
  { objective, prompts, cache, settings, cdf, generate, ppo, rows, tokenizer, reward }: AlignOptions,
  {
    policy,
    ...sizes
  }: { readonly policy: LanguageModel; readonly longest: number; readonly positions: number },
): Promise<{ readonly teacher?: Teacher; readonly parameters?: Parameters }> {
  const { seed, microBatch, anchorRate: rate = 0.02 } = ppo;
  const { missingEos = "none" } = cdf;
  if (objective.imitates?.source === "cache") {
    const entries = prompts.map((p) => cacheEntry(cache!, p));
    return { teacher: cacheTeacher({ entries, n: settings.n, missingEos, seed }) };
  }
  if (objective.imitates?.source !== "anchor") return {};
  const jury = { prompts, tokenizer, reward };
  return createAnchor({ ...jury, ...sizes, policy, generate, rate, seed, rows, microBatch, missingEos });
}

/** DPO's settings: no label is doubted, and groups are compared whole. */
function pairSettings({ settings: { klCoef: beta }, ppo: { group = 1 } }: AlignOptions): OfflineSettings {
  return { n: group, beta, labelSmoothing: 0, alpha: 0, desirable: 1, undesirable: 1 };
}

function valueOf(
  kind: PpoSettings["value"],
  policy: LanguageModel,
  { refPolicy, valueFrom, ppo, lora, layers }: AlignOptions,
): ValueFunction | Promise<ValueFunction> {
  return kind === "shared"
    ? sharedValue(policy)
    : separateValue(valueFrom ?? refPolicy, ppo.seed, { lora, layers });
}

/** Iterations that `episodes` make, at least one. */
export function iterationsOf({
  episodes,
  rolloutSize,
}: Pick<PpoSettings, "episodes" | "rolloutSize">): number {
  return Math.max(1, Math.round(episodes / rolloutSize));
}

/** What learns from a rollout, and how. */
interface Learning extends Pick<PpoSettings, "ppoEpochs" | "minibatch" | "seed"> {
  readonly updater: Updater;
  readonly teacher: Teacher | undefined;
  readonly rates: { readonly lr: number; readonly valueLr: number };
  /** Responses that stay together when the order is drawn. */
  readonly unit: number;
}

/** `ppoEpochs` passes over the experience in minibatches, each pass in its own order. */
async function learn(
  iteration: number,
  experience: readonly Experience[],
  { updater, teacher, rates, unit, ppoEpochs, minibatch, seed }: Learning,
): Promise<UpdateStats> {
  for (let epoch = 0; epoch < ppoEpochs; epoch++) {
    const random = createRandom(seed, `minibatches ${iteration}.${epoch}`);
    const order = random
      .permutation(experience.length / unit)
      .flatMap((u) => experience.slice(u * unit, (u + 1) * unit));
    for (let i = 0; i < order.length; i += minibatch) {
      await updater.step(order.slice(i, i + minibatch), rates);
      teacher?.follow();
    }
  }
  return updater.stats();
}

/** All tensors under `<group>.<name>`. */
function named(groups: Readonly<Record<string, Iterable<readonly [string, Tensor]>>>): Map<string, Tensor> {
  const entries = Object.entries(groups).flatMap(([group, tensors]) =>
    [...tensors].map(([name, tensor]) => [`${group}.${name}`, tensor] as const),
  );
  return new Map(entries);
}
