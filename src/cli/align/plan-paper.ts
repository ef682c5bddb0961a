/** A run of `vbon align` on paper: prepared as the command itself prepares it, on a device that allocates nothing. */
import type { Prompt } from "../../align/cache/build.ts";
import { type CacheEntry, promptIdOf, type RewardCache } from "../../align/cache/cache.ts";
import { findObjective, findOffline } from "../../align/objectives/index.ts";
import type { Reward } from "../../align/rewards.ts";
import { kindOf } from "../../data/files.ts";
import type { Tokenizer } from "../../data/tokenizer/tokenizer.ts";
import { ConfigError } from "../../errors.ts";
import type { Device } from "../../gpu/device.ts";
import type { ModelConfig } from "../../nn/lm.ts";
import type { ParameterOptions } from "../../nn/parameters.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { type CacheTask, readCacheTask } from "../cache/task.ts";
import { frozenOf } from "../flags/frozen.ts";
import { endIds, type Opened, openReward } from "../open.ts";
import { onPaper, type Planned, readLargest } from "../plan/paper.ts";
import type { Io } from "../verb.ts";
import { objectiveSettings } from "./flags.ts";
import { prepareOffline } from "./offline.ts";
import { offlineSettings } from "./offline-flags.ts";
import { prepareOnline } from "./prepare.ts";
import type { AlignFlags } from "./schema.ts";
import { openReference, type Subject } from "./subject.ts";

/** The flags of `vbon align`, and what stands for a cache where there is none yet. */
export interface PlanFlags extends Omit<AlignFlags, "cache" | "reward"> {
  readonly cache?: string | undefined;
  readonly reward?: string | undefined;
  readonly prompts: number;
  readonly promptTokens: number;
}

/** What a run would take, and by what. */
export interface Estimate extends Planned {
  /** Unknown where not even the weights have room. */
  readonly sizes: Sizes | undefined;
}

/** What the memory depends on. */
export interface Sizes {
  readonly prompts: number;
  /** Tokens of the longest prompt. */
  readonly promptTokens: number;
  readonly maxNewTokens: number;
  readonly parameters: number;
}

/**
 * Estimates the run that `flags` describe on `device`, which stays as it is.
 * @throws ConfigError, FormatError where the run itself would
 */
export async function estimate(device: Device, flags: PlanFlags, io: Io): Promise<Estimate> {
  let subject: Subject | undefined;
  const planned = await onPaper(device, async (paper, opening) => {
    opening("weights of the reference");
    const reference = await openReference(paper, flags);
    opening("weights of the reward");
    subject = await subjectOf(paper, reference, flags);
    const { task, reward, n } = subject;
    await prepare(subject, { ...flags, n, cache: task.path, reward: reward.name }, io);
    await scoreLongest(subject);
  });
  return { ...planned, sizes: subject && sizesOf(subject) };
}

const sizesOf = ({ reference, task: { prompts, sampling } }: Subject): Sizes => ({
  prompts: prompts.length,
  promptTokens: longest(prompts),
  maxNewTokens: sampling.maxNewTokens,
  parameters: reference.model.parameters.count,
});

/** What the run is about, as far as its memory depends on it. */
async function subjectOf(paper: Device, reference: Opened, flags: PlanFlags): Promise<Subject> {
  const { model, tokenizer } = reference;
  const frozen = frozenOf(flags, paper);
  const reward = await rewardOf(paper, flags.reward, frozen);
  const evalReward =
    flags.evalReward === undefined ? reward : await rewardOf(paper, flags.evalReward, frozen);
  const task = await taskOf(flags, { tokenizer, model });
  const test =
    flags.evalCache === undefined
      ? undefined
      : await readCacheTask(flags.evalCache, { reference: model, tokenizer, asked: {} });
  // n changes no byte of a run that draws its own samples; where beta is given it follows from that.
  const n = flags.n ?? (flags.beta === undefined ? UNASKED_N : undefined);
  const watched = { reward, failed: () => false };
  const eosIds = endIds(model, tokenizer);
  return { reference, reward, evalReward, watched, task, test, n: n as number, eosIds };
}

const UNASKED_N = 8;
/** Of an imagined cache, to each prompt: an n beyond it changes nothing. */
const MOST_RESPONSES = 4096;

/** A reward by its SPEC. A module is the user's program, and takes no memory that we know of: it is not run. */
async function rewardOf(paper: Device, spec: string | undefined, frozen: ParameterOptions): Promise<Reward> {
  const none = { name: spec ?? "none", score: () => Promise.resolve(new Float64Array()) };
  if (spec === undefined || (await kindOf(spec)) === "file") return none;
  return openReward(paper, spec, frozen);
}

/** The cache that the run learns from, or one like it. */
async function taskOf(
  flags: PlanFlags,
  { tokenizer, model }: Pick<Subject["reference"], "tokenizer" | "model">,
): Promise<CacheTask> {
  const { cache, maxSamples } = flags;
  if (cache !== undefined)
    return readCacheTask(cache, { reference: model, tokenizer, asked: flags, maxSamples });
  return imagined(flags, model.config, tokenizer);
}

function imagined(
  { prompts: count, promptTokens, maxNewTokens = 48, n, temperature = 1 }: PlanFlags,
  { vocabSize, blockSize }: ModelConfig,
  tokenizer: Tokenizer,
): CacheTask {
  if (promptTokens + maxNewTokens > blockSize)
    throw new ConfigError(
      `vbon plan: --prompt-tokens ${promptTokens} and --max-new-tokens ${maxNewTokens} exceed the model's context of ${blockSize}; ` +
        "lower one of them",
    );
  const answers = responses(Math.min(MOST_RESPONSES, Math.ceil(n ?? UNASKED_N)), maxNewTokens);
  const entries = Array.from({ length: count }, (_, i): CacheEntry => {
    const ids = Array.from({ length: promptTokens }, (__, t) => Math.floor(i / vocabSize ** t) % vocabSize);
    return {
      promptId: promptIdOf(ids),
      prompt: tokenizer.decode(ids),
      promptIds: ids,
      ...answers,
    };
  });
  const distinct = new Map(entries.map((entry) => [entry.promptId, entry]));
  const cache: RewardCache = { header: undefined, entries: distinct };
  const prompts = entries.map(({ promptIds: ids, prompt: text }) => ({ ids, text }));
  const sampling = { temperature, maxNewTokens };
  return { path: "a cache to be", cache, entries, hash: "", prompts, sampling };
}

/** As long as they may be, each better than the one before. */
function responses(count: number, length: number): Omit<CacheEntry, "promptId" | "prompt" | "promptIds"> {
  const each = Array.from({ length: count }, (_, m) => m);
  return {
    rewards: each,
    lengths: each.map(() => length),
    finished: each.map(() => true),
    logprobs: each.map(() => 0),
    responseIds: each.map(() => Array<number>(length).fill(0)),
  };
}

const longest = (prompts: readonly Prompt[]): number => Math.max(...prompts.map(({ ids }) => ids.length));

/** Records what the run records, its tables for shorter batches included, and reads back what it reads back. */
async function prepare(subject: Subject, flags: AlignFlags, io: Io): Promise<void> {
  const offline = findOffline(flags.method);
  if (offline) {
    const { reference } = subject;
    const { run } = await prepareOffline(offline, offlineSettings(flags, offline), subject, flags, io);
    return readLargest([...run.training.carried.tensors.values(), ...weightsOf(reference)]);
  }
  const settings = objectiveSettings(flags);
  const run = await prepareOnline({ ...subject, objective: findObjective(flags.method), settings }, flags);
  const { prompts, sampling } = subject.task;
  const shortest = Math.min(...prompts.map(({ ids }) => ids.length));
  for (let T = shortest; T < longest(prompts) + sampling.maxNewTokens; T += SCORED)
    await run.scorer.prepare(T);
  await readLargest([...run.tensors.values(), ...weightsOf(subject.reference)]);
}

/** Lengths of the scorer's programs are multiples of this. */
const SCORED = 8;

const weightsOf = ({ model }: Opened): Tensor[] => [...model.parameters].map(([, tensor]) => tensor);

/** The reward's largest program: as many tokens as prompt and response have, in words of one letter. */
async function scoreLongest({ reward, evalReward, task: { prompts, sampling } }: Subject): Promise<void> {
  const tokens = longest(prompts) + sampling.maxNewTokens;
  const input = { prompt: "", response: Array(tokens).fill("a").join(" "), promptIds: [], responseIds: [] };
  for (const each of new Set([reward, evalReward])) await each.score([input]);
}
