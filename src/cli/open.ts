/** What several commands open: a language model with its tokenizer, and a reward by its SPEC. */
import { basename, dirname, join, resolve } from "node:path";
import { z } from "zod";
import { modelKind } from "../../models/index.ts";
import { mergeAdapterFolder } from "../../models/adapter.ts";
import { loadModel, loadScalarModel } from "../../models/load.ts";
import { modelReward, moduleReward, type Reward, vaderReward } from "../align/rewards.ts";
import { exists, kindOf, readJson, readText } from "../data/files.ts";
import { isRecord } from "../data/json.ts";
import { openLlama2c } from "../data/weights/llama2c.ts";
import { loadTokenizer, type Tokenizer } from "../data/tokenizer/tokenizer.ts";
import { ConfigError, FormatError } from "../errors.ts";
import type { Device } from "../gpu/device.ts";
import type { LanguageModel, ModelConfig } from "../nn/lm.ts";
import type { ParameterOptions } from "../nn/parameters.ts";
import { hashText, hexOf } from "../tensor/hash.ts";
import { inHalves, isShared, shared } from "./share.ts";

/** A model and the tokenizer of its folder. */
export interface Opened {
  /** The folder's own name, without the path to it. */
  readonly name: string;
  readonly model: LanguageModel;
  readonly tokenizer: Tokenizer;
  /** Frees the weights; nothing where other commands of the process share them. */
  dispose(): void;
}

/**
 * Loads the language model of `folder`, or of a file of llama2.c, and its tokenizer.
 * @param options default: frozen
 * @param adapter folder of an adapter that is merged into its weights
 * @param tokenizer where its tokenizer is, if not with it
 * @throws FormatError when files are missing or corrupt; ConfigError when model and tokenizer do not fit
 */
export async function openLanguageModel(
  device: Device,
  folder: string,
  options: ParameterOptions = { trainable: false },
  adapter?: string,
  tokenizer?: string,
): Promise<Opened> {
  if (options.trainable || adapter !== undefined || tokenizer !== undefined)
    return loadLanguageModel(device, folder, options, adapter, tokenizer);
  const key = sharedAs(folder, options);
  const { dispose, ...opened } = await shared(device, key, () => loadLanguageModel(device, folder, options));
  return { ...opened, dispose: () => isShared(device, key) || dispose() };
}

/** {@link loadModel}, and the adapter of another folder merged into its weights. */
export async function loadAdapted(
  device: Device,
  folder: string,
  options: ParameterOptions,
  adapter: string | undefined,
): Promise<LanguageModel> {
  const model = await loadModel(device, folder, options);
  if (adapter === undefined) return model;
  await needFolder(adapter, "an adapter's folder (adapter_config.json, adapter_model.safetensors)");
  await mergeAdapterFolder(model, adapter);
  return model;
}

async function loadLanguageModel(
  device: Device,
  folder: string,
  options: ParameterOptions,
  adapter?: string,
  tokenizerPath?: string,
): Promise<Opened> {
  await needModel(folder);
  const tokenizer = await loadTokenizer(tokenizerPath ?? (await tokenizerOf(folder)));
  const model = await loadAdapted(device, folder, options, adapter);
  checkVocabulary(folder, tokenizer, model.config);
  const name = adapter === undefined ? nameOf(folder) : `${nameOf(folder)}+${nameOf(adapter)}`;
  return { name, model, tokenizer, dispose: () => model.parameters.dispose() };
}

/**
 * The tokens that end a response: EOS as the model and the tokenizer have it, which differ where a model was trained on
 * conversations; what `generation_config.json` lists; and, where the tokenizer has one, BOS (a new text begins).
 */
export function endIds({ config }: LanguageModel, tokenizer: Tokenizer): number[] {
  const ids = [config.eosId, tokenizer.eosId, ...tokenizer.endIds, tokenizer.bosId];
  return [...new Set(ids.filter((id) => id !== undefined && id < config.vocabSize))] as number[];
}

/** `--tokenizer`, of commands that read a model. */
export const tokenizerField: z.ZodOptional<z.ZodString> = z.string().optional().meta({
  description: "its tokenizer, where that is not with it: a folder, or a tokenizer.bin of llama2.c",
  hint: "DIR|FILE",
});

/** What `--reward` takes, for help pages. */
export const REWARD_HELP: string =
  "a reward model's folder, its name on the Hugging Face hub (owner/name[@revision]), lexicon:vader, or a module (./reward.mjs) that exports a function of " +
  "[{prompt, response, promptIds, responseIds}], and messages where the prompt is a conversation, giving a number for each";

/**
 * Opens a reward by its SPEC: a folder, `lexicon:<name>`, or a module's path. Its name holds a hash of weights or
 * source, so that a cache made with another reward is found out.
 * @throws ConfigError for a SPEC that is none of these; FormatError when its files are unusable
 */
export function openReward(
  device: Device,
  spec: string,
  options: ParameterOptions = { trainable: false },
): Promise<Reward> {
  return shared(device, sharedAs(spec, options), () => loadReward(device, spec, options));
}

const sharedAs = (name: string, { halves }: ParameterOptions): string => (halves ? inHalves(name) : name);

async function loadReward(device: Device, spec: string, options: ParameterOptions): Promise<Reward> {
  if (spec.startsWith("lexicon:")) return lexicon(spec);
  const kind = await kindOf(spec);
  if (kind === "folder") return openRewardModel(device, spec, options);
  if (kind === "file") {
    const hash = hexOf(hashText(await readText(spec))).slice(0, 8);
    const { score } = await moduleReward(spec);
    return { name: `${nameOf(spec)}@${hash}`, score };
  }
  throw new ConfigError(
    `--reward ${spec}: no such folder or file; expected a reward model's folder, lexicon:vader, or a module's path`,
  );
}

async function lexicon(spec: string): Promise<Reward> {
  if (spec === "lexicon:vader") return vaderReward();
  throw new ConfigError(`--reward ${spec}: unknown lexicon; the only one is lexicon:vader`);
}

async function openRewardModel(device: Device, folder: string, options: ParameterOptions): Promise<Reward> {
  const where = join(folder, "config.json");
  const json = await readJson(where);
  if (!isRecord(json) || modelKind(json, where) !== "scalar") {
    throw new FormatError(
      `--reward ${folder}: expected a reward model (a …ForSequenceClassification), got a language model; ` +
        "train one with `vbon reward`",
    );
  }
  const tokenizer = await loadTokenizer(folder);
  const model = await loadScalarModel(device, folder, options);
  checkVocabulary(folder, tokenizer, model.config);
  if (model.labels > 2) {
    throw new FormatError(
      `--reward ${folder}: the classifier has ${model.labels} labels; expected one score, or two labels (bad, good)`,
    );
  }
  const hash = (await model.parameters.hash()).slice(0, 8);
  return modelReward(`${nameOf(folder)}@${hash}`, model, tokenizer);
}

/** A model may have more rows than its tokenizer has tokens (padding), never fewer. */
export function checkVocabulary(folder: string, tokenizer: Tokenizer, { vocabSize }: ModelConfig): void {
  if (tokenizer.vocabSize <= vocabSize) return;
  throw new ConfigError(
    `${folder}: the tokenizer has ${tokenizer.vocabSize} tokens, the model ${vocabSize}; expected a model at least as ` +
      "large. Do tokenizer.json and model.safetensors belong together?",
  );
}

const MODEL_FOLDER = "a model folder (config.json, model.safetensors, tokenizer.json)";

/**
 * A folder, or a file of llama2.c, which says itself what it is.
 * @throws FormatError for anything else; for a run's folder, which holds a model's
 */
async function needModel(path: string): Promise<void> {
  if ((await kindOf(path)) === "file") return void (await openLlama2c(path));
  await needFolder(path, MODEL_FOLDER);
  const inside = join(path, "model");
  if (!(await exists(join(path, "tokenizer.json"))) && (await exists(join(inside, "config.json"))))
    throw new FormatError(`${path}: is a run's folder; its model is ${inside}`);
}

/** Where a model's tokenizer is: in its folder, or beside its file. */
async function tokenizerOf(path: string): Promise<string> {
  if ((await kindOf(path)) !== "file") return path;
  const beside = ["tokenizer.bin", "tokenizer.json"].map((name) => join(dirname(path), name));
  if ((await kindOf(beside[0]!)) === "file") return beside[0]!;
  if ((await kindOf(beside[1]!)) === "file") return dirname(path);
  throw new FormatError(
    `${path}: expected its tokenizer.bin (or tokenizer.json) beside it, there is none; name it with --tokenizer`,
  );
}

async function needFolder(folder: string, what: string): Promise<void> {
  const kind = await kindOf(folder);
  if (kind === "folder") return;
  const got = kind === "file" ? "a file" : "nothing";
  throw new FormatError(`${folder}: expected ${what}, there is ${got}; check the path`);
}

/** The last part of a path; of a folder in the hub's cache, the model's name. */
function nameOf(path: string): string {
  const [, fromHub] = /models--.*?--([^/\\]+)[/\\]snapshots[/\\][0-9a-f]{40}$/.exec(resolve(path)) ?? [];
  return fromHub ?? basename(resolve(path));
}
