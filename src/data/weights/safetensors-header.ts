/**
 * The header of a safetensors file, checked before anything is allocated from what it claims.
 * Format: u64 little-endian length N, N bytes of JSON `{name: {dtype, shape, data_offsets: [begin, end]}}`, then the data,
 * which the tensors cover from first to last byte without gap or overlap (github.com/huggingface/safetensors, "Format").
 */
import { FormatError } from "../../errors.ts";
import { isRecord, parseJson } from "../json.ts";
import type { FileReader } from "../reader.ts";

/** Bytes per element of every dtype that the format names in whole bytes. */
const dtypeBytes = {
  F64: 8,
  I64: 8,
  U64: 8,
  F32: 4,
  I32: 4,
  U32: 4,
  F16: 2,
  BF16: 2,
  I16: 2,
  U16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
} as const;

/** A safetensors element type, as the file spells it. */
export type Dtype = keyof typeof dtypeBytes;

/** Where one tensor lies. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Number of elements: the product of `shape`. */
  readonly count: number;
  /** The file that holds it. */
  readonly file: FileReader;
  /** First byte in the file, and number of bytes. */
  readonly offset: number;
  readonly bytes: number;
}

/** Everything the header says. */
export interface Header<T extends TensorInfo = TensorInfo> {
  readonly tensors: readonly T[];
  readonly metadata: Readonly<Record<string, string>>;
}

/** The format's own limit on the header, and more dimensions than any tensor has. */
const maxHeaderBytes = 100_000_000;
const maxRank = 16;

/** Bytes of one element. */
export function bytesOf(dtype: Dtype): number {
  return dtypeBytes[dtype];
}

/** Reads and checks the header of `file`. Throws FormatError naming file, tensor, expected and got. */
export async function readHeader(file: FileReader): Promise<Header> {
  const length = await readHeaderLength(file);
  const json = new Uint8Array(length);
  await file.read(json, 8);
  const fields = parseHeader(file.path, json);
  const data = { start: 8 + length, bytes: file.size - 8 - length };
  const tensors: TensorInfo[] = [];
  for (const [name, value] of Object.entries(fields)) {
    if (name !== "__metadata__") tensors.push(readEntry(file, name, value, data));
  }
  checkCoverage(file.path, tensors, data);
  return { tensors, metadata: readMetadata(file.path, fields["__metadata__"]) };
}

async function readHeaderLength(file: FileReader): Promise<number> {
  if (file.size < 8) {
    throw bad(
      file.path,
      `expected a header length of 8 bytes, the file has ${file.size}; it is empty or truncated`,
    );
  }
  const prefix = new Uint8Array(8);
  await file.read(prefix, 0);
  const claimed = new DataView(prefix.buffer).getBigUint64(0, true);
  const limit = Math.min(maxHeaderBytes, file.size - 8);
  if (claimed < 2n || claimed > BigInt(limit)) {
    throw bad(
      file.path,
      `expected a header of 2 to ${limit} bytes, got ${claimed}; it is truncated or not a safetensors file`,
    );
  }
  return Number(claimed);
}

function parseHeader(path: string, json: Uint8Array): Record<string, unknown> {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(json);
  } catch {
    throw bad(path, "the header is not UTF-8; the file is corrupt or not a safetensors file");
  }
  const fields = parseJson(text, `${path} (safetensors header)`);
  if (!isRecord(fields)) throw bad(path, "expected the header to be a JSON object");
  return fields;
}

function readEntry(
  file: FileReader,
  name: string,
  value: unknown,
  data: { start: number; bytes: number },
): TensorInfo {
  const { path } = file;
  const entry = isRecord(value) ? value : {};
  const dtype = readDtype(path, name, entry["dtype"]);
  const shape = readShape(path, name, entry["shape"]);
  const [begin, end] = readOffsets(path, name, entry["data_offsets"], data.bytes);
  const count = shape.reduce((product, size) => product * size, 1);
  const expected = count * bytesOf(dtype);
  if (expected !== end - begin) {
    throw bad(
      path,
      `tensor ${name}: ${dtype} [${shape.join(", ")}] takes ${expected} bytes, its data_offsets give ${end - begin}; the file is corrupt`,
    );
  }
  return { name, dtype, shape, count, file, offset: data.start + begin, bytes: expected };
}

function readDtype(path: string, name: string, value: unknown): Dtype {
  if (typeof value === "string" && Object.hasOwn(dtypeBytes, value)) return value as Dtype;
  const known = Object.keys(dtypeBytes).join(", ");
  throw bad(path, `tensor ${name}: expected a dtype of ${known}, got ${brief(value)}`);
}

function readShape(path: string, name: string, value: unknown): readonly number[] {
  const good =
    Array.isArray(value) &&
    value.length <= maxRank &&
    value.every((size: unknown) => Number.isSafeInteger(size) && (size as number) >= 0);
  if (good) return value as number[];
  throw bad(
    path,
    `tensor ${name}: expected a shape of at most ${maxRank} whole numbers, got ${brief(value)}`,
  );
}

function readOffsets(path: string, name: string, value: unknown, dataBytes: number): [number, number] {
  const [begin, end] = Array.isArray(value) && value.length === 2 ? (value as unknown[]) : [];
  const whole = Number.isSafeInteger(begin) && Number.isSafeInteger(end);
  const [from, to] = [begin as number, end as number];
  if (!whole || from < 0 || from > to) {
    throw bad(path, `tensor ${name}: expected data_offsets [begin, end], got ${brief(value)}`);
  }
  if (to > dataBytes) {
    throw bad(
      path,
      `tensor ${name}: its data end at byte ${to}, the file holds ${dataBytes} bytes of data; it is truncated: copy or download it again`,
    );
  }
  return [from, to];
}

/** The tensors must follow one another from the first byte of data to the last. */
function checkCoverage(
  path: string,
  tensors: readonly TensorInfo[],
  data: { start: number; bytes: number },
): void {
  const inOrder = tensors.toSorted((a, b) => a.offset - b.offset || a.bytes - b.bytes);
  let reached = data.start;
  for (const { name, offset, bytes } of inOrder) {
    if (offset !== reached) {
      const problem = offset < reached ? "overlaps the tensor before it" : "leaves a gap before it";
      throw bad(
        path,
        `tensor ${name}: expected its data at byte ${reached - data.start}, got ${offset - data.start}: it ${problem}; the file is corrupt`,
      );
    }
    reached += bytes;
  }
  const left = data.start + data.bytes - reached;
  if (left !== 0) throw bad(path, `${left} bytes after the last tensor belong to none; the file is corrupt`);
}

function readMetadata(path: string, value: unknown): Record<string, string> {
  if (value === undefined) return {};
  if (!isRecord(value) || !Object.values(value).every((text) => typeof text === "string")) {
    throw bad(path, `expected __metadata__ to map names to strings, got ${brief(value)}`);
  }
  return value as Record<string, string>;
}

function bad(path: string, problem: string): FormatError {
  return new FormatError(`${path}: ${problem}`);
}

function brief(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
