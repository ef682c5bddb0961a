/**
 * Checkpoints in safetensors: a file, or a Hugging Face folder with one file or with shards and their index.
 * Tensors are read one at a time, straight into the array that is returned. Hosts are taken to be
 * little-endian, as every host of WebGPU is.
 */
import { FormatError } from "../../errors.ts";
import { widen } from "../../tensor/half.ts";
import { replaceFile } from "../files.ts";
import { findFirst, type Folder, locate, type Place } from "../folder.ts";
import type { FileReader } from "../reader.ts";
import type { Dtype, TensorInfo } from "./safetensors-header.ts";
import { bytesOf, readHeader } from "./safetensors-header.ts";
import type { TensorToWrite } from "./safetensors-layout.ts";
import { layOut, pieces } from "./safetensors-layout.ts";
import { readShards } from "./shards.ts";

export type { Dtype, TensorInfo } from "./safetensors-header.ts";
export type { TensorToWrite } from "./safetensors-layout.ts";

/** An opened checkpoint: headers checked, no tensor read yet, nothing to close. */
export interface Checkpoint {
  /** What messages call it. */
  readonly path: string;
  /** By name, in the order of the files. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** The `__metadata__` of the files, later shards winning. */
  readonly metadata: Readonly<Record<string, string>>;
  /**
   * The tensor's values, row-major: F32 as they are, F16 and BF16 widened exactly, F64 rounded to the nearest float32.
   * Integers, BOOL and F8 are refused with FormatError: no rule turns them into weights.
   */
  read(name: string): Promise<Float32Array>;
  /** The same in parts, in order; a part is overwritten when the next one is asked for. */
  parts(name: string): AsyncIterable<Float32Array>;
  /** The values of a U32 tensor. Throws FormatError for another dtype. */
  readU32(name: string): Promise<Uint32Array>;
  /** The values of an I64 tensor. Throws FormatError for another dtype. */
  readI64(name: string): Promise<BigInt64Array>;
}

/** Bytes converted at a time: small beside a tensor, large beside a disk read. */
const pieceBytes = 1 << 22;

/** What a folder calls its weights: one file, or the index of several. */
export const WEIGHTS = ["model.safetensors", "model.safetensors.index.json"] as const;

/**
 * Opens a `.safetensors` file, a `.safetensors.index.json`, or a folder that holds `model.safetensors` or
 * `model.safetensors.index.json`. Throws FormatError, saying file, tensor, expected and got, when anything is amiss.
 */
export async function openSafetensors(place: Place): Promise<Checkpoint> {
  const { folder, file } = await locate(place);
  return file
    ? readCheckpoint(file.path, folder, file)
    : safetensorsIn(folder, await findFirst(folder, WEIGHTS));
}

/** The checkpoint of `folder` in `file`, one of {@link WEIGHTS}. Throws FormatError as {@link openSafetensors}. */
export async function safetensorsIn(folder: Folder, file: FileReader | undefined): Promise<Checkpoint> {
  if (file) return readCheckpoint(folder.path, folder, file);
  throw new FormatError(
    `${folder.path}: expected model.safetensors or model.safetensors.index.json (or torch's pytorch_model.bin) in the folder, got none; convert other weights to safetensors first`,
  );
}

/** The checkpoint in `file` of `folder`: safetensors, or the index of several. Throws FormatError as {@link openSafetensors}. */
export async function readCheckpoint(path: string, folder: Folder, file: FileReader): Promise<Checkpoint> {
  const { tensors, metadata } = file.name.endsWith(".json")
    ? await readShards(folder, file, ".safetensors", readHeader)
    : await readHeader(file);
  return checkpointOf(path, tensors, metadata, readFloats);
}

/**
 * The checkpoint at `path` of tensors whose headers were read.
 * @param read a tensor's values as floats
 * @param inOrder whether they lie in the file as they are read
 */
export function checkpointOf<T extends TensorInfo>(
  path: string,
  tensors: readonly T[],
  metadata: Readonly<Record<string, string>>,
  read: (info: T) => Promise<Float32Array>,
  inOrder: (info: T) => boolean = () => true,
): Checkpoint {
  const byName = new Map(tensors.map((info) => [info.name, info]));
  return {
    path,
    tensors: byName,
    metadata,
    read: async (name) => read(find(path, byName, name)),
    async *parts(name) {
      const info = find(path, byName, name);
      if (inOrder(info)) yield* floatParts(info);
      else yield await read(info);
    },
    readU32: async (name) => new Uint32Array(await readRaw(find(path, byName, name), "U32")),
    readI64: async (name) => new BigInt64Array(await readRaw(find(path, byName, name), "I64")),
  };
}

/**
 * Writes `tensors` to `path` by rename, one after another, with `metadata` (string to string) in the header. The bytes
 * depend only on the tensors and the metadata: widest dtype first, then by name; the data begin at a multiple of 8.
 * F16 and BF16 round to nearest even. Throws ShapeError when data and shape differ, FormatError for a name given twice or
 * a finite value beyond the range of its 16 bits.
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<TensorToWrite>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  await replaceFile(path, async (append) => {
    for await (const piece of safetensorsPieces(path, tensors, metadata)) await append(piece);
  });
}

/** The bytes of the file that {@link writeSafetensors} writes, in pieces, each valid until the next; throws as it does. */
export async function* safetensorsPieces(
  path: string,
  tensors: Iterable<TensorToWrite>,
  metadata: Readonly<Record<string, string>> = {},
): AsyncGenerator<Uint8Array> {
  const { header, inOrder } = layOut(path, tensors, metadata);
  yield header;
  for (const tensor of inOrder) yield* pieces(path, tensor, pieceBytes);
}

function find<T extends TensorInfo>(path: string, tensors: ReadonlyMap<string, T>, name: string): T {
  const info = tensors.get(name);
  if (info !== undefined) return info;
  const names = [...tensors.keys()].slice(0, 8).join(", ") + (tensors.size > 8 ? ", …" : "");
  throw new FormatError(`${path}: no tensor ${name}; it has ${tensors.size}: ${names}`);
}

/** The values of a tensor that lies in its file in one piece, as {@link Checkpoint.read} gives them. */
export async function readFloats(info: TensorInfo): Promise<Float32Array> {
  const values = new Float32Array(info.count);
  let first = 0;
  for await (const part of floatParts(info)) {
    values.set(part, first);
    first += part.length;
  }
  return values;
}

/** The same in parts of at most a piece, in one array. */
async function* floatParts(info: TensorInfo): AsyncGenerator<Float32Array> {
  const { name, dtype, file, count } = info;
  if (dtype !== "F32" && dtype !== "F16" && dtype !== "BF16" && dtype !== "F64") {
    throw new FormatError(
      `${file.path}: tensor ${name}: expected F32, F16, BF16 or F64 values, got ${dtype}; convert the checkpoint to floats first`,
    );
  }
  const width = bytesOf(dtype);
  const raw = new Uint8Array(Math.min(info.bytes, pieceBytes));
  const values = dtype === "F32" ? new Float32Array(raw.buffer) : new Float32Array(raw.length / width);
  for (let done = 0; done < count; done += values.length) {
    const part = values.subarray(0, Math.min(values.length, count - done));
    const bytes = raw.subarray(0, part.length * width);
    await file.read(bytes, info.offset + done * width);
    convert(dtype, bytes, part);
    yield part;
  }
}

/** Widens `bytes` into `values`; F32 lie there already. */
function convert(dtype: "F32" | "F16" | "BF16" | "F64", bytes: Uint8Array, values: Float32Array): void {
  if (dtype === "F64") values.set(new Float64Array(bytes.buffer, 0, values.length));
  else if (dtype !== "F32") widen(dtype, new Uint16Array(bytes.buffer, 0, values.length), values);
}

async function readRaw(info: TensorInfo, dtype: Dtype): Promise<ArrayBuffer> {
  const { name, file } = info;
  if (info.dtype !== dtype) {
    throw new FormatError(`${file.path}: tensor ${name}: expected ${dtype}, got ${info.dtype}`);
  }
  const bytes = new Uint8Array(info.bytes);
  await file.read(bytes, info.offset);
  return bytes.buffer;
}
