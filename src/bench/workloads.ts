/** What `vbon profile` takes apart: a training step or a decoding step of some model. */
import { createModel } from "../../models/model.ts";
import { ConfigError } from "../errors.ts";
import type { Device } from "../gpu/device.ts";
import { createEngine } from "../generate/engine.ts";
import type { LanguageModel, Precision } from "../nn/lm.ts";
import { GPT2_SMALL, SMALL_GPT, STORIES, TINY_GPT } from "./models.ts";
import type { Workload } from "./profile.ts";
import { trainerOf } from "./trainer.ts";

/** Models by name, with the batch they are trained with: rows and tokens a row. */
const SIZES = {
  tiny: { sizes: TINY_GPT, B: 32, T: 64 },
  small: { sizes: SMALL_GPT, B: 8, T: 128 },
  stories: { sizes: STORIES, B: 64, T: 56 },
  gpt2: { sizes: GPT2_SMALL, B: 8, T: 1024 },
};

export type SizeName = "tiny" | "small" | "stories" | "gpt2";

/** Rows and tokens a row, those of the model by default; the precision of a training step. */
export interface BatchShape {
  readonly B?: number | undefined;
  readonly T?: number | undefined;
  readonly precision?: Precision | undefined;
}

/** A workload, and what ends with it. */
export interface Opened extends Workload {
  /** "training step, B=8 T=128, 13.8 million parameters" */
  readonly title: string;
  /** Tokens a step. */
  readonly tokens: number;
  dispose(): void;
}

/** One training step: forward, backward, clipping and AdamW. `model` has trained parameters. */
export async function stepWorkload(
  device: Device,
  model: LanguageModel | SizeName,
  batch: BatchShape,
): Promise<Opened> {
  const { B, T } = shapeOf(model, batch);
  const lm = modelOf(device, model, true);
  const { blockSize } = lm.config;
  if (T > blockSize)
    throw new ConfigError(`profile: ${T} tokens a row exceed the model's context of ${blockSize}`);
  const trainer = await trainerOf(lm, B, T, batch.precision);
  return {
    title: `training step, ${batch.precision ?? "f32"}, B=${B} T=${T}, ${millions(trainer.parameters)}`,
    tokens: B * T,
    steps: 1,
    hostOnly: true,
    run: () => trainer.step(),
    of: () => true,
    dispose: () => trainer.dispose(),
  };
}

const PROMPT = 8;

/** One decoding step, the median of those between a prompt of 8 tokens and the end of T. `model` is frozen. */
export async function decodeWorkload(
  device: Device,
  model: LanguageModel | SizeName,
  batch: BatchShape,
): Promise<Opened> {
  const { B = 64, T = 56 } = batch;
  const lm = modelOf(device, model, false);
  const steps = T - PROMPT;
  if (steps < 1)
    throw new ConfigError(`profile: ${T} tokens a row; expected more than the prompt's ${PROMPT}`);
  const engine = await createEngine(lm, B, PROMPT, { temperature: 1, maxNewTokens: steps, eosIds: [] });
  const ids = Array.from({ length: PROMPT }, (_, i) => i + 1);
  const requests = Array.from({ length: B }, (_, i) => ({ ids, stream: [0, i] as const }));
  return {
    title: `decoding step, ${B} rows, ${T} tokens, ${millions(lm.parameters.count)}`,
    tokens: B,
    steps,
    hostOnly: false,
    run: async () => void (await engine.generate(requests, { seed: 0 })),
    of: (label) => label === "decode",
    dispose() {
      engine.dispose();
      lm.parameters.dispose();
    },
  };
}

const modelOf = (device: Device, model: LanguageModel | SizeName, trainable: boolean): LanguageModel =>
  typeof model === "string" ? createModel(device, SIZES[model].sizes, { trainable, seed: 1 }) : model;

function shapeOf(model: LanguageModel | SizeName, batch: BatchShape): { B: number; T: number } {
  const usual = typeof model === "string" ? SIZES[model] : { B: 8, T: Math.min(128, model.config.blockSize) };
  return { B: batch.B ?? usual.B, T: batch.T ?? usual.T };
}

const millions = (n: number): string => `${(n / 1e6).toPrecision(3)} million parameters`;
