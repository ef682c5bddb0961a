/** Reward caches on disk: a writer that survives a kill at any moment, and a reader of our format and the released code's two. */

import { z } from "zod";
import { readJsonl } from "../../data/datasets/dataset.ts";
import { type Appender, exists, openAppender, repairTornLine, writeFileAtomic } from "../../data/files.ts";
import { isRecord } from "../../data/json.ts";
import { takeLock } from "../../data/lock.ts";
import { ConfigError, FormatError } from "../../errors.ts";
import {
  type CacheEntry,
  type CacheHeader,
  checkCacheSettings,
  checkEntry,
  limitSamples,
  type RewardCache,
  textKey,
} from "./cache.ts";
import { entrySchema, headerSchema } from "./schema.ts";

/** Appends prompts to a cache file. */
export interface CacheWriter {
  /** Is this prompt already in the file? A resumed build skips it. */
  has(promptId: string): boolean;
  /** Appends one prompt. @throws FormatError for a malformed entry, or one that is there already. */
  append(entry: CacheEntry): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens `path` for writing. A new file gets the header. An existing one is continued when `resume` is set: a torn last line
 * is cut, the header must agree with `header` but for `created`, and the prompts in it count as done.
 * @throws ConfigError when the file exists without `resume`, was made with other settings (every one is listed), or is being
 * written already
 */
export async function openCacheWriter(
  path: string,
  header: CacheHeader,
  { resume = false }: { resume?: boolean } = {},
): Promise<CacheWriter> {
  const lock = await takeLock(`${path}.lock`, path, "choose another name");
  try {
    const { done, appender } = await openEntries(path, header, resume);
    return {
      has: (promptId) => done.has(promptId),
      async append(entry) {
        const where = `${path}: prompt ${JSON.stringify(entry.prompt)}`;
        if (done.has(entry.promptId)) throw new FormatError(`${where}: is in the cache already`);
        await appender.append(JSON.stringify(checkEntry(checked(entrySchema, entry, where), where)));
        done.add(entry.promptId);
      },
      async close() {
        await appender.close().finally(() => lock.release());
      },
    };
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** The prompts that are in the file, and the file, open behind them. */
async function openEntries(
  path: string,
  header: CacheHeader,
  resume: boolean,
): Promise<{ readonly done: Set<string>; readonly appender: Appender }> {
  const isThere = await exists(path);
  if (isThere && !resume) throw new ConfigError(`${path}: exists already; resume it or choose another name`);
  if (!isThere) await writeFileAtomic(path, `${JSON.stringify(header)}\n`);
  await repairTornLine(path);
  const cache = await readCache(path);
  const { created: _, ...settings } = header;
  checkCacheSettings(cache, { stop: "", ...settings }, path);
  return { done: new Set(cache.entries.keys()), appender: await openAppender(path) };
}

/**
 * The header of a cache file of ours; undefined for one of the released code's, which have none.
 * @throws FormatError naming file and line
 */
export async function readCacheHeader(path: string): Promise<CacheHeader | undefined> {
  for await (const { value } of readJsonl(path))
    return isRecord(value) && "format" in value ? checked(headerSchema, value, `${path}:1`) : undefined;
  return undefined;
}

/**
 * Reads a cache file, ours or one of the released code's: one sample a line `{prompt, text, reward}`, or one prompt a line
 * `{prompt, responses?, rewards}`. In those, lines of the same prompt (its text, trimmed) are joined in file order.
 * `maxSamples` keeps the first so many of every prompt.
 * @throws FormatError naming file and line.
 */
export async function readCache(
  path: string,
  { maxSamples }: { maxSamples?: number } = {},
): Promise<RewardCache> {
  const entries = new Map<string, CacheEntry>();
  let header: CacheHeader | undefined;
  for await (const { line, value } of readJsonl(path)) {
    const where = `${path}:${line}`;
    if (line === 1 && isRecord(value) && "format" in value) header = checked(headerSchema, value, where);
    else if (header) addOurs(entries, checkEntry(checked(entrySchema, value, where), where), where);
    else addForeign(entries, value, where);
  }
  if (!header && entries.size === 0) throw new FormatError(`${path}: is empty; expected a reward cache`);
  const cache = { header, entries };
  return maxSamples === undefined ? cache : limitSamples(cache, maxSamples);
}

const ForeignSample = z.object({ prompt: z.string(), text: z.string(), reward: z.number() });
const ForeignPrompt = z.object({
  prompt: z.string(),
  responses: z.array(z.string()).optional(),
  rewards: z.array(z.number()).min(1),
});

function addOurs(entries: Map<string, CacheEntry>, entry: CacheEntry, where: string): void {
  if (entries.has(entry.promptId))
    throw new FormatError(`${where}: repeats the prompt ${JSON.stringify(entry.prompt)}`);
  entries.set(entry.promptId, entry);
}

function addForeign(entries: Map<string, CacheEntry>, value: unknown, where: string): void {
  const { prompt, rewards, responses } = foreignEntry(value, where);
  const promptId = textKey(prompt);
  const before = entries.get(promptId);
  const joined = before?.responses && responses ? [...before.responses, ...responses] : undefined;
  entries.set(promptId, {
    promptId,
    prompt,
    promptIds: [],
    rewards: [...(before?.rewards ?? []), ...rewards],
    responses: before ? joined : responses,
  });
}

/** `text` is prompt and response in one; the response is what follows the prompt. */
function foreignEntry(value: unknown, where: string): z.infer<typeof ForeignPrompt> {
  if (isRecord(value) && "rewards" in value) return checked(ForeignPrompt, value, where);
  const { prompt, text, reward } = checked(ForeignSample, value, where);
  return {
    prompt,
    responses: [text.startsWith(prompt) ? text.slice(prompt.length) : text],
    rewards: [reward],
  };
}

function checked<T>(schema: z.ZodType<T>, value: unknown, where: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new FormatError(`${where}: not a line of a reward cache\n${z.prettifyError(result.error)}`);
}
