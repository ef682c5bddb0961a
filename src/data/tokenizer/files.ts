/** The files of a tokenizer in a Hugging Face folder, of any age: what is in them, checked. */
import { FormatError } from "../../errors.ts";
import { type Folder, locate, type Place } from "../folder.ts";
import { isRecord } from "../json.ts";
import { jsonOf, textOf } from "../reader.ts";
import { byteLevelJson } from "./bpe.ts";
import { readLlama2cTokenizer } from "./llama2c.ts";
import { ROBERTA_SPECIAL, robertaProcessor, wordPieceJson } from "./word-piece.ts";

type Fields = Readonly<Record<string, unknown>>;

/** What the files say. */
export interface TokenizerFiles {
  /** `tokenizer.json`, or the same of older files. */
  readonly json: Fields;
  /** `tokenizer_config.json`, with the chat templates of files of their own. */
  readonly config: Fields;
  /** `bos_token`, `eos_token`… as the vocabulary spells them. */
  readonly names: Readonly<Record<string, string>>;
  /** `config.json` of the model, empty where there is none. */
  readonly model: Fields;
  /** Ids that end a response, of `generation_config.json`. */
  readonly endIds: readonly number[];
  /** What messages call `tokenizer.json` and `tokenizer_config.json`. */
  readonly where: { readonly json: string; readonly config: string };
}

/**
 * Reads the files at `place`: of a folder, or a `tokenizer.bin` of llama2.c. Of a folder: `tokenizer.json`, or `vocab.json` and `merges.txt` of a byte-level BPE, or `vocab.txt` of a
 * WordPiece. Special tokens come from `tokenizer_config.json`, then `special_tokens_map.json`.
 * @throws FormatError when files are missing or malformed
 */
export async function readTokenizerFiles(place: Place): Promise<TokenizerFiles> {
  const { folder, file } = await locate(place);
  if (file) {
    const { json, config } = await readLlama2cTokenizer(file);
    const where = { json: file.path, config: file.path };
    return { json, config, names: spelledTokens(config), model: {}, endIds: [], where };
  }
  const where = { json: folder.at("tokenizer.json"), config: folder.at("tokenizer_config.json") };
  const config = await readRecord(folder, "tokenizer_config.json");
  const map = await readRecord(folder, "special_tokens_map.json");
  const model = await readRecord(folder, "config.json");
  const { eos_token_id: ends } = await readRecord(folder, "generation_config.json");
  const names = { ...spelledTokens(map), ...spelledTokens(config) };
  const json = await readTokenizerJson(folder, names, { config, model });
  checkIds(where.json, json);
  const endIds = [ends].flat().filter((id) => Number.isInteger(id)) as number[];
  const said = { ...lowerCasing(json), ...config };
  return { json, config: await withTemplateFile(folder, said), names, model, endIds, where };
}

/**
 * Chat templates by name. A single one is called "default".
 * @throws FormatError for what is neither a template nor a list of named ones
 */
export function chatTemplatesIn({ config, where }: TokenizerFiles): Map<string, string> {
  const { chat_template: given } = config;
  if (given === undefined || given === null) return new Map();
  if (typeof given === "string") return new Map([["default", given]]);
  const named = (Array.isArray(given) ? (given as unknown[]) : [undefined]).map((item) => {
    const { name, template } = isRecord(item) ? item : {};
    if (typeof name === "string" && typeof template === "string") return [name, template] as const;
    throw new FormatError(
      `${where.config}: expected chat_template to be a text, or a list of {"name", "template"}`,
    );
  });
  return new Map(named);
}

/** transformers 5 makes a BertTokenizer anew, and asks not `tokenizer.json` for its case but the config. */
function lowerCasing({ model, normalizer }: Fields): Fields {
  const lower = isRecord(normalizer) ? normalizer["lowercase"] : undefined;
  const isWordPiece = isRecord(model) && model["type"] === "WordPiece";
  return isWordPiece && typeof lower === "boolean" ? { do_lower_case: lower } : {};
}

/** A file of the template's own goes before the one in the config, as in transformers. */
async function withTemplateFile(folder: Folder, config: Fields): Promise<Fields> {
  const file = await folder.find("chat_template.jinja");
  return file ? { ...config, chat_template: await textOf(file) } : config;
}

/** The object in a JSON file; undefined where there is none. */
async function findRecord(folder: Folder, name: string): Promise<Fields | undefined> {
  const file = await folder.find(name);
  const value = file && (await jsonOf(file));
  if (!file || isRecord(value)) return value as Fields | undefined;
  throw new FormatError(`${file.path}: expected a JSON object`);
}

const readRecord = async (folder: Folder, name: string): Promise<Fields> =>
  (await findRecord(folder, name)) ?? {};

interface Beside {
  readonly config: Fields;
  readonly model: Fields;
}

async function readTokenizerJson(
  folder: Folder,
  names: Readonly<Record<string, string>>,
  beside: Beside,
): Promise<Fields> {
  const json = await findRecord(folder, "tokenizer.json");
  if (json) return json;
  const words = await folder.find("vocab.txt");
  const older = words
    ? wordPieceJson(words.path, await textOf(words), beside.config)
    : await readVocabAndMerges(folder, names, beside);
  return withAdded(older, await addedTokens(folder, beside.config));
}

async function readVocabAndMerges(
  folder: Folder,
  names: Readonly<Record<string, string>>,
  { model }: Beside,
): Promise<Fields> {
  const vocab = (await findRecord(folder, "vocab.json")) as Record<string, number> | undefined;
  const mergesFile = await folder.find("merges.txt");
  if (!vocab || !mergesFile) {
    const sentencePiece = await folder.find("tokenizer.model");
    throw new FormatError(
      `${folder.path}: expected tokenizer.json (or vocab.json and merges.txt, or vocab.txt), got ${sentencePiece ? "only tokenizer.model, which is not read; save tokenizer.json with transformers' AutoTokenizer" : "none; copy it from where the model came"}`,
    );
  }
  const lines = (await textOf(mergesFile)).split(/\r?\n/);
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

/** Tokens beside the vocabulary of older files: `added_tokens.json` ({content: id}), then `added_tokens_decoder` of the config. */
async function addedTokens(folder: Folder, config: Fields): Promise<readonly Fields[]> {
  const special = config["additional_special_tokens"];
  const named = new Set(Array.isArray(special) ? special.map((t) => (isRecord(t) ? t["content"] : t)) : []);
  const fromFile = Object.entries(await readRecord(folder, "added_tokens.json")).map(([content, id]) => ({
    id,
    content,
    special: named.has(content) || isBracketed(content),
  }));
  const decoder = config["added_tokens_decoder"];
  const fromConfig = Object.entries(isRecord(decoder) ? decoder : {}).map(([id, token]) => ({
    ...(isRecord(token) ? token : {}),
    id: Number(id),
  }));
  return [...new Map([...fromFile, ...fromConfig].map((token) => [token.id, token])).values()];
}

/** How special tokens are spelled where no file says which are: <pad>, [PAD], <|end|>. */
const isBracketed = (content: string): boolean => /^(<.+>|\[.+\])$/.test(content);

function withAdded(json: Fields, added: readonly Fields[]): Fields {
  const known = new Map((json["added_tokens"] as readonly Fields[]).map((token) => [token["id"], token]));
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  for (const token of added) known.set(token["id"], { ...flags, ...token });
  return { ...json, added_tokens: [...known.values()] };
}

/** More tokens than any vocabulary has: an id is a row of a matrix, and a place in a list. */
const MAX_ID = 1 << 26;

/**
 * The library takes ids as they come.
 * @throws FormatError for an id that is none, or a token without a spelling
 */
function checkIds(path: string, json: Fields): void {
  const { model, added_tokens: added = [] } = json;
  const vocab = isRecord(model) ? model["vocab"] : undefined;
  if (isRecord(vocab)) for (const [token, id] of Object.entries(vocab)) checkId(path, token, id);
  if (!Array.isArray(added)) throw new FormatError(`${path}: expected added_tokens to be a list`);
  for (const token of added as unknown[]) {
    const { content, id } = isRecord(token) ? token : {};
    if (typeof content !== "string")
      throw new FormatError(`${path}: expected {"id", "content"} in added_tokens`);
    checkId(path, content, id);
  }
}

function checkId(path: string, token: string, id: unknown): void {
  if (Number.isInteger(id) && (id as number) >= 0 && (id as number) < MAX_ID) return;
  throw new FormatError(
    `${path}: token ${JSON.stringify(token)}: expected an id, a whole number from 0, got ${JSON.stringify(id)}`,
  );
}
