/** What a safetensors file to be written looks like: order, header bytes, data bytes. */
import { FormatError, ShapeError } from "../../errors.ts";
import { narrow } from "../../tensor/half.ts";
import { bytesOf } from "./safetensors-header.ts";

/** The first magnitude that rounds to infinity: half a step beyond the largest finite value. */
const overflowAt = { F16: 65520, BF16: (2 - 2 ** -8) * 2 ** 127 } as const;

/** A tensor to write; `data` is row-major, given at once or fetched when its turn comes (a read from the GPU), whole or in pieces. */
export type TensorToWrite = FloatsToWrite | IntegersToWrite;

/** Float32 values, stored as they are or rounded to 16 bits. */
export interface FloatsToWrite {
  readonly name: string;
  readonly dtype: "F32" | "F16" | "BF16";
  readonly shape: readonly number[];
  readonly data: Float32Array | (() => Promise<Float32Array> | Float32Array | AsyncIterable<Float32Array>);
}

/** Unsigned integers: counters and random state. */
export interface IntegersToWrite {
  readonly name: string;
  readonly dtype: "U32";
  readonly shape: readonly number[];
  readonly data: Uint32Array | (() => Promise<Uint32Array> | Uint32Array);
}

/**
 * The header (length prefix included, padded with spaces to a multiple of 8) and the tensors in the order of their data:
 * widest dtype first, so that each begins at a multiple of its own width, then by name.
 * Throws FormatError for a name that is taken, ShapeError for a shape that is not whole numbers.
 */
export function layOut(
  path: string,
  tensors: Iterable<TensorToWrite>,
  metadata: Readonly<Record<string, string>>,
): { header: Uint8Array; inOrder: readonly TensorToWrite[] } {
  const inOrder = [...tensors].sort(
    (a, b) => bytesOf(b.dtype) - bytesOf(a.dtype) || (a.name < b.name ? -1 : 1),
  );
  const fields = new Map<string, unknown>();
  if (Object.keys(metadata).length > 0) fields.set("__metadata__", sorted(metadata));
  let offset = 0;
  for (const { name, dtype, shape } of inOrder) {
    if (name === "__metadata__" || fields.has(name)) {
      throw new FormatError(`${path}: tensor ${name}: expected a name of its own, it is taken`);
    }
    const end = offset + elements(name, shape) * bytesOf(dtype);
    fields.set(name, { dtype, shape, data_offsets: [offset, end] });
    offset = end;
  }
  return { header: encodeHeader(fields), inOrder };
}

/**
 * The bytes of one tensor, at most `pieceBytes` at a time.
 * Throws ShapeError when `data` is not as long as the shape says, FormatError when a finite value overflows its 16 bits.
 */
export async function* pieces(
  path: string,
  tensor: TensorToWrite,
  pieceBytes: number,
): AsyncGenerator<Uint8Array> {
  const { name, dtype, shape } = tensor;
  const expected = elements(name, shape);
  let count = 0;
  const check = (fits: boolean): void => {
    if (fits) return;
    throw new ShapeError(
      `${path}: tensor ${name}: shape [${shape.join(", ")}] has ${expected} values, got ${count}`,
    );
  };
  const step = pieceBytes / 4;
  for await (const values of valuesOf(tensor)) {
    count += values.length;
    check(count <= expected);
    for (let start = 0; start < values.length; start += step) {
      const part = values.subarray(start, start + step);
      const stored =
        (dtype === "F16" || dtype === "BF16") && part instanceof Float32Array
          ? round(path, name, dtype, part)
          : part;
      yield new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength);
    }
  }
  check(count === expected);
}

async function* valuesOf({ data }: TensorToWrite): AsyncGenerator<Float32Array | Uint32Array> {
  const given = typeof data === "function" ? await data() : data;
  if (Symbol.asyncIterator in given) yield* given;
  else yield given;
}

function round(path: string, name: string, dtype: "F16" | "BF16", values: Float32Array): Uint16Array {
  const limit = overflowAt[dtype];
  const tooLarge = values.find((value) => Math.abs(value) >= limit && Number.isFinite(value));
  if (tooLarge !== undefined) {
    throw new FormatError(
      `${path}: tensor ${name}: ${tooLarge} would become infinite in ${dtype}; write it as F32`,
    );
  }
  const rounded = new Uint16Array(values.length);
  narrow(dtype, values, rounded);
  return rounded;
}

function encodeHeader(fields: ReadonlyMap<string, unknown>): Uint8Array {
  // Written entry by entry: in an object, names that look like numbers would change places.
  const entries = [...fields].map(([name, field]) => `${JSON.stringify(name)}:${JSON.stringify(field)}`);
  const json = new TextEncoder().encode(`{${entries.join(",")}}`);
  const header = new Uint8Array(8 + Math.ceil(json.length / 8) * 8).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(header.length - 8), true);
  header.set(json, 8);
  return header;
}

function elements(name: string, shape: readonly number[]): number {
  const good = shape.every((size) => Number.isSafeInteger(size) && size >= 0);
  const count = shape.reduce((product, size) => product * size, 1);
  if (good && Number.isSafeInteger(count)) return count;
  throw new ShapeError(`tensor ${name}: expected a shape of whole numbers, got [${shape.join(", ")}]`);
}

function sorted(record: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));
}
