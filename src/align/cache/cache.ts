/**
 * The reward cache: for each prompt, the scores of M reference samples. One artifact serves the CDF, Best-of-N curves, win
 * rates, preference pairs and KS tests. A file is JSON lines: a header that says how the samples were made, then one prompt
 * a line, scores in the order of generation so that "the first M" means something. alignment.md 1.2.
 */

import type { Message } from "../../data/tokenizer/chat.ts";
import { ConfigError, FormatError } from "../../errors.ts";
import { hashIds, hexOf } from "../../tensor/hash.ts";
import { type CdfOptions, createCdf, type EmpiricalCdf, tieKey } from "../best-of-n/cdf.ts";

/** The first line. Everything but `created` decides the distribution that F describes. */
export interface CacheHeader {
  format: "vbon-cache";
  version: 1;
  model: string;
  modelHash: string;
  /** Name of the reward. */
  reward: string;
  temperature: number;
  /** 0 = off. */
  topK: number;
  /** 1 = off. */
  topP: number;
  maxNewTokens: number;
  /** Text at which responses ended, beside the model's end tokens; empty or absent where there was none. */
  stop?: string | undefined;
  seed: number;
  /** Samples a prompt. */
  m: number;
  /** Type the reward was computed in; f16 and bf16 make ties. */
  dtype: string;
  /** ISO 8601. */
  created: string;
}

/** One prompt's line. Lists are parallel to `rewards`, in order of generation. */
export interface CacheEntry {
  promptId: string;
  prompt: string;
  /** Empty in the formats of the released code, which keep text only. */
  promptIds: number[];
  /** Of a conversation: what was said so far. */
  messages?: Message[] | undefined;
  rewards: number[];
  /** Response tokens. */
  lengths?: number[] | undefined;
  /** Did the sample end, with EOS or with what `stop` says, or was it cut off? */
  finished?: boolean[] | undefined;
  /** log p of each whole response under the reference, at the temperature, nats. */
  logprobs?: number[] | undefined;
  responses?: string[] | undefined;
  responseIds?: number[][] | undefined;
}

/** A cache in memory. `header` is undefined for the released code's formats, which have none. */
export interface RewardCache {
  readonly header: CacheHeader | undefined;
  /** By prompt id, in file order. */
  readonly entries: ReadonlyMap<string, CacheEntry>;
}

/** The id of a prompt: 16 hexadecimal digits of its token ids' hash, since text does not always survive decode and encode. */
export function promptIdOf(ids: ArrayLike<number>): string {
  return hexOf(hashIds(ids));
}

/**
 * The entry of a prompt, by its token ids, and by its text where the cache knows only text.
 * @throws ConfigError naming the prompt when the cache has none.
 */
export function cacheEntry(cache: RewardCache, prompt: { ids: ArrayLike<number>; text: string }): CacheEntry {
  const id = promptIdOf(prompt.ids);
  const found = cache.entries.get(id) ?? cache.entries.get(textKey(prompt.text));
  if (found) return found;
  throw new ConfigError(
    `reward cache: no scores for the prompt ${JSON.stringify(prompt.text)} (id ${id}); ` +
      `the cache holds ${cache.entries.size} prompts: build it for this split`,
  );
}

/** The CDF of one entry; what `options` needs of the entry (endings, tie-break keys) is taken from it. */
export function entryCdf(entry: CacheEntry, options: CdfOptions = {}): EmpiricalCdf {
  const { finished, responseIds } = entry;
  const keys = options.ties === "total-order" ? responseIds?.map((ids) => tieKey(ids)) : undefined;
  return createCdf(entry.rewards, { ...(finished && { finished }), ...(keys && { keys }), ...options });
}

/** The first `maxSamples` samples of every prompt; fewer where a prompt has fewer. */
export function limitSamples(cache: RewardCache, maxSamples: number): RewardCache {
  if (!Number.isInteger(maxSamples) || maxSamples < 1) {
    throw new ConfigError(`reward cache: maxSamples is ${maxSamples}; expected an integer of at least 1`);
  }
  const entries = new Map([...cache.entries].map(([id, entry]) => [id, firstSamples(entry, maxSamples)]));
  return { header: cache.header, entries };
}

/**
 * Refuses a cache made with other settings than those in `expected`: its F is the CDF of another distribution.
 * @throws ConfigError listing every field that differs, with both values; also for a cache without a header.
 */
export function checkCacheSettings(
  cache: RewardCache,
  expected: Partial<CacheHeader>,
  path = "reward cache",
): void {
  const { header } = cache;
  if (!header) throw new ConfigError(`${path}: has no header, so its sampling settings cannot be checked`);
  const fields = Object.keys(expected) as (keyof CacheHeader)[];
  const differing = fields.filter(
    (field) => expected[field] !== undefined && header[field] !== expected[field],
  );
  if (differing.length === 0) return;
  const lines = differing.map(
    (field) => `  ${field}: cache ${show(header[field])}, here ${show(expected[field])}`,
  );
  throw new ConfigError(
    `${path}: made with other settings; rebuild it or change them back${roundedElsewhere(differing)}\n${lines.join("\n")}`,
  );
}

const roundedElsewhere = (fields: readonly (keyof CacheHeader)[]): string =>
  fields.includes("modelHash") || fields.includes("reward")
    ? " (weights held with another --frozen-precision are another model's)"
    : "";

/** What to tell a user who trains for `n` on this cache; empty when all is well. alignment.md 0.5 and 1.4. */
export function cacheWarnings(cache: RewardCache, n: number): string[] {
  const entries = [...cache.entries.values()];
  const fewest = Math.min(...entries.map((entry) => entry.rewards.length));
  const tieRate = entries.reduce((sum, entry) => sum + createCdf(entry.rewards).tieRate, 0) / entries.length;
  const warnings: string[] = [];
  if (n > fewest) {
    warnings.push(
      `n = ${n} exceeds the ${fewest} cached samples: the policy cannot learn a KL beyond log(M + 1); draw more`,
    );
  }
  if (fewest < 64 || tieRate > 0.01) {
    const why = `M = ${fewest}, ${(100 * tieRate).toFixed(1)} % tied pairs`;
    warnings.push(`${why}: the pooled estimator is the better one here (below 64 samples or above 1 % ties)`);
  }
  return warnings;
}

/** Checks that the parallel lists of an entry are as long as its rewards and that its id is its ids' hash. @throws FormatError. */
export function checkEntry(entry: CacheEntry, where: string): CacheEntry {
  const { lengths, finished, logprobs, responses, responseIds } = entry;
  for (const [name, list] of Object.entries({ lengths, finished, logprobs, responses, responseIds })) {
    if (list && list.length !== entry.rewards.length) {
      throw new FormatError(
        `${where}: ${name} has ${list.length} entries for ${entry.rewards.length} rewards`,
      );
    }
  }
  if (entry.promptId !== promptIdOf(entry.promptIds)) {
    throw new FormatError(
      `${where}: promptId ${entry.promptId} is not the hash of promptIds, ${promptIdOf(entry.promptIds)}`,
    );
  }
  return entry;
}

/** The key of a prompt of which only the text is known; never equal to a {@link promptIdOf}. */
export function textKey(text: string): string {
  return `text:${text.trim()}`;
}

function firstSamples(entry: CacheEntry, count: number): CacheEntry {
  return {
    ...entry,
    rewards: entry.rewards.slice(0, count),
    lengths: entry.lengths?.slice(0, count),
    finished: entry.finished?.slice(0, count),
    logprobs: entry.logprobs?.slice(0, count),
    responses: entry.responses?.slice(0, count),
    responseIds: entry.responseIds?.slice(0, count),
  };
}

function show(value: unknown): string {
  return JSON.stringify(value) ?? "nothing";
}
