/** Models from and to Hugging Face folders: `config.json` beside weights; those written are safetensors. And from files of llama2.c. */
import { join } from "node:path";
import { writeFileAtomic } from "../src/data/files.ts";
import { isRecord, jsonText } from "../src/data/json.ts";
import { openWeights, readModelConfig } from "../src/data/weights/open.ts";
import type { Checkpoint, TensorToWrite } from "../src/data/weights/safetensors.ts";
import { writeWeights } from "../src/data/weights/save.ts";
import { FormatError } from "../src/errors.ts";
import type { Device } from "../src/gpu/device.ts";
import { initialValues } from "../src/nn/init.ts";
import type { LanguageModel, ScalarModel, Trunk } from "../src/nn/lm.ts";
import { mergedPieces } from "../src/nn/lora.ts";
import { createParameters, type ParameterOptions, type Parameters } from "../src/nn/parameters.ts";
import { modelKind, type ModelKind } from "./index.ts";
import { type Blueprint, blueprint, languageModel, scalarModel } from "./model.ts";

/** How weights are stored: as they are, or rounded to 16 bits. */
export type SaveDtype = "F32" | "F16" | "BF16";

const TORCH_NAMES: Readonly<Record<SaveDtype, string>> = { F32: "float32", F16: "float16", BF16: "bfloat16" };

/** Fields that transformers takes no whole number for. */
const FLOATS = ["initializer_range", "layer_norm_eps", "layer_norm_epsilon", "rms_norm_eps"];

/** What families call an LM head. */
const LM_HEADS: ReadonlySet<string> = new Set(["lm_head.weight", "embed_out.weight"]);

interface Config {
  readonly json: Readonly<Record<string, unknown>>;
  readonly where: string;
  /** What the folder holds. */
  readonly kind: ModelKind;
}

/**
 * Loads the language model of `folder`; f16 and bf16 weights become f32.
 * @throws FormatError when files are missing or corrupt, when tensors are missing, unexpected or of another
 *   shape, or when the folder holds a classifier
 */
export async function loadModel(
  device: Device,
  folder: string,
  options: ParameterOptions,
): Promise<LanguageModel> {
  const config = await readConfig(folder);
  if (config.kind === "scalar") {
    const got = String(config.json["architectures"]);
    throw new FormatError(`${config.where}: expected a language model, got ${got}, which has no LM head`);
  }
  const plan = blueprint(config.json, "lm", config.where);
  return languageModel(plan, await load(device, await openWeights(folder), config, plan, options));
}

/**
 * Loads the classifier of `folder`, or the trunk of a language model under a new head from `options.seed`.
 * @throws FormatError as {@link loadModel}
 */
export async function loadScalarModel(
  device: Device,
  folder: string,
  options: ParameterOptions,
): Promise<ScalarModel> {
  const config = await readConfig(folder);
  const checkpoint = await openWeights(folder);
  const plan = blueprint(config.json, "scalar", config.where, (name) => checkpoint.tensors.has(name));
  return scalarModel(plan, await load(device, checkpoint, config, plan, options));
}

/** How a model is written. */
export interface SaveOptions {
  /** "F32" by default. */
  readonly dtype?: SaveDtype;
  /** Bytes of a file of weights at most; larger models are written in several. 5 GB by default, as Hugging Face does. */
  readonly maxShardBytes?: number;
  /** The tokenizer's padding. A classifier's config names it, where it does not yet: transformers finds the last token by it. */
  readonly padId?: number | undefined;
}

/** Writes weights and `config.json` into `folder`, each file by rename; adapters are merged into the weights. */
export async function saveModel(
  folder: string,
  model: Trunk | ScalarModel,
  { dtype = "F32", maxShardBytes = 5e9, padId }: SaveOptions = {},
): Promise<void> {
  const tensors = model.specs.map((spec): TensorToWrite => {
    const { name, shape } = spec;
    return { name, dtype, shape, data: () => mergedPieces(model.parameters, spec) };
  });
  await writeWeights(folder, tensors, maxShardBytes);
  const json = model.toHf();
  const pad =
    "headSpecs" in model && padId !== undefined ? { pad_token_id: json["pad_token_id"] ?? padId } : {};
  // Newer configs say `dtype`, older readers want `torch_dtype`.
  const config = { ...json, ...pad, torch_dtype: TORCH_NAMES[dtype], dtype: TORCH_NAMES[dtype] };
  await writeFileAtomic(join(folder, "config.json"), jsonText(config, FLOATS));
}

async function readConfig(folder: string): Promise<Config> {
  const { where, json } = await readModelConfig(folder);
  if (!isRecord(json)) throw new FormatError(`${where}: expected a JSON object`);
  return { json, where, kind: modelKind(json, where) };
}

async function load(
  device: Device,
  checkpoint: Checkpoint,
  { kind }: Config,
  { specs, architecture, kind: wanted }: Blueprint,
  { trainable, seed = 0, halves }: ParameterOptions,
): Promise<Parameters> {
  const parameters = createParameters(device, specs, { trainable, halves });
  const needsHead = wanted === "lm" && architecture.lmHeadSpec !== undefined;
  const isNew = (name: string): boolean =>
    wanted !== kind && !architecture.specs.some((spec) => spec.name === name);
  // A tied LM head is often stored as well, and a classifier needs none.
  const rename = (name: string): string | undefined =>
    !needsHead && LM_HEADS.has(name) ? undefined : architecture.rename(name);
  await parameters.writeFrom(checkpoint, { rename, optional: isNew });
  const stored = new Set([...checkpoint.tensors.keys()].map(rename));
  for (const spec of specs.filter(({ name }) => isNew(name) && !stored.has(name))) {
    parameters.get(spec.name).write(initialValues(spec, seed));
  }
  return parameters;
}
