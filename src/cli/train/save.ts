/** What `vbon sft` and `vbon reward` leave behind: a Hugging Face folder with its model card. */
import { basename, join, resolve } from "node:path";
import { saveModel } from "../../../models/load.ts";
import { writeFileAtomic } from "../../data/files.ts";
import { jsonText } from "../../data/json.ts";
import type { Tokenizer } from "../../data/tokenizer/tokenizer.ts";
import type { Stop } from "../../generate/stop.ts";
import type { LanguageModel, Trunk } from "../../nn/lm.ts";
import { type Facts, renderModelCard } from "../../report/markdown.ts";
import { commandLine } from "../arguments/command-line.ts";
import { saveDtype } from "../flags/training.ts";
import { machineName } from "../machine.ts";
import { endIds } from "../open.ts";
import type { Schema } from "../verb.ts";
import { version } from "../version.ts";

/** How text is drawn from a model, unless its reader says otherwise. */
export interface Drawing {
  readonly eosIds: readonly number[];
  readonly temperature: number;
  readonly maxNewTokens?: number;
  readonly stop?: Stop;
}

/** Writes `generation_config.json`. Its end tokens are those that our own commands stop at. */
export async function saveGenerationConfig(
  folder: string,
  { bosId, padId }: Tokenizer,
  { eosIds, temperature, maxNewTokens, stop }: Drawing,
): Promise<void> {
  const json = {
    ...(bosId !== undefined && { bos_token_id: bosId }),
    ...(eosIds.length > 0 && { eos_token_id: eosIds }),
    ...(padId !== undefined && { pad_token_id: padId }),
    do_sample: true,
    temperature,
    top_k: 0,
    top_p: 1,
    ...(maxNewTokens !== undefined && { max_new_tokens: maxNewTokens }),
    ...(stop && { stop_strings: [stop.text] }),
  };
  await writeFileAtomic(join(folder, "generation_config.json"), jsonText(json, ["temperature", "top_p"]));
}

/** A model that was trained. */
export interface Trained<M extends Trunk> {
  readonly model: M;
  readonly tokenizer: Tokenizer;
  readonly verb: "sft" | "reward";
  readonly schema: Schema;
  readonly config: {
    readonly out: string;
    readonly model?: string | undefined;
    readonly dtype: "f32" | "f16" | "bf16";
    readonly seed: number;
  };
  /** What was measured, by its name. */
  readonly results: Readonly<Record<string, number | string | undefined>>;
}

/**
 * Writes weights, config, tokenizer, card and, of a language model, generation settings.
 * @returns the folder
 */
export async function saveTrained<M extends Trunk>(trained: Trained<M>): Promise<string> {
  const { model, tokenizer, config } = trained;
  const out = join(config.out, "model");
  await saveModel(out, model, { dtype: saveDtype(config.dtype), padId: tokenizer.padId });
  await tokenizer.save(out);
  if (isLanguageModel(model))
    await saveGenerationConfig(out, tokenizer, { eosIds: endIds(model, tokenizer), temperature: 1 });
  await writeFileAtomic(join(out, "README.md"), await card(trained));
  return out;
}

const isLanguageModel = (model: Trunk | LanguageModel): model is LanguageModel => "logprobs" in model;

async function card<M extends Trunk>(trained: Trained<M>): Promise<string> {
  const { model, verb, schema, config, results } = trained;
  const { family, nLayer, nEmbd, blockSize, vocabSize } = model.config;
  const from = config.model === undefined ? undefined : basename(resolve(config.model));
  const what = verb === "sft" ? "language model" : "reward model: its score says how good a text is";
  const settings: Facts = [
    ["family", family],
    ["parameters", String(model.parameters.count)],
    ["layers, width", `${nLayer}, ${nEmbd}`],
    ["context", String(blockSize)],
    ["vocabulary", String(vocabSize)],
    ["weights in", config.dtype],
    ["seed", String(config.seed)],
    ["measured on", machineName(model.parameters.device)],
    ["date", new Date().toISOString().slice(0, 10)],
    ["version", `vbon ${await version()}`],
  ];
  return renderModelCard({
    name: basename(resolve(config.out)),
    summary: `A ${what}, trained ${from === undefined ? "from scratch" : `from ${from}`}.`,
    license: "other",
    language: [],
    tags: ["vbon", verb],
    pipeline: verb === "sft" ? "text-generation" : "text-classification",
    results: Object.entries(results).flatMap(([name, value]) =>
      value === undefined
        ? []
        : [[name, typeof value === "number" ? String(Number(value.toFixed(4))) : value] as const],
    ),
    settings,
    attributions: [],
    commands: [{ what: "How it was made:", command: commandLine(verb, schema, config) }],
    limits: [
      `It knows what its data say, and nothing else${from === undefined ? "" : `; it inherits the limits and the licence of ${from}`}.`,
    ],
  });
}
