/** Prompts: from a file of records, or the beginnings of documents as the paper cuts them (section 5: IMDB prefixes). */
import { type DocumentOptions, readDocuments, readRecords } from "../../data/datasets/dataset.ts";
import { unpackedName } from "../../data/datasets/unpack.ts";
import { isRecord } from "../../data/json.ts";
import {
  checkAsks,
  type Conversing,
  conversing,
  type Message,
  readMessages,
} from "../../data/tokenizer/chat.ts";
import type { Tokenizer } from "../../data/tokenizer/tokenizer.ts";
import { ConfigError, FormatError } from "../../errors.ts";
import { createRandom } from "../../tensor/random.ts";
import type { Prompt } from "./build.ts";
import {
  type Distribution,
  distributionOf,
  fittedTldr,
  type RedditPost,
  redditPost,
  TLDR_TOKENS,
} from "./tldr.ts";

/** How to cut prompts from documents. */
export interface CutOptions {
  /** Tokens a prompt, BOS not counted: from `least` to `most`, uniformly. */
  readonly least: number;
  readonly most: number;
  readonly seed: number;
  /** Where a file of records has its texts; "text" by default. */
  readonly textField?: string | undefined;
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
  { least, most, seed, textField }: CutOptions,
): Promise<Prompt[]> {
  if (!(least >= 1 && most >= least))
    throw new ConfigError(`prompts: from ${least} to ${most} tokens; expected 1 <= least <= most`);
  const lengths = createRandom(seed, "prompt lengths");
  const prompts = new Map<string, Prompt>();
  for await (const document of readDocuments(path, documentOptions(path, textField))) {
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

/** Text is separated by <|endoftext|> in .txt, else a line a document; records have it in a field. */
function documentOptions(path: string, textField = "text"): DocumentOptions {
  return { format: unpackedName(path).endsWith(".txt") ? "documents" : "lines", textField };
}

/** How the records of a file become prompts. */
export interface PromptOptions {
  /** Only records whose `split` is this. */
  readonly split?: string | undefined;
  /** The field of the prompt; by default `text` or `prompt`. */
  readonly field?: string | undefined;
  /** "tldr": posts of Reddit in the paper's template ({@link fittedTldr}). */
  readonly format?: "plain" | "tldr" | undefined;
  /** Of "tldr": posts of these forums only, and tokens of a prompt at most. */
  readonly distribution?: Distribution | undefined;
  readonly maxTokens?: number | undefined;
  /** For conversations. By default those of the tokenizer's own template, and plain prompts stay plain. */
  readonly conversing?: Conversing | undefined;
}

/**
 * The prompts of a file of records: those with `{text}`, `{prompt}` (other fields are not read), `{messages}` or `{ids}`; or the lines of
 * a `.txt`.
 * @throws FormatError naming the line that is something else, or a conversation that nobody is asked to continue;
 *   ConfigError for conversations where the tokenizer has no chat template
 */
export async function readPrompts(
  path: string,
  tokenizer: Tokenizer,
  options: PromptOptions = {},
): Promise<Prompt[]> {
  const { split, field, format = "plain", distribution } = options;
  const prompter = createPrompter(tokenizer, options);
  const prompts: Prompt[] = [];
  if (unpackedName(path).endsWith(".txt") && format === "plain") {
    for await (const line of readDocuments(path, { format: "lines" }))
      prompts.push(prompter.text(line, path));
    return prompts;
  }
  for await (const { where, value } of readRecords(path, { prompt: field })) {
    if (split !== undefined && !(isRecord(value) && value["split"] === split)) continue;
    if (format === "plain") prompts.push(promptFrom(value, where, field === undefined, prompter));
    else {
      const post = redditPost(value, where);
      if (distribution === undefined || distributionOf(post) === distribution)
        prompts.push(prompter.tldr(post, where));
    }
  }
  return prompts;
}

/** Prompts of one tokenizer. */
interface Prompter {
  text(text: string, where: string): Prompt;
  messages(value: unknown, where: string): Prompt;
  ids(ids: readonly number[]): Prompt;
  tldr(post: RedditPost, where: string): Prompt;
}

function createPrompter(tokenizer: Tokenizer, options: PromptOptions): Prompter {
  const { conversing: how = conversing(tokenizer, {}), maxTokens = TLDR_TOKENS } = options;
  const ids: Prompter["ids"] = (all) => ({
    ids: [...all],
    text: tokenizer.decode(all, { skipSpecialTokens: true }),
  });
  const talk = (messages: readonly Message[], where: string): Prompt => ({
    ...ids(how.open().prompt(messages, where)),
    messages,
  });
  const text: Prompter["text"] = (plain, where) =>
    how.wrap ? talk(how.wrap(plain), where) : promptOf(plain, tokenizer);
  return {
    ids,
    text,
    messages(value, where) {
      const messages = readMessages(value, where);
      checkAsks(messages, where);
      return talk(messages, where);
    },
    tldr: (post, where) =>
      text(
        fittedTldr(post, (whole) => text(whole, where).ids.length <= maxTokens, where),
        where,
      ),
  };
}

/** @param free whether `text` may stand for `prompt` */
function promptFrom(value: unknown, where: string, free: boolean, prompter: Prompter): Prompt {
  const { prompt, text: other, messages, ids } = isRecord(value) ? value : {};
  const text = free ? (other ?? prompt) : prompt;
  if (typeof text === "string") return prompter.text(text, where);
  if (Array.isArray(text) || messages !== undefined) return prompter.messages(text ?? messages, where);
  if (Array.isArray(ids) && ids.every((id) => Number.isInteger(id) && id >= 0))
    return prompter.ids(ids as number[]);
  const got = JSON.stringify(value)?.slice(0, 80) ?? "nothing";
  throw new FormatError(`${where}: expected {"prompt"}, {"text"}, {"messages"} or {"ids"}, got ${got}`);
}

/** A plain prompt, in a conversation where that is asked for. */
export const promptOfText = (text: string, tokenizer: Tokenizer, how: Conversing): Prompt =>
  createPrompter(tokenizer, { conversing: how }).text(text, "--prompt");
