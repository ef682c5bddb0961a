/** `vbon generate`: text from a model. */
import { z } from "zod";
import { bestOf, type Cost, costText } from "../../align/best-of-n/inference.ts";
import { speculativeBestOf } from "../../align/best-of-n/speculative.ts";
import { type Prompt, responseText, streamOf } from "../../align/cache/build.ts";
import { promptOfText, readPrompts } from "../../align/cache/prompts.ts";
import type { Tokenizer } from "../../data/tokenizer/tokenizer.ts";
import { ConfigError } from "../../errors.ts";
import { createEngine, type Engine, inOrder, type Request, type Sample } from "../../generate/engine.ts";
import { checkPrompts, roomFor } from "../cache/prompts.ts";
import { ON_DISK_OR_HUB, refuseSplit, splitField } from "../flags/hub.ts";
import { adapterField } from "../flags/lora.ts";
import { chatFields, promptFields, promptReading, talking } from "../flags/prompts.ts";
import { drawing, kvDtypeField, samplingFields, stopField } from "../flags/sampling.ts";
import { endIds, openLanguageModel, openReward, REWARD_HELP, tokenizerField } from "../open.ts";
import { streamOne } from "../stream.ts";
import { type AnyVerb, defineVerb, type Io } from "../verb.ts";

const MAX_NEW_TOKENS = 256;

const schema = z.strictObject({
  model: z.string().meta({ description: "the model's folder, or a .bin file of llama2.c", hint: "DIR" }),
  tokenizer: tokenizerField,
  adapter: adapterField,
  prompt: z
    .string()
    .optional()
    .meta({ description: "text to continue; without one, a text from its beginning (BOS)" }),
  prompts: z
    .string()
    .optional()
    .meta({
      description: `many prompts: records (.jsonl, .csv, .tsv, .parquet) of {prompt}, {text}, {messages} or {ids}, or the lines of a .txt; ${ON_DISK_OR_HUB}`,
      hint: "FILE",
    }),
  split: splitField,
  ...promptFields,
  samples: z
    .number()
    .int()
    .positive()
    .default(1)
    .meta({ description: "responses to each prompt; they share its prefill" }),
  maxNewTokens: z
    .number()
    .int()
    .positive()
    .optional()
    .meta({
      description: `most tokens of a response (default ${MAX_NEW_TOKENS}, or what the context leaves)`,
    }),
  ...chatFields,
  greedy: z
    .boolean()
    .default(false)
    .meta({ description: "always the likeliest token; nothing is drawn at random", heading: "Sampling" }),
  ...samplingFields,
  seed: z
    .number()
    .int()
    .min(0)
    .default(0)
    .meta({ description: "same seed, same text, whatever else is in the batch" }),
  stop: stopField,
  ignoreEos: z.boolean().default(false).meta({ description: "do not stop at an end token" }),
  batch: z.number().int().positive().default(64).meta({ description: "responses decoded side by side" }),
  kvDtype: kvDtypeField,
  bestOf: z.number().int().min(2).optional().meta({
    description: "draw so many for each response and keep the one with the best reward",
    hint: "N",
    heading: "Best-of-N",
  }),
  reward: z.string().optional().meta({ description: REWARD_HELP, hint: "SPEC" }),
  rejectAt: z
    .string()
    .regex(/^\d+(,\d+)*$/, "expected numbers of tokens, rising, separated by commas")
    .optional()
    .meta({
      description: "speculative rejection: score unfinished responses at these numbers of tokens",
      hint: "T[,T]",
    }),
  reject: z
    .number()
    .gt(0)
    .lt(1)
    .default(0.5)
    .meta({ description: "and give up this share of those that are left, the worst" }),
});

type Config = z.output<typeof schema>;

/** One response to be drawn, and where it belongs. */
interface Task extends Request {
  readonly prompt: Prompt;
  /** Counted from 1. */
  readonly numbers: { readonly prompt: number; readonly sample: number };
}

/** Text on stdout: one response as it is drawn, several one after the other, each with its log-probability under `--json`. */
export const generate: AnyVerb = defineVerb({
  name: "generate",
  summary: "draw text from a model",
  schema,
  examples: [
    {
      does: "one story, as it is written",
      line: 'vbon generate --model runs/stories/model --prompt "Once upon a time"',
    },
    {
      does: "an answer of a model that was trained on conversations",
      line: 'vbon generate --model Qwen/Qwen2.5-0.5B-Instruct --chat --prompt "Why is the sky blue?"',
    },
    {
      does: "one line of text",
      line: 'vbon generate --model runs/stories/model --prompt "Once upon a time" --stop "\\n"',
    },
    {
      does: "four responses to each prompt, as JSON lines",
      line: "vbon generate --model runs/stories/model --prompts prompts.jsonl --samples 4 --json",
    },
    {
      does: "the best of 16 by a reward",
      line: 'vbon generate --model runs/stories/model --prompt "One day" --best-of 16 --reward lexicon:vader',
    },
    {
      does: "the same, giving up the worse half of them after 8 tokens, and after 16",
      line: 'vbon generate --model runs/stories/model --prompt "One day" --best-of 16 --reward lexicon:vader --reject-at 8,16',
    },
  ],
  async run(config, io) {
    checkBestOf(config);
    refuseSplit("vbon generate", config);
    const device = await io.device();
    const { model, tokenizer } = await openLanguageModel(
      device,
      config.model,
      undefined,
      config.adapter,
      config.tokenizer,
    );
    const prompts = await promptsOf(config, tokenizer);
    const who = config.prompts ?? "--prompt";
    checkPrompts(who, prompts, model.config);
    const maxNewTokens = roomFor(who, prompts, model.config, config.maxNewTokens, MAX_NEW_TOKENS);
    checkRejection(config, maxNewTokens);
    const tasks = tasksOf(prompts, config.samples * (config.bestOf ?? 1));
    const rows = Math.min(config.batch, tasks.length);
    const longest = Math.max(...prompts.map((p) => p.ids.length));
    const eosIds = config.ignoreEos ? [] : endIds(model, tokenizer);
    const engine = await createEngine(model, rows, longest, {
      maxNewTokens,
      eosIds,
      ...drawing(config, tokenizer),
    });
    if (config.bestOf !== undefined) await writeBest(tasks, engine, tokenizer, config, io);
    else if (tasks.length === 1) await writeOne(tasks[0]!, engine, tokenizer, config, io);
    else await writeMany(tasks, engine, tokenizer, config, io);
  },
});

async function promptsOf(config: Config, given: Tokenizer): Promise<Prompt[]> {
  const { prompt, prompts } = config;
  const { tokenizer, conversing } = await talking(given, config);
  const reading = promptReading(config, conversing);
  if (prompts === undefined && config.chat && prompt === undefined)
    throw new ConfigError("vbon generate: --chat answers somebody; expected --prompt TEXT or --prompts FILE");
  if (prompts === undefined) return [promptOfText(prompt ?? "", tokenizer, conversing)];
  if (prompt !== undefined)
    throw new ConfigError("vbon generate: --prompt and --prompts are both given; expected one of them");
  return readPrompts(prompts, tokenizer, reading);
}

/** More responses than anybody waits for; each is listed before the first is drawn. */
const MOST_TASKS = 5e6;

/**
 * A prompt that is there twice gets other responses the second time.
 * @throws ConfigError for more of them than can be listed
 */
function tasksOf(prompts: readonly Prompt[], samples: number): Task[] {
  if (prompts.length * samples > MOST_TASKS)
    throw new ConfigError(
      `vbon generate: ${samples} responses to each of ${prompts.length} prompts are ${samples * prompts.length}; expected at most ${MOST_TASKS} in all, ask for fewer at a time`,
    );
  const drawn = new Map<string, number>();
  return prompts.flatMap((prompt, p) => {
    const key = prompt.ids.join(",");
    const first = drawn.get(key) ?? 0;
    drawn.set(key, first + samples);
    return Array.from({ length: samples }, (_, m) => ({
      prompt,
      ids: prompt.ids,
      stream: streamOf(prompt.ids, first + m),
      numbers: { prompt: p + 1, sample: m + 1 },
    }));
  });
}

/** @throws ConfigError where one of --best-of and --reward lacks the other, or nothing is drawn at random */
function checkBestOf({ bestOf: n, reward, rejectAt, greedy }: Config): void {
  const points = rejectionPoints(rejectAt);
  if (points.some((point, i) => point < 1 || point <= (points[i - 1] ?? 0)))
    throw new ConfigError(`vbon generate: --reject-at ${rejectAt}: expected rising numbers of tokens from 1`);
  if (n === undefined && points.length > 0)
    throw new ConfigError(
      "vbon generate: --reject-at gives up responses of Best-of-N; expected --best-of N and --reward SPEC beside it",
    );
  if ((n === undefined) !== (reward === undefined))
    throw new ConfigError(
      `vbon generate: ${n === undefined ? "--reward" : "--best-of"} is given alone; expected both --best-of N and --reward SPEC`,
    );
  if (n !== undefined && greedy)
    throw new ConfigError(
      "vbon generate: --greedy draws the same response every time; leave it or --best-of out",
    );
}

/** @throws ConfigError for a point that no response comes to unfinished */
function checkRejection({ rejectAt }: Config, maxNewTokens: number): void {
  const last = rejectionPoints(rejectAt).at(-1) ?? 0;
  if (last >= maxNewTokens)
    throw new ConfigError(
      `vbon generate: --reject-at ${rejectAt}: a response has at most ${maxNewTokens} tokens; expected points below that, at which some are unfinished`,
    );
}

const rejectionPoints = (list: string | undefined): number[] =>
  (list ?? "").split(",").filter(Boolean).map(Number);

/** Each winner as it is known; what it cost, on stderr. */
async function writeBest(
  tasks: readonly Task[],
  engine: Engine,
  tokenizer: Tokenizer,
  { bestOf: n = 1, reward: spec = "", rejectAt, reject: rejected, seed }: Config,
  io: Io,
): Promise<void> {
  const reward = await openReward(await io.device(), spec);
  const cost: Cost = { drawn: 0, tokens: 0, scored: 0, kept: 0, reward: 0, seconds: 0 };
  const points = rejectionPoints(rejectAt);
  const groups = tasks.length / n;
  const progress = io.progress({ label: `best of ${n}`, total: tasks.length, unit: "samples" });
  let done = 0;
  const onProgress = (samples: number): void => progress.update((done += samples));
  const options = { n, engine, reward, tokenizer, seed, cost, onProgress, signal: io.signal };
  const winners =
    points.length === 0
      ? bestOf(tasks, options)
      : speculativeBestOf(tasks, { ...options, points, share: rejected });
  for await (const best of winners) {
    const { prompt, sample } = best.task.numbers;
    const task = { ...best.task, numbers: { prompt, sample: Math.ceil(sample / n) } };
    const { score, scores } = best;
    const text =
      groups === 1
        ? responseText(tokenizer, task.prompt, best.sample.ids)
        : blockOf(task, best.sample, tokenizer);
    io.result({ ...recordOf(task, best.sample, tokenizer), score, scores }, text);
    if (io.signal.aborted) break;
  }
  progress.stop();
  io.note(`generate: ${costText(cost)}`);
}

/** The text alone, piece by piece, so that a pipe gets nothing else. */
async function writeOne(
  task: Task,
  engine: Engine,
  tokenizer: Tokenizer,
  { seed }: Config,
  io: Io,
): Promise<void> {
  const { sample, rest } = (await streamOne(engine, task, tokenizer, { seed }, io))!;
  io.result(recordOf(task, sample, tokenizer), rest);
}

async function writeMany(
  tasks: readonly Task[],
  engine: Engine,
  tokenizer: Tokenizer,
  { seed }: Config,
  io: Io,
): Promise<void> {
  const progress = io.progress({ label: "generate", total: tasks.length, unit: "samples" });
  for await (const { index, sample } of inOrder(engine.responses(tasks, { seed }))) {
    const task = tasks[index]!;
    io.result(recordOf(task, sample, tokenizer), blockOf(task, sample, tokenizer));
    progress.update(index + 1);
    if (io.signal.aborted) break;
  }
  progress.stop();
}

function recordOf(
  { prompt }: Task,
  { ids, logprobs, finish }: Sample,
  tokenizer: Tokenizer,
): Record<string, unknown> {
  const logprob = logprobs.reduce((a, b) => a + b, 0);
  return { prompt: prompt.text, ids, text: responseText(tokenizer, prompt, ids), logprob, finish };
}

/** A response under a line that says whose it is. */
function blockOf({ prompt, numbers }: Task, { ids }: Sample, tokenizer: Tokenizer): string {
  const text = responseText(tokenizer, prompt, ids);
  return `--- prompt ${numbers.prompt}, sample ${numbers.sample}: ${JSON.stringify(prompt.text)}\n${text}\n`;
}
