/** A reward cache as the task of a command: its prompts, and the sampling that rollouts must share with it. */
import type { Prompt } from "../../align/cache/build.ts";
import {
  type CacheEntry,
  type CacheHeader,
  checkCacheSettings,
  type RewardCache,
} from "../../align/cache/cache.ts";
import { readCache } from "../../align/cache/file.ts";
import { promptOf } from "../../align/cache/prompts.ts";
import type { Reward } from "../../align/rewards.ts";
import type { Tokenizer } from "../../data/tokenizer/tokenizer.ts";
import { ConfigError } from "../../errors.ts";
import { type Stop, stopAt } from "../../generate/stop.ts";
import type { LanguageModel } from "../../nn/lm.ts";
import { hashText, hexOf } from "../../tensor/hash.ts";
import { checkPrompts, roomFor } from "./prompts.ts";

/** Sampling of the cache; what is left out is taken from its header. */
export interface AskedSampling {
  readonly temperature?: number | undefined;
  readonly maxNewTokens?: number | undefined;
  /** Text at which responses end; empty for none. */
  readonly stopText?: string;
}

/** Who must have made the cache, and how. */
export interface Expected {
  readonly reference: LanguageModel;
  readonly tokenizer: Tokenizer;
  readonly reward: Reward;
  readonly asked: AskedSampling;
  readonly maxSamples?: number | undefined;
}

/** A cache that fits. */
export interface CacheTask {
  readonly path: string;
  readonly cache: RewardCache;
  readonly entries: readonly CacheEntry[];
  /** Of prompts and scores: equal hashes, equal caches. */
  readonly hash: string;
  /** In the order of `entries`. */
  readonly prompts: readonly Prompt[];
  readonly sampling: { readonly temperature: number; readonly maxNewTokens: number; readonly stop?: Stop };
}

/**
 * Reads a cache and checks that it is of this reference, reward and sampling: else its F is the CDF of another
 * distribution.
 * @throws ConfigError, FormatError listing what differs
 */
export async function openCacheTask(path: string, expected: Expected): Promise<CacheTask> {
  const { reference, reward, asked } = expected;
  const task = await readCacheTask(path, expected);
  const modelHash = await reference.parameters.hash();
  if (task.cache.header)
    checkCacheSettings(task.cache, { modelHash, reward: reward.name, ...given(asked) }, path);
  return task;
}

/** {@link openCacheTask} where nobody can say whose cache it is: weights are not loaded. */
export async function readCacheTask(
  path: string,
  { reference, tokenizer, asked, maxSamples }: Omit<Expected, "reward">,
): Promise<CacheTask> {
  const cache = await readCache(path, maxSamples === undefined ? {} : { maxSamples });
  const sampling = samplingOf(path, cache, asked, tokenizer);
  const entries = [...cache.entries.values()];
  const prompts = entries.map((entry) => promptFrom(entry, tokenizer));
  checkPrompts(path, prompts, reference.config);
  roomFor(path, prompts, reference.config, sampling.maxNewTokens, 1);
  const hash = hexOf(hashText(JSON.stringify(entries.map(({ promptId, rewards }) => [promptId, rewards]))));
  return { path, cache, entries, hash, prompts, sampling };
}

const given = ({
  temperature,
  maxNewTokens,
  stopText,
}: AskedSampling): Partial<Pick<CacheHeader, "temperature" | "maxNewTokens" | "stop">> => ({
  ...(temperature !== undefined && { temperature }),
  ...(maxNewTokens !== undefined && { maxNewTokens }),
  ...(stopText !== undefined && { stop: stopText }),
});

function samplingOf(
  path: string,
  { header }: RewardCache,
  asked: AskedSampling,
  tokenizer: Tokenizer,
): CacheTask["sampling"] {
  const { temperature = header?.temperature, maxNewTokens = header?.maxNewTokens } = asked;
  if (temperature === undefined || maxNewTokens === undefined) {
    throw new ConfigError(
      `${path}: has no header that says how it was sampled; give --temperature and --max-new-tokens as they were, and ` +
        "make sure that it is of this model and this reward",
    );
  }
  if (header && (header.topK > 0 || header.topP < 1)) {
    throw new ConfigError(
      `${path}: sampled with top-k ${header.topK} and top-p ${header.topP}; KL and log-probabilities need the whole distribution; ` +
        "build the cache with --top-k 0 --top-p 1",
    );
  }
  return { temperature, maxNewTokens, ...(header?.stop && { stop: stopAt(header.stop, tokenizer) }) };
}

/** What another cache must have been made with, to be compared with this one. */
export const askedLike = ({ sampling: { temperature, maxNewTokens, stop } }: CacheTask): AskedSampling => ({
  temperature,
  maxNewTokens,
  stopText: stop?.text ?? "",
});

/** The released code's formats keep text only. */
function promptFrom({ promptIds, prompt, messages }: CacheEntry, tokenizer: Tokenizer): Prompt {
  const ids = promptIds.length > 0 ? promptIds : promptOf(prompt, tokenizer).ids;
  return { ids, text: prompt, ...(messages && { messages }) };
}
