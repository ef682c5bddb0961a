/** Low-rank adapters from and to folders in PEFT's format: `adapter_config.json` beside `adapter_model.safetensors`. */
import { join, writeFileAtomic } from "../src/data/files.ts";
import { findFirst, type Folder, folderAt, type Place } from "../src/data/folder.ts";
import { isRecord } from "../src/data/json.ts";
import { jsonOf } from "../src/data/reader.ts";
import {
  type Checkpoint,
  readCheckpoint,
  type TensorToWrite,
  writeSafetensors,
} from "../src/data/weights/safetensors.ts";
import { readTorchCheckpoint } from "../src/data/weights/torch-checkpoint.ts";
import { FormatError } from "../src/errors.ts";
import type { ScalarModel, Trunk } from "../src/nn/lm.ts";
import {
  adapterNames,
  adapterSpecs,
  adapterTargets,
  type LoraSettings,
  mergeAdapters,
  moduleOf,
  namesOfPattern,
} from "../src/nn/lora.ts";
import { createParameters, type Parameters } from "../src/nn/parameters.ts";

/** What PEFT puts before the base model's names. */
const PREFIX = "base_model.model.";

/** Values of PEFT's settings that change what an adapter computes, and that we do not have. */
const REFUSED: readonly (readonly [key: string, fine: (value: unknown) => boolean, expected: string])[] = [
  ["use_dora", (v) => v !== true, "false"],
  ["lora_bias", (v) => v !== true, "false"],
  ["bias", (v) => v === undefined || v === "none", '"none"'],
  ["rank_pattern", isEmpty, "{}"],
  ["alpha_pattern", isEmpty, "{}"],
  ["trainable_token_indices", (v) => v === undefined || v === null, "null"],
];

function isEmpty(value: unknown): boolean {
  return value === undefined || value === null || (isRecord(value) && Object.keys(value).length === 0);
}

/**
 * Writes the adapters of `model`, and those of its own tensors that were trained whole, into `folder`, each file by rename.
 * @param baseName what the adapters stand on, as `base_model_name_or_path`
 */
export async function saveAdapter(
  folder: string,
  model: Trunk | ScalarModel,
  settings: LoraSettings,
  baseName: string,
): Promise<void> {
  const { parameters } = model;
  const head = "headSpecs" in model ? model.headSpecs : [];
  const whole = head.filter(({ name }) => parameters.names.includes(name));
  const targets = adapterTargets(model.specs, settings.pattern, whole);
  const specs = [...targets.flatMap((spec) => adapterSpecs(spec, settings.rank)), ...whole];
  const tensors = specs.map(({ name, shape }): TensorToWrite => {
    return { name: PREFIX + name, dtype: "F32", shape, data: () => parameters.get(name).pieces() };
  });
  await writeSafetensors(join(folder, "adapter_model.safetensors"), tensors, { format: "pt" });
  const modules = namesOfPattern(settings.pattern);
  // Whole names where PEFT could take one for the end of a module that is trained whole.
  const all = adapterTargets(model.specs, settings.pattern);
  const named = modules !== undefined && settings.pattern !== "all-linear" && all.length === targets.length;
  const config = {
    peft_type: "LORA",
    task_type: "headSpecs" in model ? "SEQ_CLS" : "CAUSAL_LM",
    base_model_name_or_path: baseName,
    r: settings.rank,
    lora_alpha: settings.alpha,
    lora_dropout: 0,
    target_modules: named ? modules : targets.map(moduleOf),
    modules_to_save: whole.length > 0 ? [...new Set(whole.map(({ name }) => moduleName(name)))] : null,
    fan_in_fan_out: targets.some(({ layout }) => layout === "in_out"),
    bias: "none",
    inference_mode: true,
  };
  await writeFileAtomic(join(folder, "adapter_config.json"), `${JSON.stringify(config, null, 2)}\n`);
}

/**
 * PEFT itself saves a classifier's modules `classifier` and `score` whole, so RoBERTa's two layers below `classifier` go under that
 * name: a layer inside a module that is saved whole would be looked for twice.
 */
const moduleName = (name: string): string =>
  /^classifier\b/.exec(name)?.[0] ?? name.replace(/\.(weight|bias)$/, "");

/**
 * The frozen adapters at `place` on the weights of `model`: `model.with(…)` computes with both.
 * @throws FormatError when files are missing or corrupt, when the adapters are of another kind than LoRA, or do not fit `model`
 */
export async function loadAdapter(model: Trunk, place: Place): Promise<Parameters> {
  const folder = await folderAt(place);
  const scale = await readScale(folder);
  const checkpoint = await openAdapterFile(folder);
  const rename = (name: string): string => (name.startsWith(PREFIX) ? name.slice(PREFIX.length) : name);
  const ranks = new Map(
    [...checkpoint.tensors].map(([name, { shape }]) => [rename(name), shape[0] ?? 0] as const),
  );
  const specs = model.specs.flatMap((spec) => {
    const rank = ranks.get(adapterNames(moduleOf(spec)).a);
    if (rank !== undefined && spec.layout !== undefined) return adapterSpecs(spec, rank);
    return ranks.has(spec.name) ? [spec] : [];
  });
  if (specs.length === 0) {
    const [first = "none"] = checkpoint.tensors.keys();
    throw new FormatError(
      `${checkpoint.path}: expected adapters of ${model.config.family}, such as ${PREFIX}${moduleOf(model.specs.find((s) => s.layout)!)}.lora_A.weight, got ${first}; are they of the same model?`,
    );
  }
  const { parameters } = model;
  const adapter = createParameters(parameters.device, specs, {
    trainable: false,
    base: { parameters, scale },
  });
  await adapter.writeFrom(checkpoint, { rename, fits: "the base model" }).catch((error: unknown) => {
    adapter.dispose();
    throw error;
  });
  return adapter;
}

/** Merges the adapters at `place` into the weights of `model`. @throws FormatError as {@link loadAdapter} */
export async function mergeAdapterFolder(model: Trunk, place: Place): Promise<void> {
  const adapter = await loadAdapter(model, place);
  await mergeAdapters(model.specs, adapter);
  adapter.dispose();
}

async function openAdapterFile(folder: Folder): Promise<Checkpoint> {
  const [safe, torch] = ["adapter_model.safetensors", "adapter_model.bin"] as const;
  const file = (await findFirst(folder, [safe, torch])) ?? (await folder.open(safe));
  return file.name === torch ? readTorchCheckpoint(folder, file) : readCheckpoint(file.path, folder, file);
}

/** alpha / r, or alpha / √r where the adapter was trained so (Kalajdzievski 2023). */
async function readScale(folder: Folder): Promise<number> {
  const where = folder.at("adapter_config.json");
  const json = await jsonOf(await folder.open("adapter_config.json"));
  if (!isRecord(json) || json["peft_type"] !== "LORA") {
    const got = isRecord(json) ? JSON.stringify(json["peft_type"]) : typeof json;
    throw new FormatError(`${where}: expected an adapter of peft_type "LORA", got ${got ?? "none"}`);
  }
  for (const [key, fine, expected] of REFUSED) {
    if (!fine(json[key]))
      throw new FormatError(
        `${where}: ${key} is ${JSON.stringify(json[key])}; only ${expected} is supported. Merge the adapter with PEFT first (merge_and_unload)`,
      );
  }
  const [rank, alpha] = [json["r"], json["lora_alpha"]];
  if (!Number.isInteger(rank) || (rank as number) < 1 || typeof alpha !== "number")
    throw new FormatError(
      `${where}: r is ${String(rank)}, lora_alpha ${String(alpha)}; expected a whole number from 1, and a number`,
    );
  return alpha / (json["use_rslora"] === true ? Math.sqrt(rank as number) : (rank as number));
}
