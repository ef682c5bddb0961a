/** `vbon sft`: train a language model. */
import { join } from "node:path";
import { z } from "zod";
import { saveAdapter } from "../../../models/adapter.ts";
import { createModel } from "../../../models/model.ts";
import { loadTokenizer, type Tokenizer } from "../../data/tokenizer/tokenizer.ts";
import { ConfigError } from "../../errors.ts";
import type { Device } from "../../gpu/device.ts";
import { lastLayers } from "../../nn/last-layers.ts";
import { forSampling, type LanguageModel } from "../../nn/lm.ts";
import { adaptedParameters } from "../../nn/lora.ts";
import type { LmSource } from "../../train/examples.ts";
import { openRunFolder, type RunFolder, withRunFolder } from "../../train/run-folder.ts";
import { languageModelTraining, type LmData, type SftSettings } from "../../train/sft.ts";
import type { Training } from "../../train/training.ts";
import { ON_DISK_OR_HUB, refuseSplit, splitField } from "../flags/hub.ts";
import { layerFields, layersOf, refuseLayersFromScratch } from "../flags/layers.ts";
import { loraFields, loraOf, refuseLoraFromScratch } from "../flags/lora.ts";
import { chatFields, fieldFields, fieldsOf, type Talking, talking } from "../flags/prompts.ts";
import {
  CHANGEABLE_ON_RESUME,
  computingOf,
  runFields,
  scratchConfig,
  scratchFields,
  trainingFields,
  trainingSettings,
} from "../flags/training.ts";
import { type Opened, openLanguageModel } from "../open.ts";
import { checkPlan, keptSettings, planFields, planTraining } from "../train/plan.ts";
import { checkSameData, memoryNote, watchTraining } from "../train/run.ts";
import { createSampler, type Sampler } from "../train/samples.ts";
import { saveTrained } from "../train/save.ts";
import {
  encodeTextData,
  readTextData,
  type TextData,
  textsOf,
  trainedTokenizer,
} from "../train/text-data.ts";
import { type AnyVerb, defineVerb, type Io, type Outcome } from "../verb.ts";

const schema = z.strictObject({
  data: z.string().meta({
    description: `text (documents separated by <|endoftext|>), or records (.jsonl, .csv, .tsv, .parquet) of {text}, {prompt, response}, {messages} or {ids}; ${ON_DISK_OR_HUB}`,
    hint: "FILE",
    heading: "Data",
  }),
  split: splitField,
  ...fieldFields,
  block: z
    .number()
    .int()
    .min(2)
    .optional()
    .meta({ description: "tokens a sequence (default 256, or the model's context where that is shorter)" }),
  truncate: z
    .boolean()
    .default(false)
    .meta({ description: "cut responses that do not fit --block, instead of refusing them" }),
  evalData: z.string().optional().meta({
    description:
      "text to evaluate on, of the same kind as --data; of a dataset on the hub its test split, where no file is named",
    hint: "FILE",
  }),
  evalFraction: z
    .number()
    .min(0)
    .lt(1)
    .default(0.05)
    .meta({ description: "without --eval-data: share of the documents held out for evaluation; 0 = none" }),
  evalItems: z
    .number()
    .int()
    .min(1)
    .default(256)
    .meta({ description: "most held-out sequences an evaluation looks at" }),
  ...chatFields,
  model: z.string().optional().meta({
    description: "model to fine-tune (a Hugging Face folder)",
    hint: "DIR",
    heading: "A model to start from",
  }),
  ...scratchFields({ layers: 4, dim: 128, vocab: 2048 }),
  ...layerFields,
  ...loraFields,
  ...trainingFields({ lr: 1e-3, epochs: 1, batch: 16, weightDecay: 0.1 }),
  ...planFields,
  ...runFields({ evalEvery: 200, saveEvery: 200 }),
  sampleEvery: z
    .number()
    .int()
    .min(0)
    .default(200)
    .meta({ description: "steps between samples; 0 = only at the end" }),
  samplePrompt: z
    .string()
    .default("")
    .meta({ description: "what the samples continue (default: a new document)" }),
});
type Config = z.output<typeof schema>;

/** The command. */
export const sft: AnyVerb = defineVerb({
  name: "sft",
  summary: "train a language model, from scratch or from a checkpoint, on text or on prompts with responses",
  schema,
  changeableOnResume: CHANGEABLE_ON_RESUME,
  examples: [
    {
      does: "a small Llama from scratch, with a tokenizer of its own",
      line: "vbon sft --data stories.txt --layers 4 --dim 128 --out runs/stories",
    },
    {
      does: "fine-tune on responses (the loss counts only there)",
      line: "vbon sft --model runs/stories/model --data pairs.jsonl --lr 1e-4 --out runs/tuned",
    },
    {
      does: "fine-tune on conversations, records of {messages}",
      line: "vbon sft --model DIR --data chats.jsonl --chat-template chatml.jinja --out runs/chat",
    },
    {
      does: "a split of a dataset on the hub, at a revision; files may be named as well: …/plain_text/test-*.parquet",
      line: "vbon sft --data hf://datasets/stanfordnlp/imdb@main --split test --out runs/reviews",
    },
    {
      does: "does fine-tuning a model fit into 8 GiB?",
      line: "vbon sft --model DIR --data chats.jsonl --out runs/chat --plan --memory 8",
    },
    { does: "continue after a stop or a crash", line: "vbon sft --resume --out runs/stories" },
  ],
  run,
});

async function run(config: Config, io: Io): Promise<Outcome> {
  refuseSplit("sft", config);
  checkPlan(config);
  if (!config.plan) return withRunFolder(config.out, config.resume, () => train(config, io));
  const texts = await readTexts(config);
  let known: Prepared | undefined;
  return planTraining("sft", config, io, async (paper, changed) => {
    known = await prepare(paper, changed, texts, known);
    const { model, training, data } = known;
    return { parameters: model.parameters, carried: training.carried, what: sizeOf(data) };
  });
}

async function readTexts(config: Config): Promise<Texts> {
  const [names, { data, evalData }] = [fieldsOf(config), config];
  const text = await readTextData(data, names);
  return { text, heldOut: evalData === undefined ? undefined : await readTextData(evalData, names) };
}

/** A run as far as its first step. */
interface Prepared {
  readonly model: LanguageModel;
  readonly tokenizer: Tokenizer;
  readonly data: LmData;
  readonly settings: SftSettings;
  readonly training: Training;
  readonly sampler: Sampler;
}

const sizeOf = (data: LmData): string =>
  `${data.train.count} sequences of up to ${data.train.longest} tokens`;

/** @param known the same run with other settings, whose tokenizer and data are taken over */
async function prepare(device: Device, config: Config, texts: Texts, known?: Prepared): Promise<Prepared> {
  const computing = computingOf(config, device);
  const start = await openStart(device, config, texts.text, known?.tokenizer);
  const { tokenizer, conversing } = await talking(start.tokenizer, config);
  const model = start.model.with(start.model.parameters, computing);
  const data = known?.data ?? encode(texts, model, { tokenizer, conversing }, config);
  const { evalItems, samplePrompt: prompt, seed } = config;
  const settings: SftSettings = { ...trainingSettings(config, data.train.count), evalItems };
  const training = await languageModelTraining(model, data, settings);
  const sampler = await createSampler(forSampling(model), tokenizer, { prompt, rows: 3, seed });
  return { model, tokenizer, data, settings, training, sampler };
}

async function train(config: Config, io: Io): Promise<void> {
  const device = await io.device();
  const { model, tokenizer, data, settings, training, sampler } = await prepare(
    device,
    config,
    await readTexts(config),
  );
  io.note(memoryNote(device, model.parameters.count, `${sizeOf(data)}, ${settings.steps} steps`));
  const folder = await openRunFolder(config.out, keptSettings(config), training.carried, config.resume);
  try {
    checkSameData(folder, data.train.hash);
    const first = folder.restored?.step ?? 0;
    const events = watchTraining(io, {
      label: "sft",
      unit: "tokens",
      folder,
      steps: settings.steps,
      first,
      state: () => ({ data: data.train.hash }),
    });
    const end = await training.run(
      { ...events, sample: (step) => writeSamples(folder, sampler, step, io) },
      first,
    );
    events.stop();
    if (end.end === "stopped")
      return io.note(`stopped after step ${end.step}; continue with: vbon sft --resume --out ${config.out}`);
    await finish(config, model, tokenizer, events.results, end.step, io);
  } finally {
    await folder.close();
    sampler.dispose();
    training.dispose();
  }
}

/** The model to train and its tokenizer: loaded, or new. */
async function openStart(
  device: Device,
  config: Config,
  text: TextData,
  trained?: Tokenizer,
): Promise<{ model: LanguageModel; tokenizer: Tokenizer }> {
  if (config.model !== undefined) {
    if (config.tokenizer !== undefined)
      throw new ConfigError("sft: --tokenizer does not go with --model, which has its own; leave one out");
    return openForTraining(device, config.model, config);
  }
  refuseLoraFromScratch("sft", config);
  refuseLayersFromScratch("sft", config);
  const tokenizer =
    config.tokenizer === undefined
      ? (trained ??
        (await trainedTokenizer(config.plan ? undefined : join(config.out, "tokenizer"), textsOf(text), {
          vocabSize: config.vocab,
          resume: config.resume,
        })))
      : await loadTokenizer(config.tokenizer);
  const json = scratchConfig(config, config.block ?? DEFAULT_BLOCK, tokenizer);
  return { model: createModel(device, json, { trainable: true, seed: config.seed }), tokenizer };
}

/** All weights to train, the last layers, or adapters. */
async function openForTraining(device: Device, folder: string, config: Config): Promise<Opened> {
  const [lora, layers] = [loraOf(config), layersOf("sft", config)];
  const opened = await openLanguageModel(device, folder, { trainable: !lora && !layers });
  const { model } = opened;
  if (layers) return { ...opened, model: model.with(await lastLayers(model, layers, config)) };
  if (!lora) return opened;
  return { ...opened, model: model.with(adaptedParameters(model, lora, { seed: config.seed })) };
}

const DEFAULT_BLOCK = 256;

interface Texts {
  readonly text: TextData;
  /** Of a file of its own. */
  readonly heldOut: TextData | undefined;
}

function encode({ text, heldOut }: Texts, model: LanguageModel, talk: Talking, config: Config): LmData {
  const most = model.config.blockSize;
  const blockSize = config.block ?? Math.min(DEFAULT_BLOCK, most);
  if (blockSize > most)
    throw new ConfigError(
      `sft: --block ${blockSize} exceeds the model's context of ${most}; expected at most that`,
    );
  const { truncate, evalFraction, seed } = config;
  const how = { ...talk, blockSize, truncate, seed };
  if (!heldOut) return encodeTextData(text, { ...how, evalFraction });
  const whole = (one: TextData): LmSource => encodeTextData(one, { ...how, evalFraction: 0 }).train;
  return { train: whole(text), heldOut: whole(heldOut) };
}

async function writeSamples(folder: RunFolder, sampler: Sampler, step: number, io: Io): Promise<void> {
  const texts = await sampler.sample(step);
  for (const text of texts) await folder.samples.write({ step, text });
  io.note(`sample after step ${step}: ${JSON.stringify(texts[0])}`);
}

async function finish(
  config: Config,
  model: LanguageModel,
  tokenizer: Tokenizer,
  results: Readonly<Record<string, number>>,
  step: number,
  io: Io,
): Promise<void> {
  const out = await saveTrained({
    model,
    tokenizer,
    verb: "sft",
    schema,
    config,
    results: { steps: step, ...results },
  });
  const lora = loraOf(config);
  if (lora) await saveAdapter(join(config.out, "adapter"), model, lora, config.model!);
  const numbers = ["loss", "evalLoss"].flatMap((name) =>
    results[name] === undefined ? [] : [`${name} ${results[name].toFixed(4)}`],
  );
  io.result({ model: out, step, ...results }, `${out}: ${[`${step} steps`, ...numbers].join(", ")}`);
}
