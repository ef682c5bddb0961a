/** `vbon score`: what a language model, and a reward, say of given texts. */
import { rename } from "node:fs/promises";
import { z } from "zod";
import { rewardInput } from "../../align/cache/build.ts";
import type { Reward, RewardInput } from "../../align/rewards.ts";
import { type Example, readExamples } from "../../data/datasets/dataset.ts";
import { openAppender, writeFileAtomic } from "../../data/files.ts";
import { exchange, type Message } from "../../data/tokenizer/chat.ts";
import type { Tokenizer } from "../../data/tokenizer/tokenizer.ts";
import { ConfigError } from "../../errors.ts";
import type { Device } from "../../gpu/device.ts";
import type { LanguageModel } from "../../nn/lm.ts";
import type { ParameterOptions } from "../../nn/parameters.ts";
import { createSequenceScorer } from "../../train/score.ts";
import { frozenFields, frozenOf } from "../flags/frozen.ts";
import { ON_DISK_OR_HUB, refuseSplit, splitField } from "../flags/hub.ts";
import { adapterField } from "../flags/lora.ts";
import { chatFields, fieldFields, fieldsOf, type Talking, talking } from "../flags/prompts.ts";
import { loadAdapted, openLanguageModel, openReward, REWARD_HELP, tokenizerField } from "../open.ts";
import { type AnyVerb, defineVerb, type Io } from "../verb.ts";

const schema = z.strictObject({
  model: z.string().meta({ description: "the language model's folder", hint: "DIR" }),
  tokenizer: tokenizerField,
  adapter: adapterField,
  input: z.string().meta({
    description: `records (.jsonl, .csv, .tsv, .parquet) of {text}, {prompt, response}, {messages} or {ids}; ${ON_DISK_OR_HUB}`,
    hint: "FILE",
  }),
  split: splitField,
  ...fieldFields,
  output: z
    .string()
    .optional()
    .meta({ description: "where the lines go (default: stdout)", hint: "FILE.jsonl" }),
  reward: z.string().optional().meta({ description: REWARD_HELP, hint: "SPEC" }),
  truncate: z
    .boolean()
    .default(false)
    .meta({ description: "cut texts that exceed the model's context, instead of refusing them" }),
  ...chatFields,
  ...frozenFields,
});
type Config = z.output<typeof schema>;

/** Each line's nll is that of its whole text; stderr tells the mean over all tokens. */
export const score: AnyVerb = defineVerb({
  name: "score",
  summary:
    "log-probabilities of texts under a model: {ids, logprobs, nll} a line, in nats; nll = -sum of logprobs",
  schema,
  examples: [
    {
      does: "log-probabilities",
      line: "vbon score --model runs/stories/model --input texts.jsonl --output scores.jsonl",
    },
    {
      does: "with a reward, {score} as well",
      line: "vbon score --model runs/stories/model --reward lexicon:vader --input pairs.jsonl",
    },
  ],
  run,
});

/** A line of the input, encoded. */
interface Row {
  readonly ids: readonly number[];
  /** What a reward sees. */
  readonly seen: RewardInput;
}

/** A line of the output. */
interface Line extends Record<string, unknown> {
  readonly ids: readonly number[];
  /** logprobs[t] = log p(ids[t + 1] | ids[0 .. t]) */
  readonly logprobs: readonly number[];
  /** -sum of logprobs: of the whole line, given its first token. */
  readonly nll: number;
  readonly score?: number;
}

/** Lines scored between two writes: enough to sort by length, few enough to lose little. */
const CHUNK = 512;

async function run(config: Config, io: Io): Promise<void> {
  refuseSplit("vbon score", config);
  const examples: Example[] = [];
  for await (const example of readExamples(config.input, fieldsOf(config))) examples.push(example);
  const device = await io.device();
  const frozen = frozenOf(config, device);
  const { model, tokenizer } = await openModel(device, config, frozen, examples);
  const talk = tokenizer && (await talking(tokenizer, config));
  const reward = config.reward === undefined ? undefined : await openReward(device, config.reward, frozen);
  // All lines are encoded before any is scored: a line that does not fit costs no work.
  const rows = examples.map((example) => encode(example, talk, model.config.blockSize, config));
  const sink = await openSink(config.output, io);
  const done = await scoreRows(rows, model, reward, sink.write, io).catch(async (error: unknown) => {
    await sink.close(false);
    throw error;
  });
  await sink.close(done.lines === rows.length);
  if (done.lines < rows.length)
    io.note(
      `stopped after ${done.lines} of ${rows.length} lines${config.output ? `; they are in ${config.output}.partial` : ""}`,
    );
  const mean = (sum: number, n: number): string => (sum / n).toFixed(4);
  const scores = reward ? `; mean score ${mean(done.scores, done.lines)} (${reward.name})` : "";
  io.note(
    `${done.lines} lines, ${done.tokens} tokens: mean NLL ${mean(done.nll, done.tokens)} nats a token${scores}`,
  );
}

/** Ids need no tokenizer: a folder without one will do. */
async function openModel(
  device: Device,
  { model: folder, reward, adapter, tokenizer }: Config,
  frozen: ParameterOptions,
  examples: readonly Example[],
): Promise<{ model: LanguageModel; tokenizer?: Tokenizer }> {
  if (reward !== undefined || examples.some((e) => !("ids" in e)))
    return openLanguageModel(device, folder, frozen, adapter, tokenizer);
  return { model: await loadAdapted(device, folder, frozen, adapter) };
}

function encode(example: Example, talk: Talking | undefined, blockSize: number, { truncate }: Config): Row {
  const row = seenOf(example, talk, example.where);
  if (row.ids.length <= blockSize) return row;
  if (truncate) return { ...row, ids: row.ids.slice(0, blockSize) };
  throw new ConfigError(
    `${example.where}: has ${row.ids.length} tokens; expected at most ${blockSize}, the model's context. Shorten it, or cut with --truncate`,
  );
}

function seenOf(example: Example, talk: Talking | undefined, where: string): Row {
  const { tokenizer, conversing } = talk ?? {};
  if ("ids" in example) {
    const response = tokenizer?.decode(example.ids, { skipSpecialTokens: true }) ?? "";
    return { ids: example.ids, seen: { prompt: "", response, promptIds: [], responseIds: example.ids } };
  }
  if ("text" in example) {
    if (conversing?.wrap)
      throw new ConfigError(`${where}: --chat is for {prompt, response} or {messages}, this is a {text}`);
    const ids = tokenizer!.encode(example.text);
    return { ids, seen: { prompt: "", response: example.text, promptIds: [], responseIds: ids } };
  }
  const messages = "messages" in example ? example.messages : exchange(example, conversing!);
  if (messages) return conversationSeen(messages, talk!, where);
  const { prompt, response } = example as Exclude<typeof example, { messages: unknown }>;
  const [promptIds, responseIds] = [
    tokenizer!.encode(prompt),
    tokenizer!.encode(response, { addSpecialTokens: false }),
  ];
  return { ids: [...promptIds, ...responseIds], seen: { prompt, response, promptIds, responseIds } };
}

/** Of a conversation the last answer is what is judged. */
function conversationSeen(
  messages: readonly Message[],
  { tokenizer, conversing }: Talking,
  where: string,
): Row {
  const last = conversing.open().answers(messages, where).at(-1)!;
  const { prompt: ids, response, text, before } = last;
  const prompt = { ids, text: tokenizer.decode(ids, { skipSpecialTokens: true }), messages: before };
  return { ids: [...ids, ...response], seen: rewardInput(prompt, text, response) };
}

interface Totals {
  lines: number;
  tokens: number;
  nll: number;
  scores: number;
}

/** Scores chunk by chunk until all is done or Ctrl-C comes. */
async function scoreRows(
  rows: readonly Row[],
  model: LanguageModel,
  reward: Reward | undefined,
  write: (line: Line) => Promise<void>,
  io: Io,
): Promise<Totals> {
  const totals: Totals = { lines: 0, tokens: 0, nll: 0, scores: 0 };
  const scorer = createSequenceScorer(model);
  const progress = io.progress({ label: "score", total: rows.length, unit: "lines" });
  for (let at = 0; at < rows.length && !io.signal.aborted; at += CHUNK) {
    const some = rows.slice(at, at + CHUNK);
    const logprobs = await scorer.score(some.map((row) => row.ids));
    const scores = await reward?.score(some.map((row) => row.seen));
    for (const [i, { ids }] of some.entries()) {
      const nll = logprobs[i]!.reduce((sum, l) => sum - l, 0);
      await write({ ids, logprobs: Array.from(logprobs[i]!), nll, ...(scores && { score: scores[i]! }) });
      totals.lines++;
      totals.tokens += logprobs[i]!.length;
      totals.nll += nll;
      totals.scores += scores?.[i] ?? 0;
    }
    progress.update(totals.lines);
  }
  progress.stop();
  scorer.dispose();
  return totals;
}

interface Sink {
  write(line: Line): Promise<void>;
  /** `complete`: the file gets its name. Without it, or after an error, the lines stay in `<output>.partial`. */
  close(complete: boolean): Promise<void>;
}

async function openSink(output: string | undefined, io: Io): Promise<Sink> {
  if (output === undefined) {
    return { write: async (line) => io.result(line, JSON.stringify(line)), close: async () => undefined };
  }
  const partial = `${output}.partial`;
  await writeFileAtomic(partial, "");
  const appender = await openAppender(partial);
  return {
    write: (line) => appender.append(JSON.stringify(line)),
    async close(complete) {
      await appender.close();
      if (complete) await rename(partial, output);
    },
  };
}
