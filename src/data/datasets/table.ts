/** Rows of CSV, TSV and Parquet files as records by the names of their columns; both stream. */
import { pipeline, Readable } from "node:stream";
import { FormatError, messageOf } from "../../errors.ts";
import { kindOf } from "../files.ts";
import { readUnpacked, unpackedName } from "./unpack.ts";

/** A row. `line` counts from 1: the line of a text file that it ends on, or the row of a Parquet file. */
export interface TableRow {
  readonly line: number;
  readonly value: Readonly<Record<string, unknown>>;
}

/** Whether a file's name says that it is a table. */
export const isTable = (path: string): boolean =>
  /\.parquet$/i.test(path) || /\.(csv|tsv)$/i.test(unpackedName(path));

/**
 * The rows of a table. Cells of CSV are texts; the first line names the columns. In memory stands a piece of the file, of
 * Parquet a group of rows.
 * @throws FormatError for a missing or malformed file, naming the line where there is one
 */
export function readTable(path: string): AsyncGenerator<TableRow> {
  return /\.parquet$/i.test(path) ? readParquet(path) : readCsv(path);
}

async function* readCsv(path: string): AsyncGenerator<TableRow> {
  // Both libraries are loaded by those alone who need them.
  const { CsvError, parse } = await import("csv-parse");
  const parser = parse({
    bom: true,
    record_delimiter: ["\r\n", "\n"],
    delimiter: /\.tsv$/i.test(unpackedName(path)) ? "\t" : ",",
    info: true,
    skip_empty_lines: true,
    columns: (header: string[]) => checkedHeader(path, header),
  });
  // The iterator below throws what breaks either of them.
  pipeline(Readable.from(textOf(path)), parser, () => undefined);
  try {
    for await (const row of parser) {
      const { record, info } = row as { record: Record<string, unknown>; info: { lines: number } };
      yield { line: info.lines, value: record };
    }
  } catch (error) {
    if (error instanceof CsvError) throw new FormatError(`${path}: not CSV: ${error.message}`);
    throw error;
  }
}

function checkedHeader(path: string, header: readonly string[]): string[] {
  const names = header.map((name) => name.trim());
  const twice = names.find((name, i) => name === "" || names.indexOf(name) !== i);
  if (twice === undefined) return names;
  throw new FormatError(
    `${path}:1: expected the names of the columns, each once, got ${JSON.stringify(twice)} ${twice === "" ? "as a name" : "twice"}`,
  );
}

async function* textOf(path: string): AsyncGenerator<string> {
  const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  try {
    for await (const piece of readUnpacked(path)) yield utf8.decode(piece, { stream: true });
    yield utf8.decode();
  } catch (error) {
    if (error instanceof FormatError) throw error;
    throw new FormatError(`${path}: not UTF-8; convert the file to UTF-8 first`);
  }
}

async function* readParquet(path: string): AsyncGenerator<TableRow> {
  if ((await kindOf(path)) !== "file") throw new FormatError(`${path}: no such file; check the path`);
  let failed = false;
  try {
    const { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects, parquetSchema } =
      await import("hyparquet");
    const whole = await asyncBufferFromFile(path);
    const file = settled(whole, () => failed);
    const metadata = await parquetMetadataAsync(file);
    checkColumns(leavesOf(parquetSchema(metadata)), metadata.row_groups);
    let first = 0;
    for (const { num_rows: count } of metadata.row_groups) {
      const end = first + Number(count);
      const rows = await parquetReadObjects({ file, metadata, rowStart: first, rowEnd: end });
      for (const row of rows) yield { line: ++first, value: plain(row) as Record<string, unknown> };
      first = end;
    }
  } catch (error) {
    failed = true;
    throw new FormatError(
      `${path}: not a Parquet file that can be read (${messageOf(error)}); expected one without compression, or with snappy or gzip`,
    );
  }
}

/** A schema as hyparquet has it. */
interface Branch {
  readonly path: readonly string[];
  readonly children: readonly Branch[];
}

/** The columns of a schema, by their whole names. */
const leavesOf = ({ path, children }: Branch): string[] =>
  children.length === 0 ? [JSON.stringify(path)] : children.flatMap(leavesOf);

interface RowGroup {
  readonly columns: readonly { readonly meta_data?: { readonly path_in_schema: readonly string[] } }[];
}

/** A group with a column twice, or with one of no schema: the library would read it, and hear of no failure. */
function checkColumns(leaves: readonly string[], groups: readonly RowGroup[]): void {
  for (const { columns } of groups) {
    const paths = columns.map(({ meta_data: about }) => JSON.stringify(about?.path_in_schema));
    const odd = paths.find((path, i) => !leaves.includes(path) || paths.indexOf(path) !== i);
    if (odd !== undefined)
      throw new Error(`a group of rows has the column ${odd} twice, or the schema lacks it`);
  }
}

/** What hyparquet reads from. */
interface Bytes {
  readonly byteLength: number;
  slice(start: number, end?: number): Promise<ArrayBuffer> | ArrayBuffer;
}

/**
 * The same bytes for a library that stops at the first broken column while others are on their way, and leaves nobody to hear how
 * those fail: once reading has `failed` they never come.
 */
function settled({ byteLength, slice }: Bytes, failed: () => boolean): Bytes {
  const read = async (start: number, end = byteLength): Promise<ArrayBuffer> => {
    await new Promise(setImmediate); // what stops at once has stopped
    if (failed()) return new Promise<never>(() => {});
    if (!(start >= 0 && end >= start && end <= byteLength))
      throw new Error(`it names bytes ${start} to ${end} of ${byteLength}`);
    const bytes = await slice(start, end);
    return failed() ? new Promise<never>(() => {}) : bytes;
  };
  const handled = (start: number, end?: number): Promise<ArrayBuffer> => {
    const bytes = read(start, end);
    bytes.catch(() => undefined); // fetched ahead, and perhaps never asked for
    return bytes;
  };
  return { byteLength, slice: handled };
}

/** 64-bit integers as numbers: what JSON would hold. */
function plain(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype)
    return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
}
