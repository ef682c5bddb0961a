/** `vbon score`: what a language model, and a reward, say of given texts. */
import { z } from "zod";
import { rewardInput } from "../../align/cache/build.ts";
import type { Reward, RewardInput } from "../../align/rewards.ts";
import { type Example, readExamples } from "../../data/datasets/dataset.ts";
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
import { type Line, type Sink, unlike, withSink } from "../score/sink.ts";
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

/** Lines scored between two writes: enough to sort by length, few enough to lose little. */
const CHUNK = 512;

async function run(config: Config, io: Io): Promise<void> {
  refuseSplit("vbon score", config);
  await withSink(config.output, io, (sink) => scoreInto(sink, config, io));
}

async function scoreInto(sink: Sink, config: Config, io: Io): Promise<void> {
  const examples: Example[] = [];
  for await (const example of readExamples(config.input, fieldsOf(config))) examples.push(example);
  if (examples.length === 0)
    throw new ConfigError(`${config.input}: holds no records; expected texts to score`);
  const device = await io.device();
  const frozen = frozenOf(config, device);
  const { model, tokenizer } = await openModel(device, config, frozen, examples);
  const talk = tokenizer && (await talking(tokenizer, config));
  const reward = config.reward === undefined ? undefined : await openReward(device, config.reward, frozen);
  // All lines are encoded before any is scored: a line that does not fit costs no work.
  const rows = examples.map((example) => encode(example, talk, model.config.blockSize, config));
  const done = await scoreRows(rows, model, reward, sink, io);
  await sink.close(done.lines === rows.length);
  if (done.lines < rows.length)
    io.note(
      `stopped after ${done.lines} of ${rows.length} lines${sink.partial ? `; they are in ${sink.partial}, and the same command goes on from there` : ""}`,
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

function add(totals: Totals, line: Line): void {
  totals.lines++;
  totals.tokens += line.logprobs.length;
  totals.nll += line.nll;
  totals.scores += line.score ?? 0;
}

/** Scores chunk by chunk, behind what an earlier run has left, until all is done or Ctrl-C comes. */
async function scoreRows(
  rows: readonly Row[],
  model: LanguageModel,
  reward: Reward | undefined,
  sink: Sink,
  io: Io,
): Promise<Totals> {
  const totals: Totals = { lines: 0, tokens: 0, nll: 0, scores: 0 };
  const scorer = createSequenceScorer(model);
  const linesOf = async (some: readonly Row[]): Promise<Line[]> => {
    const logprobs = await scorer.score(some.map((row) => row.ids));
    const scores = await reward?.score(some.map((row) => row.seen));
    return some.map(({ ids }, i) => ({
      ids,
      logprobs: Array.from(logprobs[i]!),
      nll: logprobs[i]!.reduce((sum, l) => sum - l, 0),
      ...(scores && { score: scores[i]! }),
    }));
  };
  try {
    await checkEarlier(sink, rows, linesOf, io);
    for (const line of sink.earlier) add(totals, line);
    const progress = io.progress({ label: "score", total: rows.length, unit: "lines", start: totals.lines });
    while (totals.lines < rows.length && !io.signal.aborted) {
      for (const line of await linesOf(rows.slice(totals.lines, totals.lines + CHUNK))) {
        await sink.write(line);
        add(totals, line);
      }
      progress.update(totals.lines);
    }
    progress.stop();
  } finally {
    scorer.dispose();
  }
  return totals;
}

/**
 * What an earlier run has left must be what this one would write: the same ids line for line and, of the longest of them, scored
 * again, the same numbers, but for rounding.
 * @throws ConfigError where it is not
 */
async function checkEarlier(
  { partial, earlier }: Sink,
  rows: readonly Row[],
  linesOf: (some: readonly Row[]) => Promise<Line[]>,
  io: Io,
): Promise<void> {
  if (partial === undefined || earlier.length === 0) return;
  const other = earlier.findIndex(({ ids }, i) => ids.join() !== rows[i]?.ids.join());
  if (other >= 0) throw unlike(partial, `line ${other + 1} is of another input`);
  const longest = earlier.reduce(
    (best, { ids }, i) => (ids.length > earlier[best]!.ids.length ? i : best),
    0,
  );
  const [before, [now]] = [earlier[longest]!, await linesOf([rows[longest]!])];
  for (const name of ["nll", "score"] as const) {
    const [was, is] = [before[name], now![name]];
    if (was === is || Math.abs(was! - is!) <= 1e-3 * (1 + Math.abs(is!))) continue;
    throw unlike(partial, `line ${longest + 1} has ${name} ${was ?? "missing"}, and now ${is ?? "none"}`);
  }
  io.note(`${partial}: ${earlier.length} of ${rows.length} lines are there already`);
}
