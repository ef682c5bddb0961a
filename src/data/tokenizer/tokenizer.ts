/**
 * Text to token ids and back, by `@huggingface/tokenizers` from the files of a Hugging Face folder.
 */
import { Tokenizer as HfTokenizer } from "@huggingface/tokenizers";
import { ConfigError, FormatError, messageOf } from "../../errors.ts";
import { writeTexts } from "../files.ts";
import { blobsOf, type Place } from "../folder.ts";
import { type BpeSettings, bpeTexts, trainBpe } from "./bpe.ts";
import { byteLevelEncoder, type Encode } from "./byte-level.ts";
import { chatTemplatesIn, readTokenizerFiles, type TokenizerFiles } from "./files.ts";
import { wordSplit } from "./sentence-piece.ts";

/** A tokenizer: a vocabulary, its special tokens, and the two directions. */
export interface Tokenizer {
  /** Largest id plus one. A model may have more rows (padding), never fewer. */
  readonly vocabSize: number;
  readonly bosId?: number;
  readonly eosId?: number;
  readonly padId?: number;
  /** Ids that end a response, as `generation_config.json` lists them; empty where it does not. */
  readonly endIds: readonly number[];
  /** Ids that `skipSpecialTokens` leaves out. */
  readonly specialIds: ReadonlySet<number>;
  /** `bos_token`, `eos_token`… as the vocabulary spells them. */
  readonly specialTokens: Readonly<Record<string, string>>;
  /** Jinja templates of conversations, by name; the usual one is "default". */
  readonly chatTemplates: ReadonlyMap<string, string>;
  /** Ids of `text`. `addSpecialTokens` (default true) adds what the tokenizer's own template says: BOS for Llama. */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[];
  /**
   * Text of `ids`, exactly as spelled: the clean-up of spaces before punctuation that some configs ask for is not done.
   * Ids without a token (the padding rows of a model) give nothing. Throws ConfigError for what is no id at all.
   */
  decode(ids: Iterable<number>, options?: { readonly skipSpecialTokens?: boolean }): string;
  /** Id of a token as the vocabulary spells it. */
  idOf(token: string): number | undefined;
  /** How the vocabulary spells the token of an id. */
  tokenOf(id: number): string | undefined;
  /** What `tokenizer.json` says, or would say. */
  readonly json: Readonly<Record<string, unknown>>;
  /** The same tokenizer with another chat template, which is saved with it. */
  withChatTemplate(template: string): Tokenizer;
  /** `tokenizer.json` and `tokenizer_config.json` by name: what {@link Tokenizer.save} writes, for a page to offer. */
  files(): Record<string, Blob>;
  /** Writes them into `folder`. */
  save(folder: string): Promise<void>;
}

/**
 * Loads the tokenizer at `place`, a folder's path, an address, or files by name: `tokenizer.json`, or `vocab.json` and `merges.txt` of a byte-level BPE, or `vocab.txt`
 * of a WordPiece. Special tokens
 * come from `tokenizer_config.json`, then `special_tokens_map.json`, then the ids in `config.json`.
 * Throws FormatError when files are missing, malformed, or of a kind that the library does not know.
 */
export async function loadTokenizer(place: Place): Promise<Tokenizer> {
  const files = await readTokenizerFiles(place);
  return wrap(build(files), files);
}

/**
 * Learns a byte-level BPE from `texts`: of the same texts and settings always the same.
 * @throws ConfigError when `vocabSize` has no room for the 256 bytes and the special tokens
 */
export const trainTokenizer = (texts: Iterable<string>, settings: BpeSettings): Promise<Tokenizer> =>
  loadTokenizer(blobsOf(bpeTexts(trainBpe(texts, settings))));

/** Turns a stream of ids into text, character by complete character. */
export interface TextStream {
  /** The text that `id` completes; empty while the last character still misses bytes. */
  push(id: number): string;
  /** What is left at the end: bytes that never became a character, as U+FFFD. */
  flush(): string;
}

/**
 * A decoder for one sequence: all that `push` and `flush` answer, joined, is `decode` of all the ids.
 * Each step decodes only the ids since the last complete character and one before.
 */
export function createTextStream(
  tokenizer: Tokenizer,
  options: { readonly skipSpecialTokens?: boolean } = {},
): TextStream {
  const { skipSpecialTokens = true } = options;
  let window: number[] = [];
  let given = 0; // characters of the window's text that were answered already
  const take = (text: string, end: number): string => {
    const piece = text.slice(given, end);
    given = Math.max(given, end);
    return piece;
  };
  return {
    push(id) {
      if (skipSpecialTokens && tokenizer.specialIds.has(id)) return "";
      window.push(id);
      const text = tokenizer.decode(window);
      // An unfinished character shows as one U+FFFD at the end; whatever stands before it will not change.
      if (text.endsWith("\uFFFD")) return take(text, text.length - 1);
      const piece = take(text, text.length);
      // The last id stays as context: a decoder may treat the first token of a text in its own way.
      window = [id];
      given = tokenizer.decode(window).length;
      return piece;
    },
    flush() {
      const text = tokenizer.decode(window);
      const piece = take(text, text.length);
      window = [];
      given = 0;
      return piece;
    },
  };
}

function build({ json, config, where }: TokenizerFiles): HfTokenizer {
  const optional = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null };
  try {
    const words = wordSplit(json);
    const given = words ? { ...json, pre_tokenizer: words } : json;
    const hf = new HfTokenizer({ ...optional, added_tokens: [], ...given }, config);
    if (hf.model === null) throw new Error("it has no model");
    return hf;
  } catch (error) {
    throw unusable(where.json, error);
  }
}

const unusable = (path: string, error: unknown): FormatError =>
  new FormatError(`${path}: not a tokenizer that @huggingface/tokenizers reads (${messageOf(error)})`);

/** The library finds out about some malformed files only when it uses them. */
function guarded<T>(path: string, use: () => T): T {
  try {
    return use();
  } catch (error) {
    throw error instanceof FormatError ? error : unusable(path, error);
  }
}

/** `config.json` may list several end tokens: the first is the one to write. */
function roleId(
  hf: HfTokenizer,
  role: "bos" | "eos" | "pad",
  { names, model }: TokenizerFiles,
): number | undefined {
  const name = names[`${role}_token`];
  const named = name === undefined ? undefined : hf.token_to_id(name);
  if (named !== undefined) return named;
  const given = model[`${role}_token_id`];
  const id: unknown = Array.isArray(given) ? given[0] : given;
  return typeof id === "number" && hf.id_to_token(id) !== undefined ? id : undefined;
}

function wrap(hf: HfTokenizer, files: TokenizerFiles): Tokenizer {
  const { config, names, json, endIds } = files;
  const path = files.where.json;
  const added = [...hf.get_added_tokens_decoder().values()];
  const specialIds = new Set(added.filter((token) => token.special).map((token) => token.id));
  const [bos, eos, pad] = (["bos", "eos", "pad"] as const).map((role) => roleId(hf, role, files));
  const encode = guarded(path, () => byteLevelEncoder(hf, json, config)) ?? byLibrary(hf);
  const shown = (id: number, skip: boolean): boolean => {
    if (!Number.isInteger(id) || id < 0) {
      throw new ConfigError(`tokenizer: expected a token id, a whole number from 0, got ${id}`);
    }
    return hf.id_to_token(id) !== undefined && !(skip && specialIds.has(id));
  };
  return {
    vocabSize: hf.model?.vocab.length ?? 0,
    ...(bos !== undefined && { bosId: bos }),
    ...(eos !== undefined && { eosId: eos }),
    ...(pad !== undefined && { padId: pad }),
    endIds: endIds.filter((id) => hf.id_to_token(id) !== undefined),
    specialIds,
    specialTokens: names,
    chatTemplates: chatTemplatesIn(files),
    encode: (text, { addSpecialTokens = true } = {}) =>
      guarded(path, () => checked(encode(text, addSpecialTokens))),
    decode: (all, { skipSpecialTokens = false } = {}) => {
      const kept = [...all].filter((id) => shown(id, skipSpecialTokens));
      // The library refuses an empty list.
      if (kept.length === 0) return "";
      return guarded(path, () => hf.decode(kept, { clean_up_tokenization_spaces: false }));
    },
    idOf: (token) => hf.token_to_id(token),
    tokenOf: (id) => hf.id_to_token(id),
    json,
    withChatTemplate: (template) => wrap(hf, { ...files, config: { ...config, chat_template: template } }),
    files: () => blobsOf(textsOf(files)),
    save: (folder) => writeTexts(folder, textsOf(files)),
  };
}

const byLibrary =
  (hf: HfTokenizer): Encode =>
  (text, addSpecialTokens) =>
    hf.encode(text, { add_special_tokens: addSpecialTokens }).ids;

/** A piece that is not in the vocabulary, where there is no token for the unknown either. */
function checked(ids: number[]): number[] {
  if (ids.includes(undefined as never)) throw new Error("a part of the text has no token");
  return ids;
}

/** What is saved, by the names of the files. */
function textsOf({ json, config, names }: TokenizerFiles): Record<string, string> {
  const settings = { ...config, ...names };
  return {
    "tokenizer.json": JSON.stringify(json),
    "tokenizer_config.json": `${JSON.stringify(settings, null, 2)}\n`,
  };
}
