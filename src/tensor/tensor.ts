/** Tensors: a shape and a dtype over a place in GPU memory, and how they came to be. */
import { KernelError, ShapeError } from "../errors.ts";
import type { View } from "../gpu/call.ts";
import type { Device } from "../gpu/device.ts";
import { strayed } from "../gpu/plan.ts";
import { type Program, recordProgram } from "../gpu/program.ts";
import { readStorage } from "../gpu/readback.ts";
import { recording } from "../gpu/recording.ts";
import { fixedStorage, type Storage, virtualStorage } from "../gpu/storage.ts";
import { narrow, widen } from "./half.ts";

export type Shape = readonly number[];
/** f16 wants the device feature `shader-f16`; on the host its values are f32. */
export type Dtype = "f32" | "f16" | "u32";

/** Bytes of an element. */
export const WIDTH: Readonly<Record<Dtype, 2 | 4>> = { f32: 4, f16: 2, u32: 4 };

/** The op that made a tensor, for the way back. */
export interface Node {
  readonly name: string;
  readonly inputs: readonly (Tensor | undefined)[];
  readonly outputs: readonly Tensor[];
  /**
   * Gradients of the inputs from those of the outputs; undefined where an input needs none. `take` hands out what has
   * arrived for an input so far: the gradient returned for it must then include that.
   */
  backward(
    dy: readonly (Tensor | undefined)[],
    take: (input: number) => Tensor | undefined,
  ): readonly (Tensor | undefined)[];
}

/** Number of elements of a shape. */
export const sizeOf = (shape: Shape): number => shape.reduce((a, b) => a * b, 1);

/** A dense row-major tensor. */
export class Tensor {
  readonly shape: Shape;
  readonly dtype: Dtype;
  readonly device: Device;
  readonly storage: Storage;
  /** Bytes from the start of the storage. */
  readonly offset: number;
  /** Where the gradient is accumulated: set on parameters that are trained, and on nothing else. */
  grad: Tensor | undefined;
  node: Node | undefined;
  /** Records the same elements anew on the way back, where that saves keeping these until then. */
  again: (() => Tensor) | undefined;

  constructor(device: Device, shape: Shape, dtype: Dtype, storage: Storage, offset = 0) {
    this.device = device;
    this.shape = shape;
    this.dtype = dtype;
    this.storage = storage;
    this.offset = offset;
    device.counters.tensors++;
  }

  /** Number of elements. */
  get size(): number {
    return sizeOf(this.shape);
  }

  /** Whether a gradient flows to or through this tensor. */
  get needsGrad(): boolean {
    return this.grad !== undefined || this.node !== undefined;
  }

  /** The bytes of this tensor as a kernel binds them: whole vec4s. */
  get view(): View {
    const elements = this.size;
    return {
      storage: this.storage,
      offset: this.offset,
      bytes: Math.max(16, Math.ceil((elements * WIDTH[this.dtype]) / 16) * 16),
      elements,
      half: this.dtype === "f16",
    };
  }

  /** A dimension; negative counts from the end. */
  dim(i: number): number {
    const n = this.shape.at(i);
    if (n === undefined)
      throw new ShapeError(`tensor: has ${this.shape.length} dimensions [${this.shape}], asked for ${i}`);
    return n;
  }

  /**
   * The same elements under another shape; one dimension may be -1.
   * @throws ShapeError when the number of elements differs
   */
  reshape(...shape: number[]): Tensor {
    const known = shape.reduce((a, b) => (b === -1 ? a : a * b), 1);
    const full = shape.map((n) => (n === -1 ? this.size / known : n));
    if (sizeOf(full) !== this.size || full.some((n) => !Number.isInteger(n))) {
      throw new ShapeError(
        `reshape: [${this.shape}] has ${this.size} elements, [${shape}] asks for ${sizeOf(full)}`,
      );
    }
    const out = new Tensor(this.device, full, this.dtype, this.storage, this.offset);
    const { again } = this;
    if (again) out.again = () => again().reshape(...full);
    if (this.needsGrad) {
      out.node = {
        name: "reshape",
        inputs: [this],
        outputs: [out],
        backward: ([dy]) => [dy?.reshape(...this.shape)],
      };
    }
    return out;
  }

  /** The same elements, cut off from the gradient. */
  detach(): Tensor {
    return new Tensor(this.device, this.shape, this.dtype, this.storage, this.offset);
  }

  /**
   * Writes elements from the host; takes effect before the next run.
   * @throws ShapeError when the count differs; KernelError when the tensor is scratch of a program
   */
  write(values: ArrayLike<number>): void {
    if (values.length !== this.size)
      throw new ShapeError(`write: [${this.shape}] has ${this.size} elements, got ${values.length}`);
    this.writePart(values, 0);
  }

  /**
   * Writes the elements from number `first` on, row-major; of an f16 tensor an even number of them, but for the last.
   * @throws as {@link write}
   */
  writePart(values: ArrayLike<number>, first: number): void {
    if (first + values.length > this.size)
      throw new ShapeError(
        `write: [${this.shape}] has ${this.size} elements, got ${values.length} from number ${first}`,
      );
    const { place, shared } = this.storage;
    if (!place || shared) throw new KernelError(`write: ${strayed(this.storage)}`);
    const array = bitsOf(values, this.dtype);
    const { buffer, offset } = place;
    const at = offset + this.offset + first * WIDTH[this.dtype];
    this.device.gpu.queue.writeBuffer(buffer, at, array);
  }

  /**
   * Reads the elements back, those of an f16 tensor as f32, after everything submitted so far.
   * @throws DeviceError when the GPU reported an error since the last read
   */
  async read(): Promise<Float32Array<ArrayBuffer>> {
    return floatsOf(await this.bytes(), this);
  }

  /** {@link Tensor.read} in pieces of 16 MiB, for what is written or hashed: neither side need hold a large tensor twice. */
  async *pieces(): AsyncGenerator<Float32Array<ArrayBuffer>> {
    for (let first = 0; first < this.size; first += PIECE) {
      const size = Math.min(PIECE, this.size - first);
      const part = { size, dtype: this.dtype };
      const offset = this.offset + first * WIDTH[this.dtype];
      const [bytes] = await readStorage(this.device, [{ ...this.view, offset, bytes: wordsOf(part) }]);
      yield floatsOf(bytes!, part);
    }
  }

  /** {@link Tensor.read} for u32 tensors. */
  async readU32(): Promise<Uint32Array> {
    return new Uint32Array(await this.bytes());
  }

  async bytes(): Promise<ArrayBuffer> {
    const [bytes] = await readStorage(this.device, [{ ...this.view, bytes: wordsOf(this) }]);
    return bytes!;
  }
}

/** A tensor that the program being recorded will fill. */
export function empty(shape: Shape, dtype: Dtype = "f32", label = "value"): Tensor {
  return new Tensor(recording().device, shape, dtype, virtualStorage(sizeOf(shape) * WIDTH[dtype], label));
}

/** An input of the program being recorded: zero until written, kept from run to run. */
export function input(shape: Shape, dtype: Dtype = "f32", label = "input"): Tensor {
  return new Tensor(recording().device, shape, dtype, recording().own(sizeOf(shape) * WIDTH[dtype], label));
}

/** A tensor that outlives programs: a parameter, a cache. */
export function persistent(device: Device, shape: Shape, dtype: Dtype = "f32", label = "persistent"): Tensor {
  return new Tensor(device, shape, dtype, fixedStorage(device, sizeOf(shape) * WIDTH[dtype], label));
}

/** The tensors in a record or array, at any depth. */
export function* tensorsIn(value: unknown): Generator<Tensor> {
  if (value instanceof Tensor) yield value;
  else if (value !== null && typeof value === "object" && !ArrayBuffer.isView(value)) {
    for (const inner of Object.values(value)) yield* tensorsIn(inner);
  }
}

/**
 * Records a program. `build` calls ops and returns the tensors that the caller will write and read.
 * @example
 * const step = await record(device, "square", () => { const x = input([3]); return { x, y: mul(x, x) }; });
 * step.result.x.write([1, 2, 3]); step.run(); await step.result.y.read(); // 1, 4, 9
 * @throws KernelError, ShapeError from the ops; DeviceError when a kernel does not compile
 */
export function record<R>(device: Device, label: string, build: () => R): Promise<Program<R>> {
  return recordProgram(device, label, build, function* (result) {
    for (const tensor of tensorsIn(result)) yield tensor.storage;
  });
}

/**
 * Reads several tensors with one copy and one wait.
 * @returns their elements in the same order
 */
export async function readAll(device: Device, tensors: readonly Tensor[]): Promise<Float32Array[]> {
  const all = await readStorage(
    device,
    tensors.map((t) => ({ ...t.view, bytes: wordsOf(t) })),
  );
  return all.map((bytes, i) => floatsOf(bytes, tensors[i]!));
}

/** Elements of a piece: an even number, so that pieces of f16 begin at whole words. */
const PIECE = 2 ** 22;

/** Bytes to copy for a tensor's elements: whole words. */
const wordsOf = ({ size, dtype }: Pick<Tensor, "size" | "dtype">): number =>
  Math.ceil((size * WIDTH[dtype]) / 4) * 4;

/** Elements as the GPU stores them, in whole words. */
function bitsOf(values: ArrayLike<number>, dtype: Dtype): ArrayBufferView<ArrayBuffer> {
  const Typed = dtype === "u32" ? Uint32Array : Float32Array;
  const array =
    values instanceof Typed && values.buffer instanceof ArrayBuffer
      ? (values as Float32Array<ArrayBuffer>)
      : Typed.from(values);
  if (dtype !== "f16") return array;
  const halves = new Uint16Array(Math.ceil(array.length / 2) * 2);
  narrow("F16", array as Float32Array, halves.subarray(0, array.length));
  return halves;
}

/** The other way: {@link bitsOf} of a tensor of floats. */
function floatsOf(
  bytes: ArrayBuffer,
  { dtype, size }: Pick<Tensor, "size" | "dtype">,
): Float32Array<ArrayBuffer> {
  if (dtype !== "f16") return new Float32Array(bytes);
  const values = new Float32Array(size);
  widen("F16", new Uint16Array(bytes, 0, size), values);
  return values;
}
