/** Prompts: from a JSONL file, or the beginnings of documents as the paper cuts them (section 5: IMDB prefixes). */
import { readDocuments, readRecords } from "../data/dataset.ts";
import { isRecord } from "../data/json.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import { ConfigError, FormatError } from "../errors.ts";
import { createRandom } from "../tensor/random.ts";
import type { Prompt } from "./build-cache.ts";

/** How to cut prompts from documents. */
export interface CutOptions {
  /** Tokens a prompt, BOS not counted: from `least` to `most`, uniformly. */
  readonly least: number;
  readonly most: number;
  readonly seed: number;
}

/**
 * A prompt of text: BOS, where the tokenizer has one and puts it there, then the text.
 * @throws ConfigError when nothing is left to condition on
 */
export function promptOf(text: string, tokenizer: Tokenizer): Prompt {
  const encoded = tokenizer.encode(text);
  const ids = encoded.length > 0 ? encoded : tokenizer.bosId === undefined ? [] : [tokenizer.bosId];
  if (ids.length === 0) {
    throw new ConfigError(
      "prompt: is empty and this tokenizer has no BOS token to begin with; give at least one character",
    );
  }
  return { ids, text: tokenizer.decode(ids, { skipSpecialTokens: true }) };
}

/**
 * The first few tokens of every document long enough, distinct, in an order drawn from the seed: take the first
 * ones to train on and later ones to test.
 */
export async function cutPrompts(
  path: string,
  tokenizer: Tokenizer,
  { least, most, seed }: CutOptions,
): Promise<Prompt[]> {
  if (!(least >= 1 && most >= least))
    throw new ConfigError(`prompts: from ${least} to ${most} tokens; expected 1 <= least <= most`);
  const lengths = createRandom(seed, "prompt lengths");
  const prompts = new Map<string, Prompt>();
  for await (const document of readDocuments(path, documentOptions(path))) {
    const n = least + lengths.integer(most - least + 1);
    // The beginning is enough, and much quicker to encode than the whole.
    const encoded = tokenizer.encode(document.slice(0, 40 * most));
    const first = encoded[0] === tokenizer.bosId ? 1 : 0;
    if (encoded.length < first + n) continue;
    const ids = encoded.slice(0, first + n);
    const key = ids.join(",");
    if (!prompts.has(key))
      prompts.set(key, { ids, text: tokenizer.decode(ids, { skipSpecialTokens: true }) });
  }
  const all = [...prompts.values()];
  return createRandom(seed, "prompt order")
    .permutation(all.length)
    .map((i) => all[i]!);
}

/** Files of other kinds than text separated by <|endoftext|> are read a line a document. */
function documentOptions(path: string): { format: "documents" | "lines" } {
  return { format: path.endsWith(".txt") ? "documents" : "lines" };
}

/**
 * The prompts of a file of records: those with `{prompt}` (other fields are not read), `{text}` or `{ids}`.
 * @param split only lines whose `split` is this
 * @throws FormatError naming the line that is something else
 */
export async function readPrompts(path: string, tokenizer: Tokenizer, split?: string): Promise<Prompt[]> {
  const prompts: Prompt[] = [];
  for await (const { line, value } of readRecords(path)) {
    if (split !== undefined && !(isRecord(value) && value["split"] === split)) continue;
    prompts.push(promptFrom(value, `${path}:${line}`, tokenizer));
  }
  return prompts;
}

function promptFrom(value: unknown, where: string, tokenizer: Tokenizer): Prompt {
  const { prompt, text = prompt, ids } = isRecord(value) ? value : {};
  if (typeof text === "string") return promptOf(text, tokenizer);
  if (Array.isArray(ids) && ids.every((id) => Number.isInteger(id) && id >= 0)) {
    return { ids: ids as number[], text: tokenizer.decode(ids as number[], { skipSpecialTokens: true }) };
  }
  const got = JSON.stringify(value).slice(0, 80);
  throw new FormatError(`${where}: expected {"prompt"}, {"text"} or {"ids"}, got ${got}`);
}
