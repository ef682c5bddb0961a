/** Files of text to token ids: what `sft` trains on. */
import { packDocuments } from "../../data/batch.ts";
import {
  type Example,
  type FieldNames,
  holdsRecords,
  readDocuments,
  readExamples,
  splitHeldOut,
} from "../../data/datasets/dataset.ts";
import { exists } from "../../data/files.ts";
import { type Conversing, exchange } from "../../data/tokenizer/chat.ts";
import { loadTokenizer, type Tokenizer, trainTokenizer } from "../../data/tokenizer/tokenizer.ts";
import { ConfigError } from "../../errors.ts";
import { blockSource, type LmSource, rowSource, type TrainingRow } from "../../train/examples.ts";
import type { LmData } from "../../train/sft.ts";

/** What a file holds: documents (texts, or ids already), prompts with responses, or conversations. */
export type TextData =
  | { readonly kind: "documents"; readonly documents: readonly (string | readonly number[])[] }
  | {
      readonly kind: "pairs";
      readonly pairs: readonly {
        readonly prompt: string;
        readonly response: string;
        readonly where: string;
      }[];
    }
  | { readonly kind: "chats"; readonly chats: readonly Conversation[] };

type Conversation = Extract<Example, { messages: unknown }>;

/**
 * Reads `path`: records (JSONL, CSV, TSV, Parquet) where its name says so, else text whose documents are separated by `<|endoftext|>`.
 * @param names what the fields of the file are called
 * @throws FormatError naming file and line; ConfigError when the file holds nothing, or several kinds of lines
 */
export async function readTextData(path: string, names: FieldNames): Promise<TextData> {
  const documents: (string | readonly number[])[] = [];
  const pairs: Extract<Example, { prompt: string }>[] = [];
  const chats: Conversation[] = [];
  if (!holdsRecords(path)) for await (const text of readDocuments(path)) documents.push(text);
  else {
    for await (const example of readExamples(path, names)) {
      if ("prompt" in example) pairs.push(example);
      else if ("messages" in example) chats.push(example);
      else documents.push("text" in example ? example.text : example.ids);
    }
  }
  const [some, ...others] = [documents, pairs, chats].filter((kind) => kind.length > 0);
  if (some === undefined) throw new ConfigError(`${path}: holds no text; expected documents to train on`);
  if (others.length > 0) {
    const { where } = (pairs[0] ?? chats[0])!;
    const kind = pairs.length > 0 ? '{"prompt", "response"}' : '{"messages"}';
    throw new ConfigError(
      `${where}: ${kind} among lines of ${documents.length > 0 ? "text" : '{"messages"}'}; expected one kind in a file`,
    );
  }
  if (pairs.length > 0) return { kind: "pairs", pairs };
  return chats.length > 0 ? { kind: "chats", chats } : { kind: "documents", documents };
}

/** The texts that a tokenizer can be trained on. */
export function* textsOf(data: TextData): Generator<string> {
  if (data.kind === "pairs") for (const { prompt, response } of data.pairs) yield prompt + response;
  else if (data.kind === "chats")
    for (const { messages } of data.chats) yield messages.map(({ content }) => content).join("\n");
  else for (const document of data.documents) if (typeof document === "string") yield document;
}

/** How to train a tokenizer. */
export interface TrainTokenizerOptions {
  readonly vocabSize: number;
  /** Use the one in the folder: a run that resumes keeps its own. */
  readonly resume: boolean;
}

/**
 * A tokenizer trained on `texts` and written to `folder`; to none where that is undefined.
 * @throws ConfigError when there is no text to train on
 */
export async function trainedTokenizer(
  folder: string | undefined,
  texts: Iterable<string>,
  { vocabSize, resume }: TrainTokenizerOptions,
): Promise<Tokenizer> {
  if (folder !== undefined && resume && (await exists(`${folder}/tokenizer.json`)))
    return loadTokenizer(folder);
  const all = [...texts];
  if (all.length === 0)
    throw new ConfigError(
      "sft: the data are token ids; give the tokenizer they come from with --tokenizer DIR",
    );
  const tokenizer = await trainTokenizer(all, { vocabSize });
  if (folder !== undefined) await tokenizer.save(folder);
  return tokenizer;
}

/** How to turn text into items to train on. */
export interface EncodeOptions {
  readonly tokenizer: Tokenizer;
  /** How conversations are written, and whether pairs are such. */
  readonly conversing: Conversing;
  /** Longest sequence. */
  readonly blockSize: number;
  /** Cut responses that are too long instead of refusing them. */
  readonly truncate: boolean;
  /** Share of the documents or pairs that is held out; 0 = none. */
  readonly evalFraction: number;
  readonly seed: number;
}

/**
 * Token ids to train on and to evaluate on.
 * @throws ConfigError when the tokenizer has no end token, when there is too little text, or when a pair is too long
 */
export function encodeTextData(data: TextData, options: EncodeOptions): LmData {
  const { tokenizer, blockSize, conversing } = options;
  const eosId = tokenizer.eosId;
  if (eosId === undefined)
    throw new ConfigError(
      "sft: the tokenizer has no end token (eos_token in tokenizer_config.json); training needs one",
    );
  if (data.kind !== "documents") {
    const rows =
      data.kind === "chats" || conversing.wrap
        ? conversations(data, conversing).flatMap((chat) => encodeChat(chat, eosId, options))
        : data.pairs.map((pair) => encodePair(pair, eosId, options));
    return split(rows, options, (some) => rowSource(some, blockSize));
  }
  if (conversing.wrap)
    throw new ConfigError(
      "sft: --chat is for records of {prompt, response} or {messages}; the data are documents",
    );
  const documents = data.documents.map((d) => (typeof d === "string" ? tokenizer.encode(d) : d));
  return split(inParts(documents, options), options, (some) =>
    blockSource(packDocuments(some, { blockSize, eosId })),
  );
}

function split<T>(
  items: readonly T[],
  { evalFraction, seed }: EncodeOptions,
  source: (some: readonly T[]) => LmSource,
): LmData {
  if (evalFraction === 0) return { train: source(items) };
  const { train, heldOut } = splitHeldOut(items, { fraction: evalFraction, seed });
  return { train: source(train), heldOut: source(heldOut) };
}

/** A file of few long documents is held out by parts of them. */
function inParts(
  documents: readonly (readonly number[])[],
  { evalFraction, blockSize }: EncodeOptions,
): readonly (readonly number[])[] {
  if (evalFraction === 0 || documents.length * evalFraction >= 2) return documents;
  const length = 2 * blockSize;
  return documents.flatMap((ids) =>
    Array.from({ length: Math.ceil(ids.length / length) }, (_, i) => ids.slice(i * length, (i + 1) * length)),
  );
}

function encodePair(
  pair: { readonly prompt: string; readonly response: string; readonly where: string },
  eosId: number,
  options: EncodeOptions,
): TrainingRow {
  const { tokenizer } = options;
  const prompt = tokenizer.encode(pair.prompt);
  const response = tokenizer.encode(pair.response, { addSpecialTokens: false });
  const query = prompt.length > 0 ? prompt : [tokenizer.bosId ?? eosId];
  return fitted(query, [...response, eosId], pair.where, options);
}

function conversations(data: Exclude<TextData, { kind: "documents" }>, how: Conversing): Conversation[] {
  if (data.kind === "chats") return [...data.chats];
  return data.pairs.map((pair) => ({ messages: exchange(pair, how)!, where: pair.where }));
}

/** A row for each answer; the template ends it, or EOS does where the template has no token for that. */
function encodeChat({ messages, where }: Conversation, eosId: number, options: EncodeOptions): TrainingRow[] {
  const { conversing, tokenizer } = options;
  return conversing
    .open()
    .answers(messages, `sft: ${where}`)
    .map(({ prompt, response }) => {
      const ended = response.some((id) => id === eosId || tokenizer.specialIds.has(id));
      return fitted(prompt, ended ? response : [...response, eosId], where, options);
    });
}

function fitted(
  query: readonly number[],
  response: readonly number[],
  where: string,
  { blockSize, truncate }: EncodeOptions,
): TrainingRow {
  const ids = [...query, ...response];
  if (ids.length > blockSize + 1 && !(truncate && query.length <= blockSize)) {
    throw new ConfigError(
      `sft: ${where}: prompt and response have ${ids.length} tokens; expected at most ${blockSize + 1}. ` +
        "Raise --block, shorten the text, or cut responses with --truncate",
    );
  }
  return { ids: ids.slice(0, blockSize + 1), from: query.length };
}
