/** The flags that commands which train have in common, and what they mean to the floors below. */
import { z } from "zod";
import type { SaveDtype } from "../../../models/load.ts";
import type { Tokenizer } from "../../data/tokenizer/tokenizer.ts";
import { ConfigError } from "../../errors.ts";
import type { Device } from "../../gpu/device.ts";
import type { Computing, Precision } from "../../nn/lm.ts";
import { hasHalves } from "../../ops/cast.ts";
import type { LossScaleOptions } from "../../optim/loss-scale.ts";
import { stepsPerEpoch, type TrainingSettings } from "../../train/training.ts";

const count = z.number().int().min(1);
const countOrNever = z.number().int().min(0);

type NumberField = z.ZodDefault<z.ZodNumber>;
type OptionalNumber = z.ZodOptional<z.ZodNumber>;
type Flag = z.ZodDefault<z.ZodBoolean>;
type Choice<T extends string> = z.ZodDefault<z.ZodEnum<{ [K in T]: K }>>;

interface ScratchFields {
  readonly family: Choice<"llama" | "gpt2">;
  readonly layers: NumberField;
  readonly heads: NumberField;
  readonly kvHeads: OptionalNumber;
  readonly dim: NumberField;
  readonly vocab: NumberField;
  readonly tokenizer: z.ZodOptional<z.ZodString>;
}

/** Sizes of a model that begins with random weights. */
export function scratchFields(defaults: { layers: number; dim: number; vocab: number }): ScratchFields {
  return {
    family: z.enum(["llama", "gpt2"]).default("llama").meta({
      description: "architecture of a new model",
      heading: "A new model (where there is no --model)",
    }),
    layers: count.default(defaults.layers).meta({ description: "transformer blocks" }),
    heads: count.default(4).meta({ description: "attention heads" }),
    kvHeads: count.optional().meta({ description: "key/value heads (llama; default: as many as heads)" }),
    dim: count.default(defaults.dim).meta({ description: "width of the hidden states" }),
    vocab: z.number().int().min(257).default(defaults.vocab).meta({
      description: "tokens of the BPE tokenizer that is trained on the data (where there is no --tokenizer)",
    }),
    tokenizer: z
      .string()
      .optional()
      .meta({ description: "folder of a tokenizer to use instead", hint: "DIR" }),
  };
}

interface ComputingFields {
  readonly gradientCheckpointing: Flag;
  readonly precision: Choice<Precision>;
}

/** How forward and backward passes are computed. */
export const computingFields: ComputingFields = {
  gradientCheckpointing: z.boolean().default(false).meta({
    description:
      "keep each block's input only and compute the block again on the way back: less memory, same bits",
  }),
  precision: z.enum(["f32", "mixed"]).default("f32").meta({
    description:
      "mixed: f16 operands of linear maps, with a loss scale that adapts; weights, sums, losses and the optimizer stay f32",
  }),
};

/** The parsed values of {@link computingFields}. */
export interface ComputingFlags {
  readonly gradientCheckpointing: boolean;
  readonly precision: Precision;
}

/**
 * What the flags mean to a model on `device`.
 * @throws ConfigError when they ask for f16 and it has none
 */
export function computingOf({ gradientCheckpointing, precision }: ComputingFlags, device: Device): Computing {
  if (precision === "mixed" && !hasHalves(device)) {
    throw new ConfigError(
      `--precision mixed: expected a device with 16-bit floats (shader-f16), got ${device.name}, which has none; leave the flag out`,
    );
  }
  return { checkpointing: gradientCheckpointing, precision };
}

/** How the loss is scaled: where gradients pass through f16. */
export const lossScaleOf = ({ precision }: Pick<ComputingFlags, "precision">): LossScaleOptions | undefined =>
  precision === "mixed" ? {} : undefined;

interface TrainingFields extends ComputingFields {
  readonly epochs: NumberField;
  readonly steps: OptionalNumber;
  readonly batch: NumberField;
  readonly accumulate: NumberField;
  readonly lr: NumberField;
  readonly schedule: Choice<"cosine" | "linear" | "constant">;
  readonly warmup: NumberField;
  readonly weightDecay: NumberField;
  readonly gradClip: NumberField;
  readonly seed: NumberField;
}

/** How long and how fast; the defaults of learning rate and length are the command's. */
export function trainingFields(defaults: {
  lr: number;
  epochs: number;
  batch: number;
  weightDecay: number;
}): TrainingFields {
  return {
    epochs: z
      .number()
      .gt(0)
      .default(defaults.epochs)
      .meta({ description: "passes over the data", heading: "Training" }),
    steps: count.optional().meta({ description: "optimizer steps, instead of --epochs" }),
    batch: count.default(defaults.batch).meta({ description: "sequences a forward and backward pass" }),
    accumulate: count
      .default(1)
      .meta({ description: "passes an optimizer step: less memory for the same gradient" }),
    ...computingFields,
    lr: z.number().gt(0).default(defaults.lr).meta({ description: "peak learning rate" }),
    schedule: z
      .enum(["cosine", "linear", "constant"])
      .default("cosine")
      .meta({ description: "how the rate falls to 0 after the warm-up" }),
    warmup: countOrNever.default(20).meta({ description: "steps in which the rate rises" }),
    weightDecay: z
      .number()
      .min(0)
      .default(defaults.weightDecay)
      .meta({ description: "AdamW's decoupled decay, of matrices only" }),
    gradClip: z
      .number()
      .min(0)
      .default(1)
      .meta({ description: "largest norm of the gradient; 0 = no clipping" }),
    seed: countOrNever
      .default(0)
      .meta({ description: "of initial weights, held-out items and the order of the data" }),
  };
}

interface RunFields {
  readonly out: z.ZodString;
  readonly resume: z.ZodDefault<z.ZodBoolean>;
  readonly evalEvery: NumberField;
  readonly saveEvery: NumberField;
  readonly logEvery: NumberField;
  readonly dtype: Choice<"f32" | "f16" | "bf16">;
}

/** Where a run lives, and how often it looks up. */
export function runFields(defaults: { evalEvery: number; saveEvery: number }): RunFields {
  return {
    out: z.string().meta({
      description: "folder of the run: config.json, metrics.jsonl, samples.jsonl, checkpoint/, model/",
      hint: "DIR",
      heading: "The run",
    }),
    resume: z
      .boolean()
      .default(false)
      .meta({ description: "continue the run in --out from its checkpoint, bit for bit" }),
    evalEvery: countOrNever
      .default(defaults.evalEvery)
      .meta({ description: "steps between evaluations; 0 = only at the end" }),
    saveEvery: countOrNever
      .default(defaults.saveEvery)
      .meta({ description: "steps between checkpoints; 0 = only at the end" }),
    logEvery: count.default(10).meta({
      description: "steps between readbacks of losses (every step is logged; 1 on software adapters)",
    }),
    dtype: z.enum(["f32", "f16", "bf16"]).default("f32").meta({ description: "of the weights in model/" }),
  };
}

/** Flags of a run that may change when it resumes: they do not change its result. */
export const CHANGEABLE_ON_RESUME: readonly string[] = [
  "saveEvery",
  "logEvery",
  "dtype",
  "gradientCheckpointing",
  "plan",
  "memory",
];

/** The parsed values of {@link trainingFields}. */
export interface TrainingFlags extends Pick<ComputingFlags, "precision"> {
  readonly epochs: number;
  readonly steps?: number | undefined;
  readonly batch: number;
  readonly accumulate: number;
  readonly lr: number;
  readonly schedule: "cosine" | "linear" | "constant";
  readonly warmup: number;
  readonly weightDecay: number;
  readonly gradClip: number;
  readonly seed: number;
  readonly evalEvery: number;
  readonly saveEvery: number;
  readonly logEvery: number;
  readonly sampleEvery?: number;
}

/** The training loop's settings for `items` items. */
export function trainingSettings(flags: TrainingFlags, items: number): TrainingSettings {
  const steps = flags.steps ?? Math.max(1, Math.round(flags.epochs * stepsPerEpoch(items, flags)));
  const fixed = { betas: [0.9, 0.95] as const, lossScale: lossScaleOf(flags) };
  return { ...flags, ...fixed, sampleEvery: flags.sampleEvery ?? 0, steps };
}

/** The parsed values of {@link scratchFields}. */
export interface ScratchFlags {
  readonly family: "llama" | "gpt2";
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads?: number | undefined;
  readonly dim: number;
}

/**
 * The `config.json` of a new model, spelled as Hugging Face does. The inner width of a Llama is 8/3 of its width, of
 * GPT-2 4 times; embeddings are tied.
 * @throws ConfigError when heads do not divide the width or each other
 */
export function scratchConfig(
  flags: ScratchFlags,
  blockSize: number,
  tokenizer: Tokenizer,
): Record<string, unknown> {
  const { family, layers, heads, kvHeads = heads, dim } = flags;
  const headDim = dim / heads;
  if (!Number.isInteger(headDim) || headDim % 2 !== 0) {
    throw new ConfigError(
      `--heads ${heads}, --dim ${dim}: expected a width that is an even multiple of the number of heads`,
    );
  }
  if (heads % kvHeads !== 0)
    throw new ConfigError(
      `--kv-heads ${kvHeads}, --heads ${heads}: expected key/value heads that divide the heads`,
    );
  if (family === "gpt2" && kvHeads !== heads)
    throw new ConfigError(`--kv-heads ${kvHeads}: gpt2 has as many as --heads; leave it out`);
  const ids = { bos_token_id: tokenizer.bosId, eos_token_id: tokenizer.eosId };
  const common = { model_type: family, vocab_size: tokenizer.vocabSize, tie_word_embeddings: true, ...ids };
  if (family === "gpt2")
    return { ...common, n_positions: blockSize, n_layer: layers, n_head: heads, n_embd: dim };
  return {
    ...common,
    hidden_size: dim,
    intermediate_size: 32 * Math.ceil((8 * dim) / 3 / 32),
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    max_position_embeddings: blockSize,
    rms_norm_eps: 1e-5,
  };
}

/** "f16" as safetensors spells it. */
export const saveDtype = (dtype: "f32" | "f16" | "bf16"): SaveDtype => dtype.toUpperCase() as SaveDtype;
