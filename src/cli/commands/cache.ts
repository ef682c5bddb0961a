/** `vbon cache`: samples of the reference for each prompt, and their scores. */
import { z } from "zod";
import { buildCache, type Prompt } from "../../align/cache/build.ts";
import { type CacheHeader, cacheWarnings, promptIdOf, type RewardCache } from "../../align/cache/cache.ts";
import { openCacheWriter, readCache } from "../../align/cache/file.ts";
import { TLDR_TOKENS } from "../../align/cache/tldr.ts";
import type { Reward } from "../../align/rewards.ts";
import { ConfigError } from "../../errors.ts";
import { createEngine } from "../../generate/engine.ts";
import { readPromptSource } from "../cache/prompt-source.ts";
import { checkPrompts, roomFor } from "../cache/prompts.ts";
import { cacheSummary } from "../cache/summary.ts";
import { frozenFields, frozenOf } from "../flags/frozen.ts";
import { ON_DISK_OR_HUB } from "../flags/hub.ts";
import { adapterField } from "../flags/lora.ts";
import { chatFields, promptFields, promptReading, talking } from "../flags/prompts.ts";
import { drawing, kvDtypeField, samplingFields, stopField, stopOf } from "../flags/sampling.ts";
import { endIds, type Opened, openLanguageModel, openReward, REWARD_HELP, tokenizerField } from "../open.ts";
import { type AnyVerb, defineVerb, type Io } from "../verb.ts";

const count = z.number().int().positive();

/**
 * The paper's two tasks (section 5): where their prompts are unless a flag names a file, what they are, and how their responses
 * are drawn (alignment.md 1.11). The posts are those of Huang et al. 2024, from which all of TL;DR's datasets are made.
 */
const presets = {
  imdb: { documents: "hf://datasets/stanfordnlp/imdb", promptTokens: "2-8", maxNewTokens: 40 },
  tldr: {
    prompts: "hf://datasets/vwxyzjn/summarize_from_feedback_tldr_3_filtered",
    promptFormat: "tldr",
    promptMaxTokens: TLDR_TOKENS,
    maxNewTokens: 53,
    temperature: 0.7,
  },
} as const;

const schema = z.strictObject({
  policy: z.string().optional().meta({
    description: "the reference's folder: the policy before alignment (--model means the same)",
    hint: "DIR",
  }),
  model: z.string().optional().meta({ description: "the same as --policy", hint: "DIR" }),
  tokenizer: tokenizerField,
  adapter: adapterField,
  reward: z.string().meta({ description: REWARD_HELP, hint: "SPEC" }),
  out: z.string().meta({
    description: "the cache; where it exists with the same settings, it is continued",
    hint: "FILE.jsonl",
  }),
  prompts: z
    .string()
    .optional()
    .meta({
      description: `records (.jsonl, .csv, .tsv, .parquet) of {prompt}, {text}, {messages} or {ids}, or the lines of a .txt; ${ON_DISK_OR_HUB}`,
      hint: "FILE",
      heading: "Prompts",
    }),
  preset: z.enum(["imdb", "tldr"]).optional().meta({
    description:
      "the paper's prompts, where no flag says otherwise: the first 2 to 8 tokens of --documents (imdb), or --prompts in the template of TL;DR (tldr); both from the hub where no file is given",
  }),
  ...promptFields,
  split: z.string().optional().meta({
    description:
      'of a dataset on the hub, where its files are not named: those of this split (default train); of a file of --prompts, only the lines with this "split"',
    hint: "train|test",
  }),
  documents: z
    .string()
    .optional()
    .meta({
      description: `cut prompts from the beginnings of documents (.txt: separated by <|endoftext|>; the texts of records; else one a line), in an order drawn from --seed; ${ON_DISK_OR_HUB}`,
      hint: "FILE",
    }),
  textField: z
    .string()
    .default("text")
    .meta({ description: "the field or column of --documents that holds the text", hint: "NAME" }),
  promptTokens: z
    .string()
    .regex(/^\d+(-\d+)?$/, "expected a number or a range such as 2-8")
    .default("8")
    .meta({
      description:
        "tokens of a prompt cut from a document, BOS not counted: a number, or a range to draw from",
      hint: "N|A-B",
    }),
  count: count.optional().meta({ description: "use this many prompts (default all)" }),
  skip: z
    .number()
    .int()
    .min(0)
    .default(0)
    .meta({ description: "leave out this many first: train and test prompts from one file" }),
  ...chatFields,
  samples: count
    .default(64)
    .meta({ description: "samples to each prompt, M", hint: "M", heading: "Sampling" }),
  maxNewTokens: count.default(48).meta({ description: "most tokens of a response" }),
  ...samplingFields,
  stop: stopField,
  seed: z.number().int().min(0).default(0).meta({ description: "of samples, and of the choice of prompts" }),
  rows: count.default(512).meta({ description: "responses decoded side by side" }),
  kvDtype: kvDtypeField,
  ...frozenFields,
  n: z
    .number()
    .min(1)
    .optional()
    .meta({ description: "the N that the cache is for: warns where it is too small" }),
});

type Config = z.output<typeof schema>;

/** A cache file, and on stdout what it cost and holds. */
export const cache: AnyVerb = defineVerb({
  name: "cache",
  summary: "sample the reference and score its responses: what vBoN and Best-of-N learn from",
  schema,
  presets,
  oneOf: ["prompts", "documents"],
  examples: [
    {
      does: "200 prompts of 8 tokens, 64 samples each",
      line: "vbon cache --policy runs/stories/model --reward lexicon:vader --documents stories.txt --count 200 --out train.jsonl",
    },
    {
      does: "100 others to test on",
      line: "vbon cache --policy runs/stories/model --reward lexicon:vader --documents stories.txt --skip 200 --count 100 --out test.jsonl",
    },
    {
      does: "posts of Reddit as the paper asks for summaries, from other forums than it trains on",
      line: "vbon cache --preset tldr --distribution out --policy DIR --reward DIR --prompts posts.jsonl --out out.jsonl",
    },
    {
      does: "512 prompts of the paper's to test on: beginnings of reviews, fetched from the hub",
      line: "vbon cache --preset imdb --split test --count 512 --policy DIR --reward DIR --out test.jsonl",
    },
  ],
  async run(config, io) {
    const device = await io.device();
    const frozen = frozenOf(config, device);
    const opened = await openLanguageModel(
      device,
      folderOf(config),
      frozen,
      config.adapter,
      config.tokenizer,
    );
    const reward = await openReward(device, config.reward, frozen);
    const { tokenizer, conversing } = await talking(opened.tokenizer, config);
    const source = { ...config, reading: promptReading(config, conversing) };
    const { prompts, path, repeated } = await readPromptSource(source, tokenizer);
    if (repeated > 0) io.note(`${path}: ${repeated} prompts are there more than once; each is used once`);
    checkPrompts(path, prompts, opened.model.config);
    roomFor(path, prompts, opened.model.config, config.maxNewTokens, 1);
    const cost = await build(prompts, opened, reward, config, io);
    opened.dispose();
    const built = await readCache(config.out);
    report(built, prompts, cost, config, io);
  },
});

function folderOf({ policy, model }: Config): string {
  const [folder, other] = [policy, model].filter((f) => f !== undefined);
  if (folder !== undefined && other === undefined) return folder;
  throw new ConfigError(
    `vbon cache: expected --policy DIR (or --model DIR, the same), got ${other ? "both" : "neither"}`,
  );
}

/** Prompts done in this session, and the seconds they took. */
interface Cost {
  readonly prompts: number;
  readonly seconds: number;
  /** Of them, in the reward. */
  readonly scoring: number;
}

async function build(
  prompts: readonly Prompt[],
  opened: Opened,
  reward: Reward,
  config: Config,
  io: Io,
): Promise<Cost> {
  const { samples, seed, out, maxNewTokens } = config;
  const { model, tokenizer } = opened;
  const writer = await openCacheWriter(out, await headerOf(opened, reward, config), { resume: true });
  try {
    const todo = prompts.filter((p) => !writer.has(promptIdOf(p.ids)));
    if (todo.length < prompts.length)
      io.note(`${out}: ${prompts.length - todo.length} of ${prompts.length} prompts are there already`);
    if (todo.length === 0) return { prompts: 0, seconds: 0, scoring: 0 };
    const rows = Math.min(config.rows, todo.length * samples);
    const longest = Math.max(...todo.map((p) => p.ids.length));
    const eosIds = endIds(model, tokenizer);
    const engine = await createEngine(model, rows, longest, {
      maxNewTokens,
      eosIds,
      ...drawing(config, tokenizer),
    });
    const timed = timing(reward);
    const progress = io.progress({ label: "cache", total: todo.length * samples, unit: "samples" });
    const start = performance.now();
    let done = 0;
    const onProgress = (more: number): void => progress.update((done += more) * samples);
    await buildCache(todo, writer, {
      engine,
      reward: timed.reward,
      tokenizer,
      seed,
      samples,
      onProgress,
      signal: io.signal,
    });
    progress.stop();
    engine.dispose();
    if (done < todo.length)
      io.note(`stopped after ${done} of ${todo.length} prompts; the same command continues`);
    return { prompts: done, seconds: (performance.now() - start) / 1000, scoring: timed.seconds() };
  } finally {
    await writer.close();
  }
}

async function headerOf(
  { name, model, tokenizer }: Opened,
  reward: Reward,
  config: Config,
): Promise<CacheHeader> {
  const { temperature, topK, topP, maxNewTokens, seed, samples } = config;
  const modelHash = await model.parameters.hash();
  const made = { format: "vbon-cache", version: 1, created: new Date().toISOString() } as const;
  return {
    ...made,
    model: name,
    modelHash,
    reward: reward.name,
    temperature,
    topK,
    topP,
    maxNewTokens,
    stop: stopOf(config.stop, tokenizer).stop?.text ?? "",
    seed,
    m: samples,
    dtype: config.kvDtype,
  };
}

/** The same reward, and the time spent in it. */
function timing(reward: Reward): { reward: Reward; seconds(): number } {
  let spent = 0;
  const score: Reward["score"] = async (inputs) => {
    const start = performance.now();
    const scores = await reward.score(inputs);
    spent += performance.now() - start;
    return scores;
  };
  return { reward: { name: reward.name, score }, seconds: () => spent / 1000 };
}

function report(
  built: RewardCache,
  prompts: readonly Prompt[],
  cost: Cost,
  { samples, out, n }: Config,
  io: Io,
): void {
  const held = prompts.filter((p) => built.entries.has(promptIdOf(p.ids))).length;
  const summary = cacheSummary(built);
  const drawn = cost.prompts * samples;
  const speed =
    drawn > 0
      ? {
          samplesPerSecond: drawn / cost.seconds,
          secondsPerSample: cost.seconds / drawn,
          scoringPerSample: cost.scoring / drawn,
        }
      : {};
  const warnings = cacheWarnings(built, n ?? 1);
  const lines = [`${out}: ${summary.text}`, ...(drawn > 0 ? [costLine(drawn, cost)] : [])];
  io.result(
    { out, done: held, asked: prompts.length, ...summary.record, ...speed, warnings },
    lines.join("\n"),
  );
  for (const warning of warnings) io.note(`warning: ${warning}`);
}

function costLine(drawn: number, { seconds, scoring }: Cost): string {
  const ms = (s: number): string => ((1000 * s) / drawn).toPrecision(3);
  return `${drawn} samples in ${seconds.toFixed(1)} s: ${(drawn / seconds).toPrecision(3)} samples/s, ${ms(seconds)} ms a sample (${ms(scoring)} of them in the reward)`;
}
