/** Models from and to Hugging Face folders: `config.json` beside weights; those written are safetensors. And from files of llama2.c. */
import type { Place } from "../src/data/folder.ts";
import { isRecord, jsonText } from "../src/data/json.ts";
import { openWeights, readModelConfig } from "../src/data/weights/open.ts";
import type { Checkpoint, TensorToWrite } from "../src/data/weights/safetensors.ts";
import { type NewFile, textFile, weightFiles, writeNew, writeWeights } from "../src/data/weights/save.ts";
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

/** How a model is loaded. */
export interface LoadOptions extends ParameterOptions {
  /** Called as weights come in, with how many there are so far, and will be: over HTTP that takes its time. */
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Loads the language model at `place`, a folder's path, an address, or files by name; f16 and bf16 weights become f32.
 * @throws FormatError when files are missing or corrupt, when tensors are missing, unexpected or of another
 *   shape, or when it is a classifier; ConfigError for a path in a browser
 */
export async function loadModel(device: Device, place: Place, options: LoadOptions): Promise<LanguageModel> {
  const config = await readConfig(place);
  if (config.kind === "scalar") {
    const got = String(config.json["architectures"]);
    throw new FormatError(`${config.where}: expected a language model, got ${got}, which has no LM head`);
  }
  const plan = blueprint(config.json, "lm", config.where);
  return languageModel(plan, await load(device, await openWeights(place), config, plan, options));
}

/**
 * Loads the classifier at `place`, or the trunk of a language model under a new head from `options.seed`.
 * @throws FormatError as {@link loadModel}
 */
export async function loadScalarModel(
  device: Device,
  place: Place,
  options: LoadOptions,
): Promise<ScalarModel> {
  const config = await readConfig(place);
  const checkpoint = await openWeights(place);
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
  options: SaveOptions = {},
): Promise<void> {
  await writeWeights(folder, tensorsOf(model, options), options.maxShardBytes ?? MAX_SHARD);
  await writeNew(folder, configFile(model, options));
}

/**
 * The files that {@link saveModel} writes, by name: for a page to offer, and for {@link loadModel} to take. Together they are as large
 * as the weights; a browser keeps large ones on disk.
 * @throws FormatError for a value beyond the range of its 16 bits
 */
export async function modelFiles(
  model: Trunk | ScalarModel,
  options: SaveOptions = {},
): Promise<Record<string, Blob>> {
  const weights = weightFiles("model", tensorsOf(model, options), options.maxShardBytes ?? MAX_SHARD);
  const files: Record<string, Blob> = {};
  for (const { name, pieces } of [configFile(model, options), ...weights]) {
    const parts: Blob[] = [];
    for await (const piece of pieces()) parts.push(new Blob([piece as Uint8Array<ArrayBuffer>]));
    files[name] = new Blob(parts);
  }
  return files;
}

const MAX_SHARD = 5e9;

const tensorsOf = (model: Trunk | ScalarModel, { dtype = "F32" }: SaveOptions): TensorToWrite[] =>
  model.specs.map((spec) => {
    const { name, shape } = spec;
    return { name, dtype, shape, data: () => mergedPieces(model.parameters, spec) };
  });

function configFile(model: Trunk | ScalarModel, { dtype = "F32", padId }: SaveOptions): NewFile {
  const json = model.toHf();
  const pad =
    "headSpecs" in model && padId !== undefined ? { pad_token_id: json["pad_token_id"] ?? padId } : {};
  // Newer configs say `dtype`, older readers want `torch_dtype`.
  const config = { ...json, ...pad, torch_dtype: TORCH_NAMES[dtype], dtype: TORCH_NAMES[dtype] };
  return textFile("config.json", jsonText(config, FLOATS));
}

async function readConfig(place: Place): Promise<Config> {
  const { where, json } = await readModelConfig(place);
  if (!isRecord(json)) throw new FormatError(`${where}: expected a JSON object`);
  return { json, where, kind: modelKind(json, where) };
}

async function load(
  device: Device,
  checkpoint: Checkpoint,
  { kind }: Config,
  { specs, architecture, kind: wanted }: Blueprint,
  { trainable, seed = 0, halves, onProgress }: LoadOptions,
): Promise<Parameters> {
  const parameters = createParameters(device, specs, { trainable, halves });
  const needsHead = wanted === "lm" && architecture.lmHeadSpec !== undefined;
  const isNew = (name: string): boolean =>
    wanted !== kind && !architecture.specs.some((spec) => spec.name === name);
  // A tied LM head is often stored as well, and a classifier needs none.
  const rename = (name: string): string | undefined =>
    !needsHead && LM_HEADS.has(name) ? undefined : architecture.rename(name);
  await parameters.writeFrom(checkpoint, { rename, optional: isNew, onProgress });
  const stored = new Set([...checkpoint.tensors.keys()].map(rename));
  for (const spec of specs.filter(({ name }) => isNew(name) && !stored.has(name))) {
    parameters.get(spec.name).write(initialValues(spec, seed));
  }
  return parameters;
}
