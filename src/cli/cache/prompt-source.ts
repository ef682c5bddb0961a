/** Prompts from a file of prompts, or cut from a file of documents. */
import type { Prompt } from "../../align/cache/build.ts";
import { cutPrompts, type PromptOptions, readPrompts } from "../../align/cache/prompts.ts";
import type { Tokenizer } from "../../data/tokenizer/tokenizer.ts";
import { ConfigError } from "../../errors.ts";
import { distinctPrompts } from "./prompts.ts";

/** Where they are, and which to take. */
export interface PromptSource {
  /** Lines of {prompt}, {text} or {ids}; this or `documents`. */
  readonly prompts?: string | undefined;
  /** Only the lines of `prompts` with this `split`. */
  readonly split?: string | undefined;
  readonly documents?: string | undefined;
  /** "8" or "2-8". */
  readonly promptTokens: string;
  readonly skip: number;
  /** All, where it is undefined. */
  readonly count?: number | undefined;
  readonly seed: number;
  /** Where documents in records have their texts. */
  readonly textField: string;
  /** How records become prompts. */
  readonly reading: PromptOptions;
}

/** What was found. */
export interface FoundPrompts {
  readonly prompts: Prompt[];
  readonly path: string;
  /** Prompts left out because they are there already. */
  readonly repeated: number;
}

/**
 * Reads distinct prompts, leaves out the first `skip`, takes `count`.
 * @throws ConfigError when none or both files are given, or the file has fewer prompts; FormatError for a bad file
 */
export async function readPromptSource(source: PromptSource, tokenizer: Tokenizer): Promise<FoundPrompts> {
  const { prompts: file, documents, split, skip, count } = source;
  const path = file ?? documents;
  if (path === undefined || (file !== undefined && documents !== undefined)) {
    throw new ConfigError("vbon cache: expected --prompts FILE.jsonl or --documents FILE, one of them");
  }
  const { format, conversing, field } = source.reading;
  const forRecords = [
    ["--prompt-format tldr", format === "tldr"],
    ["--chat", conversing?.wrap !== undefined],
    ["--prompt-field", field !== undefined],
    ["--split", split !== undefined],
  ] as const;
  const [odd] = forRecords.find(([, given]) => given) ?? [];
  if (file === undefined && odd !== undefined)
    throw new ConfigError(`vbon cache: ${odd} is for records of --prompts; --documents are cut as they are`);
  const all =
    file === undefined
      ? await cut(path, source, tokenizer)
      : await readPrompts(path, tokenizer, { ...source.reading, split });
  const distinct = distinctPrompts(all);
  const wanted = count ?? Math.max(0, distinct.length - skip);
  const prompts = distinct.slice(skip, skip + wanted);
  if (wanted > 0 && prompts.length === wanted)
    return { prompts, path, repeated: all.length - distinct.length };
  const asked = `${split === undefined ? "" : `--split ${split}, `}--skip ${skip}${count ? ` and --count ${count}` : ""}`;
  throw new ConfigError(`${path}: has ${distinct.length} prompts; ${asked} asks for more`);
}

function cut(
  path: string,
  { promptTokens, seed, textField }: PromptSource,
  tokenizer: Tokenizer,
): Promise<Prompt[]> {
  const [least = 8, most = least] = promptTokens.split("-").map(Number);
  return cutPrompts(path, tokenizer, { least, most, seed, textField });
}
