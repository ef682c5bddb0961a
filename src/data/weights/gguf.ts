/**
 * GGUF, the file of llama.cpp and what is built on it (github.com/ggml-org/ggml, docs/gguf.md, version 3): typed metadata, then tensors,
 * all little-endian. It is written, not read.
 */
import { FormatError } from "../../errors.ts";
import { replaceFile } from "../files.ts";
import type { GgufMetadata, GgufValue } from "./gguf-values.ts";
import { bytesOf } from "./safetensors-header.ts";
import { type FloatsToWrite, pieces } from "./safetensors-layout.ts";

const VERSION = 3;
/** The data and each tensor begin at a multiple of it. */
const ALIGNMENT = 32;
/** `enum gguf_type`. */
const TYPES = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 } as const;
/** `enum ggml_type`. */
const STORED = { F32: 0, F16: 1, BF16: 30 } as const;

const pieceBytes = 1 << 22;

/**
 * Writes `path` by rename: `metadata`, then `tensors` in their order, one after another. Shapes are row-major, as everywhere here; the
 * file has them the other way round.
 * @throws FormatError for a name given twice, or a finite value beyond the range of its 16 bits; ShapeError when data and shape differ
 */
export async function writeGguf(
  path: string,
  metadata: GgufMetadata,
  tensors: readonly FloatsToWrite[],
): Promise<void> {
  const names = tensors.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) < i);
  if (twice !== undefined)
    throw new FormatError(`${path}: tensor ${twice}: expected a name of its own, it is taken`);
  await replaceFile(path, async (append) => {
    await append(headerOf(metadata, tensors));
    for (const tensor of tensors) {
      for await (const piece of pieces(path, tensor, pieceBytes)) await append(piece);
      await append(new Uint8Array(padded(sizeOf(tensor)) - sizeOf(tensor)));
    }
  });
}

/** `bytes` up to the next multiple of ALIGNMENT. */
const padded = (bytes: number): number => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

/** Bytes of its data. */
const sizeOf = ({ shape, dtype }: FloatsToWrite): number =>
  shape.reduce((product, size) => product * size, bytesOf(dtype));

/** All before the data of `tensors`, which follow in this order, each {@link padded}. */
function headerOf(metadata: GgufMetadata, tensors: readonly FloatsToWrite[]): Uint8Array {
  const bytes = writer();
  bytes.raw("GGUF");
  bytes.u32(VERSION);
  bytes.u64(tensors.length);
  bytes.u64(Object.keys(metadata).length);
  for (const [key, value] of Object.entries(metadata)) {
    bytes.string(key);
    putValue(bytes, value);
  }
  let offset = 0;
  for (const tensor of tensors) {
    bytes.string(tensor.name);
    bytes.u32(tensor.shape.length);
    for (const size of tensor.shape.toReversed()) bytes.u64(size);
    bytes.u32(STORED[tensor.dtype]);
    bytes.u64(offset);
    offset += padded(sizeOf(tensor));
  }
  return bytes.done();
}

function putValue(bytes: Writer, value: GgufValue): void {
  if (typeof value === "string") {
    bytes.u32(TYPES.string);
    bytes.string(value);
  } else if (typeof value === "boolean") {
    bytes.u32(TYPES.bool);
    bytes.u8(Number(value));
  } else if ("value" in value) {
    bytes.u32(TYPES[value.type]);
    bytes[value.type](value.value);
  } else {
    bytes.u32(TYPES.array);
    bytes.u32(TYPES[value.type]);
    bytes.u64(value.values.length);
    for (const one of value.values) (bytes[value.type] as (one: number | string) => void)(one);
  }
}

/** Bytes that grow as they are written. */
interface Writer {
  u8(value: number): void;
  u32(value: number): void;
  i32(value: number): void;
  f32(value: number): void;
  u64(value: number): void;
  raw(text: string): void;
  /** Its length in UTF-8, then its bytes. */
  string(text: string): void;
  /** All of it, with zeros up to a multiple of ALIGNMENT. */
  done(): Uint8Array;
}

function writer(): Writer {
  const encoder = new TextEncoder();
  let bytes = new Uint8Array(1 << 16);
  let at = 0;
  const room = (count: number): DataView => {
    if (at + count > bytes.length) {
      const larger = new Uint8Array(2 * (at + count));
      larger.set(bytes);
      bytes = larger;
    }
    at += count;
    return new DataView(bytes.buffer, at - count, count);
  };
  const raw = (encoded: Uint8Array): void => {
    room(encoded.length);
    bytes.set(encoded, at - encoded.length);
  };
  const u64 = (value: number): void => room(8).setBigUint64(0, BigInt(value), true);
  return {
    u8: (value) => room(1).setUint8(0, value),
    u32: (value) => room(4).setUint32(0, value, true),
    i32: (value) => room(4).setInt32(0, value, true),
    f32: (value) => room(4).setFloat32(0, value, true),
    u64,
    raw: (text) => raw(encoder.encode(text)),
    string(text) {
      const encoded = encoder.encode(text);
      u64(encoded.length);
      raw(encoded);
    },
    done() {
      room(padded(at) - at);
      return bytes.subarray(0, at);
    },
  };
}
