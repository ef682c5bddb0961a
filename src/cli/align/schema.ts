/** The flags of `vbon align`. Defaults: the best measured setting for vBoN. */
import { z } from "zod";
import type { CdfOptions } from "../../align/best-of-n/cdf.ts";
import type { PpoSettings } from "../../align/loop.ts";
import { objectives, offlineObjectives } from "../../align/objectives/index.ts";
import { type OnlineOptimizer, OPTIMIZERS } from "../../align/update/group-advantage.ts";
import type { AskedSampling } from "../cache/task.ts";
import { type FrozenFlags, frozenFields } from "../flags/frozen.ts";
import { type LayerFlags, layerFields } from "../flags/layers.ts";
import { adapterField, type LoraFlags, loraFields } from "../flags/lora.ts";
import { type ComputingFlags, computingFields } from "../flags/training.ts";
import { REWARD_HELP } from "../open.ts";
import type { Schema } from "../verb.ts";
import { type OfflineFlags, offlineFields } from "./offline-flags.ts";

const count = z.number().int().positive();
const countOrNever = z.number().int().min(0);
const positive = z.number().positive();
const share = z.number().min(0).max(1);

const task = {
  policy: z.string().meta({ description: "the model to align; as it is, it is the reference", hint: "DIR" }),
  adapter: adapterField,
  reward: z.string().meta({ description: REWARD_HELP, hint: "SPEC" }),
  cache: z.string().meta({
    description: "the reference's scores (`vbon cache`); its prompts are trained on",
    hint: "TRAIN.jsonl",
  }),
  out: z.string().meta({
    description:
      "folder of the run: config.json, metrics.jsonl, samples.jsonl, checkpoint/, evaluation.json, model/",
    hint: "DIR",
  }),
  dtype: z.enum(["f32", "f16", "bf16"]).default("f32").meta({ description: "of the weights in model/" }),
  evalCache: z
    .string()
    .optional()
    .meta({ description: "scores for other prompts, to evaluate on", hint: "TEST.jsonl" }),
  evalReward: z.string().optional().meta({
    description:
      "another reward to evaluate with, which made --eval-cache: shows what was learned beyond the reward that was trained on",
    hint: "SPEC",
  }),
  method: z
    .enum([...objectives, ...offlineObjectives].map((o) => o.name) as [string, ...string[]])
    .default("vbon")
    .meta({
      description:
        "what is maximised: -KL(policy || Best-of-N policy) exactly; its lower bounds L and Lle; the score with a KL penalty; " +
        "BOND's Jeffreys divergence, its anchored form; pairs of the policy's own responses (online-dpo); or, from the cached responses alone, the best of each n over the worst (dpo, ipo, kto, bonbon), or the best as it is (bon-sft)",
    }),
  preset: z.enum(["nplus", "vbon-release"]).optional().meta({
    description:
      "settings that others published, where no flag says otherwise: Huang et al. 2024 (PPO); the released code of vBoN",
  }),
  n: z
    .number()
    .min(1)
    .optional()
    .meta({
      description:
        "the N of Best-of-N, any real number from 1; n = 1/beta + 1 where only --beta is given; offline: how many cached " +
        "responses are compared at once, a whole number",
    }),
  beta: z.number().min(0).optional().meta({
    description:
      "the KL coefficient of ppo; 1/(n - 1) where only --n is given; dpo: 1; kto: 0.1; ipo: that of the margin of Best-of-N",
  }),
};

const ppo = {
  episodes: count
    .default(30720)
    .meta({ description: "responses in all, in whole iterations, at least one", heading: "PPO" }),
  rollout: count.default(512).meta({ description: "responses an iteration" }),
  minibatch: count.default(128).meta({ description: "responses an optimizer step; a pair is two" }),
  microBatch: count
    .default(64)
    .meta({ description: "responses a forward and backward pass: less memory for the same gradient" }),
  ...computingFields,
  ppoEpochs: count.default(1).meta({ description: "passes over each rollout" }),
  lr: positive
    .optional()
    .meta({ description: "learning rate of the policy (default 2e-4; offline methods 5e-5)" }),
  lrSchedule: z
    .enum(["linear", "constant"])
    .default("linear")
    .meta({ description: "linear: both rates fall to 0 at the end" }),
  adamBeta1: z.number().min(0).lt(1).default(0.9).meta({ description: "AdamW's decay of the first moment" }),
  adamBeta2: z.number().min(0).lt(1).default(0.95).meta({ description: "and of the second" }),
  adamEps: positive.default(1e-8).meta({ description: "and its epsilon" }),
  weightDecay: z.number().min(0).default(0).meta({ description: "AdamW's decoupled decay" }),
  gradClip: z
    .number()
    .min(0)
    .default(1)
    .meta({ description: "largest norm of the gradient; 0 = no clipping" }),
  clipRange: positive
    .default(0.2)
    .meta({ description: "the ratio of new to old probability is clipped to 1 ± this" }),
  optimizer: z
    .enum(OPTIMIZERS)
    .optional()
    .meta({
      description:
        "how rewards become advantages: ppo: GAE with a value function; rloo, grpo: against the other responses to the prompt; " +
        "reinforce: against the rollout's mean (default ppo; bond and j-bond: reinforce)",
    }),
  group: count.optional().meta({
    description:
      "responses to each prompt of a rollout: at least 2 for rloo, grpo and online-dpo (default 1; online-dpo: 2)",
  }),
  rewardClip: positive
    .optional()
    .meta({ description: "clip rewards on the last token to ± this (default: no clipping)" }),
  whitenRewards: z.boolean().default(false).meta({
    description: "divide per-token rewards by their standard deviation over the rollout",
  }),
  klTarget: positive.optional().meta({
    description: "of ppo: move beta until the KL is this, nats a response (default: beta stays)",
  }),
  klHorizon: positive.default(10_000).meta({
    description: "responses over which a KL far from --kl-target moves beta by a fifth",
  }),
  gamma: share.default(1).meta({ description: "discount" }),
  lam: share.default(0.95).meta({ description: "lambda of generalised advantage estimation" }),
  averageLast: share.default(0.2).meta({
    description: "average the policy's weights over this last share of the iterations; 0 = take the last",
  }),
};

const value = {
  value: z.enum(["separate", "shared"]).default("separate").meta({
    description: "a trunk of its own, started from the reference, or a head on the policy",
    heading: "The value function",
  }),
  valueLr: positive.default(5e-4).meta({ description: "its learning rate (separate only)" }),
  valueEpochs: count.default(3).meta({ description: "its passes over each rollout (separate only)" }),
  valuePretrainEpochs: countOrNever.default(2).meta({
    description: "passes over the cached responses before PPO, which cost no sample (separate only)",
  }),
  valuePretrainLr: positive.default(1e-3).meta({ description: "learning rate of these" }),
  vfCoef: z
    .number()
    .min(0)
    .default(1)
    .meta({ description: "weight of its loss beside the policy's (shared only)" }),
  clipRangeValue: positive
    .default(0.2)
    .meta({ description: "how far an update may move a value before it is clipped" }),
};

const bond = {
  jeffreys: share.default(0.5).meta({
    description: "weight b of KL(policy || Best-of-N); 1 - b is that of its reverse, imitation",
    heading: "BOND (bond, j-bond)",
  }),
  anchorRate: share
    .default(0.02)
    .meta({ description: "j-bond: how much of the policy the anchor takes over at each optimizer step" }),
  anchorKl: z
    .number()
    .min(0)
    .default(1)
    .meta({ description: "j-bond: additional weight of the KL penalty against the anchor" }),
};

const cdf = {
  maxSamples: count.optional().meta({
    description: "use the first so many cached samples of each prompt (default all)",
    heading: "The reference's scores",
  }),
  estimator: z
    .enum(["code", "pooled"])
    .default("code")
    .meta({ description: "pooled: from ranks alone, better below 64 samples or with ties" }),
  smoothing: z
    .enum(["code", "paper", "laplace", "mid"])
    .default("code")
    .meta({ description: "(k+1)/(M+1); k/M; (k+1)/(M+2); (k+1/2+ties/2)/(M+1)" }),
  ties: z
    .enum(["strict", "total-order", "random"])
    .default("strict")
    .meta({ description: "what equal scores mean" }),
  missingEos: z
    .string()
    .regex(/^(none|bottom|-?[\d.]+(e-?\d+)?)$/, "expected none, bottom or a number")
    .default("none")
    .meta({
      description: "score of responses without an end: their own; below all finished ones; or a number",
      hint: "none|bottom|SCORE",
    }),
  fit: z.boolean().default(false).meta({ description: "replace the steps by -a exp(-b r) where it fits" }),
  compat: z
    .enum(["vbon-release"])
    .optional()
    .meta({ description: "the released code's R/n with KL weight 1/(n - 1), n = int(1/beta) + 1" }),
  temperature: positive
    .optional()
    .meta({ description: "of sampling (default: the cache's, which it must be)", hint: "T" }),
  maxNewTokens: count
    .optional()
    .meta({ description: "most tokens of a response (default: the cache's, which it must be)" }),
};

const run = {
  resume: z
    .boolean()
    .default(false)
    .meta({ description: "continue the run in --out from its checkpoint, bit for bit", heading: "The run" }),
  seed: countOrNever.default(0).meta({ description: "of prompts, samples, minibatches and the value head" }),
  rows: count.default(512).meta({ description: "responses decoded side by side" }),
  saveEvery: countOrNever
    .default(5)
    .meta({ description: "iterations (offline: steps) between checkpoints; 0 = only at the end" }),
  evalEvery: countOrNever.default(0).meta({
    description: "iterations (offline: steps) between evaluations on --eval-cache; 0 = only at the end",
  }),
  evalSamples: count.default(16).meta({ description: "responses to each prompt of an evaluation" }),
  samplesEvery: countOrNever
    .default(10)
    .meta({ description: "iterations between sample responses in samples.jsonl; 0 = never" }),
};

/** The parsed flags. */
export interface AlignFlags
  extends
    Omit<
      PpoSettings,
      | "rolloutSize"
      | "betas"
      | "lr"
      | "lossScale"
      | "optimizer"
      | "group"
      | "anchorRate"
      | "eps"
      | "whitenRewards"
    >,
    OfflineFlags,
    Required<Pick<CdfOptions, "estimator" | "smoothing" | "ties">>,
    AskedSampling,
    LoraFlags,
    LayerFlags,
    FrozenFlags,
    ComputingFlags {
  readonly fit: boolean;
  readonly policy: string;
  readonly adapter?: string | undefined;
  readonly reward: string;
  readonly cache: string;
  readonly out: string;
  readonly dtype: "f32" | "f16" | "bf16";
  readonly evalCache?: string | undefined;
  readonly evalReward?: string | undefined;
  readonly method: string;
  readonly preset?: string | undefined;
  readonly n?: number | undefined;
  readonly beta?: number | undefined;
  readonly compat?: "vbon-release" | undefined;
  readonly maxSamples?: number | undefined;
  readonly missingEos: string;
  readonly rollout: number;
  readonly lr?: number | undefined;
  readonly optimizer?: OnlineOptimizer | undefined;
  readonly group?: number | undefined;
  readonly jeffreys: number;
  readonly anchorRate: number;
  readonly anchorKl: number;
  readonly adamBeta1: number;
  readonly adamBeta2: number;
  readonly adamEps: number;
  readonly rewardClip?: number | undefined;
  readonly whitenRewards: boolean;
  readonly valuePretrainEpochs: number;
  readonly valuePretrainLr: number;
  readonly resume: boolean;
  readonly rows: number;
  readonly saveEvery: number;
  readonly evalEvery: number;
  readonly evalSamples: number;
  readonly samplesEvery: number;
}

/** Parses {@link AlignFlags}. */
export const alignSchema: Schema & z.ZodType<AlignFlags> = z.strictObject({
  ...task,
  ...frozenFields,
  ...ppo,
  ...value,
  ...layerFields,
  ...loraFields,
  ...bond,
  ...offlineFields,
  ...cdf,
  ...run,
});

/** Flags that may change when a run resumes: they do not change its result. */
export const ALIGN_CHANGEABLE: readonly string[] = [
  "dtype",
  "gradientCheckpointing",
  "saveEvery",
  "evalEvery",
  "evalSamples",
  "samplesEvery",
  "evalCache",
  "evalReward",
];

/** Names of the settings of methods that draw their own samples. */
export const ONLINE_KEYS: readonly string[] = Object.keys({ ...ppo, ...value, ...bond });
