/** `vbon reward`: train a classifier whose score can serve as a reward. */
import { join } from "node:path";
import { z } from "zod";
import { saveAdapter } from "../../../models/adapter.ts";
import { loadScalarModel } from "../../../models/load.ts";
import { createScalarModel } from "../../../models/model.ts";
import { loadTokenizer, type Tokenizer } from "../../data/tokenizer/tokenizer.ts";
import { ConfigError } from "../../errors.ts";
import type { Device } from "../../gpu/device.ts";
import { lastLayers } from "../../nn/last-layers.ts";
import type { ScalarModel } from "../../nn/lm.ts";
import { adaptedParameters } from "../../nn/lora.ts";
import { type Best, type BestState, createBest } from "../../train/best.ts";
import type { Carried } from "../../train/checkpoint.ts";
import { openRunFolder, withRunFolder } from "../../train/run-folder.ts";
import type { Training } from "../../train/training.ts";
import { ON_DISK_OR_HUB, refuseSplit, splitField } from "../flags/hub.ts";
import { layerFields, layersOf, refuseLayersFromScratch } from "../flags/layers.ts";
import { loraFields, loraOf, refuseLoraFromScratch } from "../flags/lora.ts";
import {
  CHANGEABLE_ON_RESUME,
  computingOf,
  runFields,
  scratchConfig,
  scratchFields,
  trainingFields,
  trainingSettings,
} from "../flags/training.ts";
import { withTemplate } from "../flags/prompts.ts";
import { checkVocabulary } from "../open.ts";
import { type RewardData, type RewardSplit, readRewardData } from "../train/reward-data.ts";
import { checkPlan, keptSettings, planFields, planTraining } from "../train/plan.ts";
import { checkSameData, memoryNote, watchTraining } from "../train/run.ts";
import { saveTrained } from "../train/save.ts";
import { trainedTokenizer } from "../train/text-data.ts";
import { type AnyVerb, defineVerb, type Io, type Outcome } from "../verb.ts";

const DEFAULT_BLOCK = 64;
const share = z.number().gt(0).lt(1);

const schema = z.strictObject({
  data: z
    .string()
    .optional()
    .meta({
      description: `records (.jsonl, .csv, .tsv, .parquet) of {text, label} or {messages, label}, label 0 (bad) or 1 (good); as all of these: ${ON_DISK_OR_HUB}`,
      hint: "FILE",
      heading: "Data (--data, --positive with --negative, --pairs, or --west-of)",
    }),
  split: splitField,
  textField: z
    .string()
    .optional()
    .meta({ description: "the field or column of --data that holds the text (default text)", hint: "NAME" }),
  labelField: z
    .string()
    .optional()
    .meta({ description: "and the one that holds the label (default label)", hint: "NAME" }),
  positive: z.string().optional().meta({ description: "good texts, one a line", hint: "FILE" }),
  negative: z.string().optional().meta({ description: "bad texts, one a line", hint: "FILE" }),
  pairs: z.string().optional().meta({
    description:
      "preferences: records of {prompt, chosen, rejected}, texts or lists of messages; the prompt may be left out",
    hint: "FILE",
  }),
  chosenField: z.string().default("chosen").meta({ description: "of --pairs: where the better text is" }),
  rejectedField: z.string().default("rejected").meta({ description: "and the worse one" }),
  westOf: z.string().optional().meta({
    description: "a reward cache: of every n responses the best is preferred to the worst (West-of-N)",
    hint: "CACHE.jsonl",
  }),
  n: z.number().int().min(2).default(8).meta({ description: "of --west-of" }),
  westKeep: z.number().gt(0).max(1).default(1).meta({
    description: "of --west-of: share of the pairs to keep, those whose scores differ most",
  }),
  chatTemplate: z.string().optional().meta({
    description:
      "for conversations: one of the tokenizer's templates by its name, or a Jinja file; it is saved with the model",
    hint: "NAME|FILE",
  }),
  block: z
    .number()
    .int()
    .min(1)
    .optional()
    .meta({
      description: `most tokens of a text, longer ones lose their beginning (default ${DEFAULT_BLOCK}, or the model's context where that is shorter)`,
    }),
  testFraction: share
    .default(0.1)
    .meta({ description: "share of the texts held out for the accuracy at the end; nothing else sees them" }),
  validationFraction: share
    .default(0.05)
    .meta({ description: "share of the other texts whose loss chooses the step to keep" }),
  model: z.string().optional().meta({
    description: "model whose trunk to start from: a language model, or a classifier",
    hint: "DIR",
    heading: "A model to start from",
  }),
  ...scratchFields({ layers: 2, dim: 64, vocab: 4096 }),
  ...layerFields,
  ...loraFields,
  ...trainingFields({ lr: 1e-3, epochs: 6, batch: 32, weightDecay: 1 }),
  tokenDropout: z
    .number()
    .min(0)
    .lt(1)
    .default(0.5)
    .meta({ description: "share of a text's tokens left out at random while learning" }),
  patience: z
    .number()
    .int()
    .min(0)
    .default(0)
    .meta({ description: "evaluations without a new best after which training ends; 0 = never" }),
  ...planFields,
  ...runFields({ evalEvery: 50, saveEvery: 200 }),
});
type Config = z.output<typeof schema>;

/** The command. */
export const reward: AnyVerb = defineVerb({
  name: "reward",
  summary:
    "train a reward on labelled text, or on preferences: its score is the log-odds that a text is good, or better",
  schema,
  changeableOnResume: CHANGEABLE_ON_RESUME,
  examples: [
    {
      does: "from two files of sentences",
      line: "vbon reward --positive good.txt --negative bad.txt --out runs/sentiment",
    },
    {
      does: "from a language model's trunk",
      line: "vbon reward --model runs/reviews/model --data labelled.jsonl --out runs/sentiment",
    },
    {
      does: "from preferences: human summaries against a model's",
      line: "vbon reward --pairs posts.jsonl --chosen-field summary --rejected-field model_summary --out runs/rm",
    },
  ],
  run,
});

async function run(config: Config, io: Io): Promise<Outcome> {
  refuseSplit("reward", config);
  checkPlan(config);
  if (!config.plan) return withRunFolder(config.out, config.resume, () => prepareAndTrain(config, io));
  const source = await readRewardData(config);
  let known: Prepared | undefined;
  return planTraining("reward", config, io, async (paper, changed) => {
    known = await prepare(paper, changed, source, known);
    const { model, data, training, best } = known;
    await data.measure(model, changed.batch);
    return { parameters: model.parameters, carried: carriedWith(training, best), what: known.sizes };
  });
}

/** A run as far as its first step. */
interface Prepared {
  readonly model: ScalarModel;
  readonly tokenizer: Tokenizer;
  readonly data: RewardSplit;
  readonly steps: number;
  readonly training: Training;
  readonly best: Best;
  readonly sizes: string;
}

/** @param known the same run with other settings, whose tokenizer and data are taken over */
async function prepare(
  device: Device,
  config: Config,
  source: RewardData,
  known?: Prepared,
): Promise<Prepared> {
  const computing = computingOf(config, device);
  const { model: opened, tokenizer: given } = await openStart(device, config, source.texts, known?.tokenizer);
  const tokenizer = await withTemplate(given, config.chatTemplate);
  const model = opened.with(opened.parameters, computing);
  const reading = { ...config, reads: model.reads, block: blockOf(model, config) };
  const data = known?.data ?? source.split(tokenizer, reading);
  const settings = { ...trainingSettings(config, data.train), tokenDropout: config.tokenDropout };
  const training = await data.training(model, settings);
  const best = createBest(model.parameters, config.patience);
  const sizes = `${data.train} ${source.unit} to train on, ${data.validation} to choose the step, ${data.test} to test`;
  return { model, tokenizer, data, steps: settings.steps, training, best, sizes };
}

async function prepareAndTrain(config: Config, io: Io): Promise<void> {
  const source = await readRewardData(config);
  const { unit } = source;
  const device = await io.device();
  const { model, tokenizer, data, steps, training, best, sizes } = await prepare(device, config, source);
  io.note(memoryNote(device, model.parameters.count, `${sizes}; ${steps} steps`));
  try {
    const ended = await train(config, steps, { hash: data.hash, unit }, training, best, io);
    if (!ended) return io.note(`stopped; continue with: vbon reward --resume --out ${config.out}`);
    best.takeBack();
    await finish(config, { model, tokenizer, data, unit, best }, io);
  } finally {
    best.dispose();
    training.dispose();
  }
}

function carriedWith({ carried: { tensors, optimizers } }: Training, best: Best): Carried {
  return { tensors: new Map([...tensors, ...best.tensors]), optimizers };
}

/** Returns false when it was stopped before the end. */
async function train(
  config: Config,
  steps: number,
  { hash, unit }: { readonly hash: string; readonly unit: string },
  training: Training,
  best: Best,
  io: Io,
): Promise<boolean> {
  const carried = carriedWith(training, best);
  const folder = await openRunFolder(config.out, keptSettings(config), carried, config.resume);
  try {
    checkSameData(folder, hash);
    if (folder.restored) best.restore(folder.restored["best"] as BestState);
    const first = folder.restored?.step ?? 0;
    if (config.patience > 0 && best.state.worse >= config.patience) return true;
    const watch = watchTraining(io, {
      label: "reward",
      unit,
      folder,
      steps,
      first,
      state: () => ({ data: hash, best: best.state }),
    });
    const onEval = (step: number, results: Readonly<Record<string, number>>): Promise<boolean> =>
      Promise.resolve(best.consider(step, -results["evalLoss"]!)); // the loss is smoother than the accuracy
    const { end } = await training.run({ ...watch, onEval }, first);
    watch.stop();
    return end !== "stopped";
  } finally {
    await folder.close();
  }
}

/** A reward that is trained. */
interface Trained {
  readonly model: ScalarModel;
  readonly tokenizer: Tokenizer;
  readonly data: RewardSplit;
  readonly unit: RewardData["unit"];
  readonly best: Best;
}

async function finish(
  config: Config,
  { model, tokenizer, data, unit, best }: Trained,
  io: Io,
): Promise<void> {
  const lora = loraOf(config);
  if (lora) await saveAdapter(join(config.out, "adapter"), model, lora, config.model!);
  const { evalAccuracy: accuracy, evalLoss: loss } = await data.measure(model, config.batch);
  // The half-width of the normal 95 % interval of a proportion.
  const interval = 1.96 * Math.sqrt((accuracy * (1 - accuracy)) / data.test);
  const { bestStep: step, bestScore = NaN } = best.state;
  const results = {
    accuracy: `${accuracy.toFixed(4)} ± ${interval.toFixed(4)}`,
    loss,
    [`held-out ${unit}`]: data.test,
  };
  const out = await saveTrained({
    model,
    tokenizer,
    verb: "reward",
    schema,
    config,
    results: { ...results, steps: step },
  });
  io.result(
    { model: out, accuracy, interval, loss, [unit]: data.test, step, validationLoss: -bestScore },
    `${out}: accuracy ${accuracy.toFixed(4)} ± ${interval.toFixed(4)}, loss ${loss.toFixed(4)} on ${data.test} held-out ${unit} (weights of step ${step})`,
  );
}

async function openStart(
  device: Device,
  config: Config,
  texts: readonly string[],
  trained?: Tokenizer,
): Promise<{ model: ScalarModel; tokenizer: Tokenizer }> {
  const { model: folder, tokenizer: given, out, seed, vocab, resume, plan } = config;
  if (folder !== undefined) {
    if (given !== undefined)
      throw new ConfigError("reward: --tokenizer does not go with --model, which has its own; leave one out");
    const tokenizer = await loadTokenizer(folder);
    const [lora, layers] = [loraOf(config), layersOf("reward", config)];
    const model = await loadScalarModel(device, folder, { trainable: !lora && !layers, seed });
    checkVocabulary(folder, tokenizer, model.config);
    if (layers) return { model: model.with(await lastLayers(model, layers, config)), tokenizer };
    if (!lora) return { model, tokenizer };
    // The head has much to learn and few weights: it is trained whole.
    const adapted = adaptedParameters(model, lora, { seed, whole: model.headSpecs });
    return { model: model.with(adapted), tokenizer };
  }
  refuseLoraFromScratch("reward", config);
  refuseLayersFromScratch("reward", config);
  const tokenizer =
    given === undefined
      ? (trained ??
        (await trainedTokenizer(plan ? undefined : join(out, "tokenizer"), texts, {
          vocabSize: vocab,
          resume,
        })))
      : await loadTokenizer(given);
  const json = scratchConfig(config, config.block ?? DEFAULT_BLOCK, tokenizer);
  return { model: createScalarModel(device, json, { trainable: true, seed }), tokenizer };
}

/** Most tokens of a text. */
function blockOf({ config: { blockSize: most } }: ScalarModel, config: Config): number {
  const block = config.block ?? Math.min(DEFAULT_BLOCK, most);
  if (block <= most) return block;
  throw new ConfigError(
    `reward: --block ${block} exceeds the model's context of ${most}; expected at most that`,
  );
}
