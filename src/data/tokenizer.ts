/**
 * Text to token ids and back, by `@huggingface/tokenizers` from the files of a Hugging Face folder.
 */
import { Tokenizer as HfTokenizer } from "@huggingface/tokenizers";
import { join } from "node:path";
import { ConfigError, FormatError, messageOf } from "../errors.ts";
import { byteLevelJson } from "./bpe.ts";
import { ensureFolder, exists, readJson, readText, writeFileAtomic } from "./files.ts";
import { isRecord } from "./json.ts";
import { ROBERTA_SPECIAL, robertaProcessor, wordPieceJson } from "./word-piece.ts";

/** A tokenizer: a vocabulary, its special tokens, and the two directions. */
export interface Tokenizer {
  /** Largest id plus one. A model may have more rows (padding), never fewer. */
  readonly vocabSize: number;
  readonly bosId?: number;
  readonly eosId?: number;
  readonly padId?: number;
  /** Ids that `skipSpecialTokens` leaves out. */
  readonly specialIds: ReadonlySet<number>;
  /** Ids of `text`. `addSpecialTokens` (default true) adds what the tokenizer's own template says: BOS for Llama. */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[];
  /**
   * Text of `ids`, exactly as spelled: the clean-up of spaces before punctuation that some configs ask for is not done.
   * Ids without a token (the padding rows of a model) give nothing. Throws ConfigError for what is no id at all.
   */
  decode(ids: Iterable<number>, options?: { readonly skipSpecialTokens?: boolean }): string;
  /** Id of a token as the vocabulary spells it. */
  idOf(token: string): number | undefined;
  /** Writes `tokenizer.json` and `tokenizer_config.json` into `folder`. */
  save(folder: string): Promise<void>;
}

type Fields = Readonly<Record<string, unknown>>;

/**
 * Loads the tokenizer of `folder`: `tokenizer.json`, or `vocab.json` and `merges.txt` of a byte-level BPE, or `vocab.txt`
 * of a WordPiece. Special tokens
 * come from `tokenizer_config.json`, then `special_tokens_map.json`, then the ids in `config.json`.
 * Throws FormatError when files are missing, malformed, or of a kind that the library does not know.
 */
export async function loadTokenizer(folder: string): Promise<Tokenizer> {
  const config = await readRecord(join(folder, "tokenizer_config.json"));
  const map = await readRecord(join(folder, "special_tokens_map.json"));
  const model = await readRecord(join(folder, "config.json"));
  const names = { ...spelledTokens(map), ...spelledTokens(config) };
  const json = await readTokenizerJson(folder, names, { config, model });
  const hf = build(folder, json, config);
  const roles = { bos: roleId(hf, "bos", names, model), eos: roleId(hf, "eos", names, model) };
  const pad = roleId(hf, "pad", names, model);
  return wrap(hf, { ...roles, pad }, { json, config: { ...config, ...names } });
}

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

async function readRecord(path: string): Promise<Fields> {
  if (!(await exists(path))) return {};
  const value = await readJson(path);
  if (!isRecord(value)) throw new FormatError(`${path}: expected a JSON object`);
  return value;
}

async function readTokenizerJson(
  folder: string,
  names: Readonly<Record<string, string>>,
  { config, model }: { readonly config: Fields; readonly model: Fields },
): Promise<Fields> {
  const [path, words] = [join(folder, "tokenizer.json"), join(folder, "vocab.txt")];
  if (await exists(path)) return readRecord(path);
  if (await exists(words)) return wordPieceJson(words, await readText(words), config);
  const [vocabPath, mergesPath] = [join(folder, "vocab.json"), join(folder, "merges.txt")];
  if (!(await exists(vocabPath)) || !(await exists(mergesPath))) {
    throw new FormatError(
      `${folder}: expected tokenizer.json (or vocab.json and merges.txt, or vocab.txt), got none; copy it from where the model came`,
    );
  }
  const vocab = (await readRecord(vocabPath)) as Record<string, number>;
  const lines = (await readText(mergesPath)).split(/\r?\n/);
  const merges = lines.filter((line) => line !== "" && !line.startsWith("#version"));
  const isRoberta = model["model_type"] === "roberta";
  const named = [...Object.values(names), ...(isRoberta ? ROBERTA_SPECIAL : [])];
  const special = [...new Set(named)].filter((token) => Object.hasOwn(vocab, token));
  const json = byteLevelJson(
    vocab,
    merges,
    special.map((content) => ({ content, id: vocab[content] as number })),
  );
  return isRoberta ? { ...json, post_processor: robertaProcessor(vocab) } : json;
}

function build(folder: string, json: Fields, config: Fields): HfTokenizer {
  const optional = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null };
  try {
    const hf = new HfTokenizer({ ...optional, added_tokens: [], ...json }, config);
    if (hf.model === null) throw new Error("it has no model");
    return hf;
  } catch (error) {
    throw new FormatError(
      `${join(folder, "tokenizer.json")}: not a tokenizer that @huggingface/tokenizers reads (${messageOf(error)})`,
    );
  }
}

/** The entries `bos_token`, `eos_token`… as strings; older files spell them as `{content}`. */
function spelledTokens(fields: Fields): Record<string, string> {
  const names: Record<string, string> = {};
  for (const key of ["bos_token", "eos_token", "pad_token", "unk_token"]) {
    const value = fields[key];
    const content = isRecord(value) ? value["content"] : value;
    if (typeof content === "string") names[key] = content;
  }
  return names;
}

/** `config.json` may list several end tokens: the first is the one to write. */
function roleId(
  hf: HfTokenizer,
  role: "bos" | "eos" | "pad",
  names: Readonly<Record<string, string>>,
  model: Fields,
): number | undefined {
  const name = names[`${role}_token`];
  const named = name === undefined ? undefined : hf.token_to_id(name);
  if (named !== undefined) return named;
  const given = model[`${role}_token_id`];
  const id: unknown = Array.isArray(given) ? given[0] : given;
  return typeof id === "number" && hf.id_to_token(id) !== undefined ? id : undefined;
}

function wrap(
  hf: HfTokenizer,
  ids: { readonly [role in "bos" | "eos" | "pad"]: number | undefined },
  files: { readonly json: Fields; readonly config: Fields },
): Tokenizer {
  const added = [...hf.get_added_tokens_decoder().values()];
  const specialIds = new Set(added.filter((token) => token.special).map((token) => token.id));
  const shown = (id: number, skip: boolean): boolean => {
    if (!Number.isInteger(id) || id < 0) {
      throw new ConfigError(`tokenizer: expected a token id, a whole number from 0, got ${id}`);
    }
    return hf.id_to_token(id) !== undefined && !(skip && specialIds.has(id));
  };
  return {
    vocabSize: hf.model?.vocab.length ?? 0,
    ...(ids.bos === undefined ? {} : { bosId: ids.bos }),
    ...(ids.eos === undefined ? {} : { eosId: ids.eos }),
    ...(ids.pad === undefined ? {} : { padId: ids.pad }),
    specialIds,
    encode: (text, { addSpecialTokens = true } = {}) =>
      hf.encode(text, { add_special_tokens: addSpecialTokens }).ids,
    decode: (all, { skipSpecialTokens = false } = {}) => {
      const kept = [...all].filter((id) => shown(id, skipSpecialTokens));
      // The library refuses an empty list.
      return kept.length === 0 ? "" : hf.decode(kept, { clean_up_tokenization_spaces: false });
    },
    idOf: (token) => hf.token_to_id(token),
    save: (folder) => save(folder, files),
  };
}

async function save(
  folder: string,
  { json, config }: { readonly json: Fields; readonly config: Fields },
): Promise<void> {
  await ensureFolder(folder);
  await writeFileAtomic(join(folder, "tokenizer.json"), JSON.stringify(json));
  await writeFileAtomic(join(folder, "tokenizer_config.json"), `${JSON.stringify(config, null, 2)}\n`);
}
