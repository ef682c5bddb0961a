/**
 * Text to train on: plain files of documents or lines, and records: JSONL, CSV, TSV, Parquet; all but Parquet in gzip too. Everything streams; every complaint names file and line.
 * Wherever a path is taken, a pattern or a dataset in the cache is as well ({@link dataFiles}): its files are read one after the other.
 */
import { ConfigError, FormatError } from "../../errors.ts";
import { createRandom } from "../../tensor/random.ts";
import { isRecord, parseJson } from "../json.ts";
import { ASSISTANT, checkAnswers, type Message, readMessages } from "../tokenizer/chat.ts";
import { dataFiles } from "./files.ts";
import { isTable, readTable } from "./table.ts";
import { readUnpacked, unpackedName } from "./unpack.ts";

/** One record: a text, a prompt with its response, token ids, or a conversation. `where` is its file and line, as messages name it. */
export type Example =
  | { readonly text: string; readonly where: string }
  | { readonly prompt: string; readonly response: string; readonly where: string }
  | { readonly ids: readonly number[]; readonly where: string }
  | { readonly messages: readonly Message[]; readonly where: string };

/** Which field or column of a file holds what we call by the key: `{ text: "review" }`. */
export type FieldNames = Readonly<Record<string, string | undefined>>;

/** What a reward judges: a text, or a conversation that ends with the assistant's answer. */
export type Judged = string | { readonly messages: readonly Message[]; readonly where: string };

/** A text and what a reward model should make of it. */
export interface LabelledText {
  readonly text: Judged;
  /** 0 (bad) or 1 (good). */
  readonly label: 0 | 1;
}

/** How to cut a text file: at every `separator` (default `<|endoftext|>`), or at every line. */
export interface DocumentOptions {
  readonly format?: "documents" | "lines";
  readonly separator?: string;
  /** Where a file of records has its texts; "text" by default. */
  readonly textField?: string;
}

/**
 * The lines of a UTF-8 file, without `\n` or `\r\n`, numbered from 1; a byte order mark is left out.
 * Only these end a line: U+2028 may stand inside a JSON string. Throws FormatError for a missing file or broken UTF-8.
 */
export async function* readLines(path: string): AsyncGenerator<{ line: number; text: string }> {
  const decode = strictDecoder(path);
  let line = 0;
  let rest: Uint8Array[] = []; // pieces of the line that has not ended yet
  for await (const piece of readUnpacked(path)) {
    let start = 0;
    for (let end = piece.indexOf(10); end >= 0; end = piece.indexOf(10, start)) {
      yield { line: ++line, text: decode([...rest, piece.subarray(start, end)], line) };
      rest = [];
      start = end + 1;
    }
    if (start < piece.length) rest.push(piece.subarray(start));
  }
  if (rest.length > 0) yield { line: ++line, text: decode(rest, line) };
}

/** The values of a JSONL file; blank lines are skipped. Throws FormatError with the line of the first malformed one. */
export async function* readJsonl(path: string): AsyncGenerator<{ line: number; value: unknown }> {
  for await (const { line, text } of readLines(path)) {
    if (text.trim() !== "") yield { line, value: parseJson(text, `${path}:${line}`) };
  }
}

/** Whether a file's name says that it holds records, and not plain text. */
export const holdsRecords = (path: string): boolean => /\.jsonl?$/.test(unpackedName(path)) || isTable(path);

/** A record. */
export interface DataRecord {
  /** Its file and line: "data/train.jsonl:17". */
  readonly where: string;
  readonly value: unknown;
}

/**
 * The records of a file: rows of a table where its name says so (.csv, .tsv, .parquet), else lines of JSONL.
 * @param names where fields are called otherwise: a record then has ours beside its own
 * @throws FormatError as {@link readJsonl}, {@link readTable}; for a record without a field that is named; ConfigError as {@link dataFiles}
 */
export async function* readRecords(path: string, names: FieldNames = {}): AsyncGenerator<DataRecord> {
  const renamed = Object.entries(names).filter(([ours, theirs]) => theirs !== undefined && theirs !== ours);
  for (const file of await dataFiles(path)) {
    for await (const { line, value } of isTable(file) ? readTable(file) : readJsonl(file)) {
      const where = `${file}:${line}`;
      yield { where, value: renamed.length === 0 ? value : withOurNames(value, renamed, where) };
    }
  }
}

function withOurNames(
  value: unknown,
  renamed: readonly (readonly [string, string | undefined])[],
  where: string,
): unknown {
  const record: Record<string, unknown> = { ...(value as object) };
  for (const [ours, theirs] of renamed) {
    if (!isRecord(value) || !Object.hasOwn(value, theirs!)) {
      const has = isRecord(value) ? Object.keys(value).join(", ") : brief(value);
      throw new FormatError(`${where}: expected a field "${theirs}" with the ${ours}, it has ${has}`);
    }
    record[ours] = value[theirs!];
  }
  return record;
}

/**
 * The documents of a text file, or the texts of a file of records, trimmed, empty ones left out. In memory stands one document, and what was read with it.
 * Throws FormatError for a missing file or broken UTF-8, ConfigError for an empty separator.
 */
export async function* readDocuments(path: string, options: DocumentOptions = {}): AsyncGenerator<string> {
  const { format = "documents", separator = "<|endoftext|>", textField = "text" } = options;
  if (separator === "") throw new ConfigError("dataset: expected a separator, got an empty one");
  if (holdsRecords(path)) {
    for await (const { text } of readTexts(path, textField)) yield* nonEmpty([text]);
    return;
  }
  for (const file of await dataFiles(path))
    yield* format === "lines" ? readPlainLines(file) : readSeparated(file, separator);
}

async function* readPlainLines(file: string): AsyncGenerator<string> {
  for await (const { text } of readLines(file)) yield* nonEmpty([text]);
}

async function* readSeparated(file: string, separator: string): AsyncGenerator<string> {
  let rest = "";
  for await (const lines of readLineGroups(file)) {
    const parts = (rest + lines).split(separator);
    rest = parts.pop() ?? "";
    yield* nonEmpty(parts);
  }
  yield* nonEmpty([rest]);
}

/** The texts in one field of all records. Throws FormatError, naming the line, where there is none. */
export async function* readTexts(
  path: string,
  field: string,
): AsyncGenerator<{ text: string; where: string }> {
  for await (const { where, value } of readRecords(path)) {
    const text = isRecord(value) ? value[field] : undefined;
    if (typeof text !== "string") {
      const has = isTable(path) ? `columns ${Object.keys(value as object).join(", ")}` : brief(text);
      throw new FormatError(`${where}: expected a text in "${field}", got ${has}`);
    }
    yield { text, where };
  }
}

/** The examples of a file of records. Throws FormatError, naming the line, for one that is none of the four kinds. */
export async function* readExamples(path: string, names: FieldNames = {}): AsyncGenerator<Example> {
  for await (const { where, value } of readRecords(path, names)) {
    const example = toExample(value, where);
    const named = names["text"] ?? names["response"];
    if (example === undefined && named !== undefined)
      throw new FormatError(
        `${where}: expected a text in "${named}", got ${brief((value as Record<string, unknown>)[named])}`,
      );
    if (example === undefined) {
      throw new FormatError(
        `${where}: expected {"text"}, {"prompt", "response"}, {"messages"} or {"ids"}, got ${brief(value)}`,
      );
    }
    yield example;
  }
}

/** Where labelled text comes from: records of `{text, label}` or `{messages, label}`, or one file of good lines and one of bad ones. */
export type LabelledSource =
  | { readonly file: string }
  | { readonly positive: string; readonly negative: string };

/**
 * All labelled texts, in the order of the file (positive before negative). Labels are 0 and 1, or false and true.
 * Throws FormatError, naming the line, for anything else.
 */
export async function readLabelled(source: LabelledSource, names: FieldNames = {}): Promise<LabelledText[]> {
  if ("file" in source) return readLabelledRecords(source.file, names);
  const labelled: LabelledText[] = [];
  for (const [path, label] of [
    [source.positive, 1],
    [source.negative, 0],
  ] as const) {
    for await (const text of readDocuments(path, { format: "lines" })) labelled.push({ text, label });
  }
  return labelled;
}

/** A text that is preferred to another; both with the prompt that they answer. */
export interface TextPair {
  readonly chosen: Judged;
  readonly rejected: Judged;
}

/**
 * Preferences: records of `{prompt?, chosen, rejected}`, the last two by the names given: texts, with the prompt before both; or lists of
 * messages, which are whole conversations, or what the assistant answers to `prompt` (TRL's formats).
 * Throws FormatError, naming the line, for anything else.
 */
export async function readPreferences(
  path: string,
  chosenField: string,
  rejectedField: string,
): Promise<TextPair[]> {
  const pairs: TextPair[] = [];
  for await (const { where, value } of readRecords(path)) {
    const record = isRecord(value) ? value : {};
    const { prompt, [chosenField]: chosen, [rejectedField]: rejected } = record;
    if (Array.isArray(chosen) && Array.isArray(rejected)) {
      const whole = (answer: unknown): Judged => conversationOf(prompt, answer, where);
      pairs.push({ chosen: whole(chosen), rejected: whole(rejected) });
    } else
      pairs.push(
        plainPair(prompt, chosen, rejected, () => {
          const fields = `"${chosenField}" and "${rejectedField}"`;
          return `${where}: expected texts in ${fields}, and perhaps a "prompt", or lists of messages, got ${brief(value)}`;
        }),
      );
  }
  return pairs;
}

function plainPair(prompt: unknown, chosen: unknown, rejected: unknown, problem: () => string): TextPair {
  const before = prompt ?? "";
  if (typeof before === "string" && typeof chosen === "string" && typeof rejected === "string")
    return { chosen: before + chosen, rejected: before + rejected };
  throw new FormatError(problem());
}

/** An answer behind its prompt; one that begins otherwise than with the assistant holds the prompt already. */
function conversationOf(prompt: unknown, answer: unknown, where: string): Judged {
  const said = readMessages(answer, where);
  const asked = typeof prompt === "string" ? [{ role: "user", content: prompt }] : (prompt ?? []);
  const before = said[0]!.role === ASSISTANT ? asked : [];
  return answeredIn([...(Array.isArray(before) ? before : [before]), ...said], where);
}

/**
 * Splits `items` into training and held-out ones by a seeded permutation; both keep the order of `items`.
 * `fraction` of them (rounded) are held out. Throws ConfigError when one side would be empty.
 */
export function splitHeldOut<T>(
  items: readonly T[],
  { fraction, seed }: { readonly fraction: number; readonly seed: number },
): { train: T[]; heldOut: T[] } {
  const count = Math.round(items.length * fraction);
  if (!(count > 0 && count < items.length)) {
    throw new ConfigError(
      `dataset: holding out ${fraction} of ${items.length} items leaves one side empty; expected a fraction between 0 and 1 and more items`,
    );
  }
  const order = createRandom(seed, "held-out").permutation(items.length);
  const chosen = new Set(order.slice(0, count));
  return {
    train: items.filter((_, i) => !chosen.has(i)),
    heldOut: items.filter((_, i) => chosen.has(i)),
  };
}

async function readLabelledRecords(path: string, names: FieldNames): Promise<LabelledText[]> {
  const labelled: LabelledText[] = [];
  for await (const { where, value } of readRecords(path, names)) {
    const { text, messages, label: given } = isRecord(value) ? value : {};
    // Cells of CSV are texts.
    const label = toLabel(isTable(path) && /^[01]$/.test(String(given)) ? Number(given) : given);
    if ((typeof text !== "string" && messages === undefined) || label === undefined) {
      throw new FormatError(
        `${where}: expected {"text": string, "label": 0 or 1}, or {"messages"} in place of the text, got ${brief(value)}`,
      );
    }
    labelled.push({ text: typeof text === "string" ? text : answeredIn(messages, where), label });
  }
  return labelled;
}

function answeredIn(value: unknown, where: string): Judged {
  const messages = readMessages(value, where);
  checkAnswers(messages, where);
  return { messages, where };
}

function toLabel(value: unknown): 0 | 1 | undefined {
  if (value === 0 || value === false) return 0;
  return value === 1 || value === true ? 1 : undefined;
}

function toExample(value: unknown, where: string): Example | undefined {
  if (!isRecord(value)) return undefined;
  const { text, prompt, response, messages, ids } = value;
  if (typeof text === "string") return { text, where };
  if (typeof prompt === "string" && typeof response === "string") return { prompt, response, where };
  if (messages !== undefined) return { messages: readMessages(messages, where), where };
  const isId = (id: unknown): boolean => Number.isInteger(id) && (id as number) >= 0;
  return Array.isArray(ids) && ids.every(isId) ? { ids: ids as number[], where } : undefined;
}

/** Decodes a line given in pieces, refusing bytes that are not UTF-8 instead of replacing them. */
function strictDecoder(path: string): (pieces: readonly Uint8Array[], line: number) => string {
  const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  return (pieces, line) => {
    const bytes = pieces.length === 1 ? (pieces[0] as Uint8Array) : joinBytes(pieces);
    const end = bytes.at(-1) === 0x0d ? bytes.length - 1 : bytes.length;
    try {
      const text = utf8.decode(bytes.subarray(0, end));
      return line === 1 && text.startsWith("\uFEFF") ? text.slice(1) : text;
    } catch {
      throw new FormatError(`${path}:${line}: not UTF-8; convert the file to UTF-8 first`);
    }
  };
}

function joinBytes(pieces: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    joined.set(piece, at);
    at += piece.length;
  }
  return joined;
}

function* nonEmpty(documents: readonly string[]): Generator<string> {
  for (const document of documents) {
    const trimmed = document.trim();
    if (trimmed !== "") yield trimmed;
  }
}

/** The text of a file in groups of whole lines of about a megabyte, newlines included: a separator may hold some. */
async function* readLineGroups(path: string): AsyncGenerator<string> {
  let lines: string[] = [];
  let length = 0;
  for await (const { text } of readLines(path)) {
    lines.push(text, "\n");
    length += text.length + 1;
    if (length < 1 << 20) continue;
    yield lines.join("");
    lines = [];
    length = 0;
  }
  yield lines.join("");
}

function brief(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
