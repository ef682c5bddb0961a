/** What a pickled state dict may hold: tensors over storages, in ordered dicts. */
import { FormatError } from "../../errors.ts";
import type { FileReader } from "../reader.ts";
import type { PickleWorld } from "./pickle.ts";
import { bytesOf, type Dtype, type TensorInfo } from "./safetensors-header.ts";

/** A flat array of numbers that tensors share. */
export interface TorchStorage {
  readonly dtype: Dtype;
  /** Its name in the file. */
  readonly key: string;
  readonly count: number;
}

/** A tensor as the pickle describes it, checked: every element lies in its storage. */
export interface TorchTensor {
  readonly storage: TorchStorage;
  /** The element of the storage at which it begins. */
  readonly start: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

/** A tensor in a file; its elements may lie apart. */
export interface StridedInfo extends TensorInfo {
  /** Elements between neighbours of each dimension; undefined where they lie row-major without gaps. */
  readonly strides?: readonly number[];
}

const STORAGES: Readonly<Record<string, Dtype>> = {
  DoubleStorage: "F64",
  FloatStorage: "F32",
  HalfStorage: "F16",
  BFloat16Storage: "BF16",
  LongStorage: "I64",
  IntStorage: "I32",
  ShortStorage: "I16",
  CharStorage: "I8",
  ByteStorage: "U8",
  BoolStorage: "BOOL",
};

/** More dimensions than any tensor has. */
const MAX_RANK = 16;

/** Values that only this file makes, so that no pickle can pretend to hold one. */
class Made<T> {
  readonly value: T;
  constructor(value: T) {
    this.value = value;
  }
}

const ORDERED_DICT = Symbol("collections.OrderedDict");
const REBUILD = Symbol("torch._utils._rebuild_tensor_v2");

/** The globals and calls of state dicts: three kinds of names, two calls. Everything else is refused by name. */
export function torchWorld(path: string): PickleWorld {
  const refuse = (problem: string): never => {
    throw new FormatError(`${path}: ${problem}`);
  };
  return {
    global(module, name) {
      if (module === "collections" && name === "OrderedDict") return ORDERED_DICT;
      if (module === "torch._utils" && name === "_rebuild_tensor_v2") return REBUILD;
      if (module === "torch" && Object.hasOwn(STORAGES, name)) return new Made(STORAGES[name]!);
      return refuse(
        `the pickle names ${module}.${name}; only tensors in a state dict are read. Save model.state_dict(), or safetensors`,
      );
    },
    call(callee, args) {
      if (callee === ORDERED_DICT && args.length === 0) return new Map();
      if (callee === REBUILD)
        return new Made(tensorOf(args) ?? refuse("a tensor of the pickle is malformed"));
      return refuse("the pickle calls what is no tensor and no dict");
    },
    persistent: (id) => new Made(storageOf(id) ?? refuse("a storage of the pickle is malformed")),
  };
}

/** ("storage", type, key, device, count), in the older format with a view that must be None. */
function storageOf(id: unknown): TorchStorage | undefined {
  if (!Array.isArray(id) || id.length < 5 || id.length > 6) return undefined;
  const [tag, type, key, , count, view = null] = id as unknown[];
  const good = tag === "storage" && typeof key === "string" && isCount(count) && view === null;
  if (!good || !(type instanceof Made) || typeof type.value !== "string") return undefined;
  return { dtype: type.value as Dtype, key, count };
}

/** The arguments of _rebuild_tensor_v2: storage, offset, size, stride, and what concerns training. */
function tensorOf(args: readonly unknown[]): TorchTensor | undefined {
  const [made, start, shape, strides] = args;
  const storage = made instanceof Made ? (made.value as TorchStorage) : undefined;
  if (typeof storage !== "object" || !("key" in storage)) return undefined;
  if (!isCount(start) || !isCounts(shape) || !isCounts(strides) || shape.length !== strides.length)
    return undefined;
  const count = shape.reduce((product, size) => product * size, 1);
  const last = shape.reduce((at, size, i) => at + (size - 1) * strides[i]!, start);
  // Not more elements than its storage has: a stride of 0 would make any number of them.
  const inside = count === 0 || (last < storage.count && count <= storage.count);
  // Copies: the pickle may keep the tuples, and change them after this check.
  return inside ? { storage, start, shape: [...shape], strides: [...strides] } : undefined;
}

const isCount = (v: unknown): v is number => Number.isSafeInteger(v) && (v as number) >= 0;
const isCounts = (v: unknown): v is number[] =>
  Array.isArray(v) && v.length <= MAX_RANK && v.every((n) => isCount(n));

/**
 * The tensors of an unpickled state dict.
 * @throws FormatError when it is something else: a whole model, a training checkpoint
 */
export function tensorsIn(path: string, value: unknown): Map<string, TorchTensor> {
  if (!(value instanceof Map))
    throw new FormatError(`${path}: expected a state dict, names and tensors; save model.state_dict()`);
  const tensors = new Map<string, TorchTensor>();
  for (const [name, made] of value as Map<unknown, unknown>) {
    const tensor = made instanceof Made ? (made.value as TorchTensor) : undefined;
    if (typeof name !== "string" || typeof tensor !== "object" || !("strides" in tensor))
      throw new FormatError(
        `${path}: expected a state dict, names and tensors; ${String(name).slice(0, 80)} is something else. Save model.state_dict()`,
      );
    tensors.set(name, tensor);
  }
  return tensors;
}

/**
 * Where a tensor's bytes lie.
 * @param offset the first byte of its storage in the file
 */
export function locateTensor(
  file: FileReader,
  name: string,
  offset: number,
  tensor: TorchTensor,
): StridedInfo {
  const { storage, start, shape, strides } = tensor;
  const { dtype } = storage;
  const count = shape.reduce((product, size) => product * size, 1);
  const width = bytesOf(dtype);
  const place = { name, dtype, shape, count, file, offset: offset + start * width, bytes: count * width };
  return isRowMajor(shape, strides) ? place : { ...place, strides };
}

function isRowMajor(shape: readonly number[], strides: readonly number[]): boolean {
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== step) return false;
    step *= shape[i]!;
  }
  return true;
}
