/** The flags of `vbon align` that only its offline methods read, and what they mean to the floors below. */
import { z } from "zod";
import type { OfflineObjective, OfflineSettings } from "../../align/objectives/index.ts";
import type { OfflineTraining } from "../../align/offline/run.ts";
import { ConfigError } from "../../errors.ts";
import type { Precision } from "../../nn/lm.ts";
import { lossScaleOf } from "../flags/training.ts";

/** The parsed values of {@link offlineFields}. */
export interface OfflineFlags {
  readonly passes: number;
  readonly warmup: number;
  readonly labelSmoothing: number;
  readonly alpha: string;
  readonly desirable: number;
  readonly undesirable: number;
}

/** All flags that offline methods read. */
interface Given extends OfflineFlags, Omit<OfflineTraining, "betas" | "lr" | "lossScale"> {
  readonly precision: Precision;
  readonly n?: number | undefined;
  readonly beta?: number | undefined;
  readonly lr?: number | undefined;
  readonly adamBeta1: number;
  readonly adamBeta2: number;
}

type NumberField = z.ZodDefault<z.ZodNumber>;

interface OfflineFields {
  readonly passes: NumberField;
  readonly warmup: NumberField;
  readonly labelSmoothing: NumberField;
  readonly alpha: z.ZodDefault<z.ZodString>;
  readonly desirable: NumberField;
  readonly undesirable: NumberField;
}

/** Fields of the schema. */
export const offlineFields: OfflineFields = {
  passes: z.number().positive().default(2).meta({
    description: "passes over the cached responses, each in other groups of n",
    heading: "Offline methods (with --n, --beta, --minibatch, --micro-batch, --lr and what concerns AdamW)",
  }),
  warmup: z.number().int().min(0).default(0).meta({ description: "optimizer steps of linear rise" }),
  labelSmoothing: z
    .number()
    .min(0)
    .lt(0.5)
    .default(0)
    .meta({ description: "dpo: share of pairs whose order is taken to be wrong (conservative DPO)" }),
  alpha: z
    .string()
    .regex(/^(auto|0|1|0?\.\d+)$/, "expected auto or a number from 0 to 1")
    .default("0.005")
    .meta({
      description: "bonbon: weight of the best's log-probability; auto: both terms contribute equally",
      hint: "auto|N",
    }),
  desirable: z.number().min(0).default(1).meta({ description: "kto: weight of the best responses" }),
  undesirable: z.number().min(0).default(1).meta({ description: "kto: weight of the worst" }),
};

/**
 * What the objective's formula needs.
 * @throws ConfigError when n is missing or no whole number, or beta is 0
 */
export function offlineSettings(flags: Given, objective: OfflineObjective): OfflineSettings {
  const { n, labelSmoothing, alpha, desirable, undesirable } = flags;
  const least = objective.learnsFrom === "pairs" ? 2 : 1;
  if (n === undefined || !Number.isInteger(n) || n < least) {
    throw new ConfigError(
      `vbon align: ${objective.name} compares n cached responses at once; expected --n, a whole number of at least ${least}, ` +
        `got ${n ?? "none"}`,
    );
  }
  const beta = flags.beta ?? objective.defaultBeta(n);
  if (!(beta > 0))
    throw new ConfigError(`vbon align: ${objective.name}: --beta ${beta}; expected a number above 0`);
  const weight = alpha === "auto" ? alpha : Number(alpha);
  return { n, beta, labelSmoothing, alpha: weight, desirable, undesirable };
}

/** How long and how fast. */
export function offlineTraining(flags: Given): OfflineTraining {
  const { passes, minibatch, microBatch, lr = 5e-5, lrSchedule, warmup, adamBeta1, adamBeta2 } = flags;
  const { weightDecay, gradClip, seed, saveEvery, evalEvery } = flags;
  const betas = [adamBeta1, adamBeta2] as const;
  const sizes = { passes, minibatch, microBatch };
  const steps = { lr, lrSchedule, warmup, betas, weightDecay, gradClip, lossScale: lossScaleOf(flags) };
  return { ...sizes, ...steps, seed, saveEvery, evalEvery };
}
