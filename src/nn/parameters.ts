/** Named tensors of a model: the trained ones side by side in one buffer, their gradients in another. */
import { ConfigError, FormatError, ShapeError } from "../errors.ts";
import type { Device } from "../gpu/device.ts";
import { arena, sliceBytes, type Storage } from "../gpu/storage.ts";
import type { Slot, TrainedArena } from "../optim/arena.ts";
import { sha256 } from "../tensor/hash.ts";
import { needHalves } from "../ops/cast.ts";
import { readAll, type Shape, sizeOf, Tensor, WIDTH } from "../tensor/tensor.ts";
import { initialValues, type ParameterSpec } from "./init.ts";

export type { ParameterSpec } from "./init.ts";

/** Where values come from; an opened checkpoint (`data/weights/safetensors.ts`) is one. */
export interface TensorSource {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, { readonly shape: Shape }>;
  read(name: string): Promise<Float32Array>;
  /** The same in parts, one after the other, of an even number of values but for the last; a part is read over by the next. */
  parts?(name: string): AsyncIterable<Float32Array>;
}

/** Bytes that may wait for the device to take them. */
const MOST_PENDING = 1 << 23;

/** How the names in a source relate to ours. */
export interface Naming {
  /** Our name of the source's tensor; undefined for one to ignore (masks, rotary tables). */
  readonly rename?: (name: string) => string | undefined;
  /** Tensors that may be missing: they keep the values they have. */
  readonly optional?: (name: string) => boolean;
  /** What the tensors must fit, for messages; by default "config.json". */
  readonly fits?: string;
  /** Called after each part with how many values there are so far, and will be. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** What other parameters stand on: looked up where they have no tensor of a name, and never changed or freed by them. */
export interface Base {
  readonly parameters: Parameters;
  /** What products of low-rank adapters (lora.ts) are multiplied by. */
  readonly scale: number;
}

/**
 * Parameters of one model. Frozen ones have no gradient; they lie in buffers of their own, and their matrices may be held
 * in f16, at half the memory: what computes with them reads the rounded values and is f32 otherwise. With a `base`, all that speaks
 * of several tensors (names, copies, hashes, checkpoints) means those that stand on it alone.
 */
export class Parameters {
  readonly device: Device;
  readonly specs: readonly ParameterSpec[];
  /** The trained tensors as an optimizer sees them; undefined when all are frozen. */
  readonly trained: TrainedArena | undefined;
  readonly base: Base | undefined;
  readonly #tensors: ReadonlyMap<string, Tensor>;
  readonly #buffers: readonly Storage[];

  constructor(
    device: Device,
    specs: readonly ParameterSpec[],
    isTrained: (name: string) => boolean,
    { base, label = "parameters", halves = false }: Omit<ParameterOptions, "trainable" | "seed"> = {},
  ) {
    if (halves) needHalves(device);
    this.device = device;
    this.base = base;
    this.specs = specs;
    const trained = place(device, specs.filter((s) => isTrained(s.name)), label); // prettier-ignore
    const untrained = specs.filter((s) => !isTrained(s.name));
    const isHalf = ({ shape }: ParameterSpec): boolean => halves && shape.length > 1;
    const frozen = [
      ...placeApart(device, untrained.filter((s) => !isHalf(s)), `frozen ${label}`), // prettier-ignore
      ...placeApart(device, untrained.filter(isHalf), `frozen ${label} in f16`, "f16"),
    ];
    const grads = trained && place(device, trained.specs, "gradients");
    for (const [name, tensor] of trained?.tensors ?? []) tensor.grad = grads!.tensors.get(name);
    const all = new Map([trained, ...frozen].flatMap((placed) => [...(placed?.tensors ?? [])]));
    this.#tensors = new Map(specs.map(({ name }) => [name, all.get(name)!]));
    if (this.#tensors.size < specs.length)
      throw new ConfigError(`parameters: ${twice(specs)} is there twice`);
    this.trained = trained && { values: trained.whole, grads: grads!.whole, slots: trained.slots };
    this.#buffers = [trained, ...frozen, grads].flatMap((placed) => (placed ? [placed.whole] : []));
  }

  /** All names, in the order of the specification. */
  get names(): string[] {
    return [...this.#tensors.keys()];
  }

  /** Number of values in all tensors. */
  get count(): number {
    return this.specs.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
  }

  /** Whether there is a tensor of this name. */
  has(name: string): boolean {
    return this.#tensors.has(name) || (this.base?.parameters.has(name) ?? false);
  }

  /**
   * The tensor of this name.
   * @throws ConfigError when there is none
   */
  get(name: string): Tensor {
    const tensor = this.#tensors.get(name);
    if (tensor) return tensor;
    if (this.base) return this.base.parameters.get(name);
    const known = this.names.slice(0, 6).join(", ");
    throw new ConfigError(`parameters: no tensor ${name}; there are ${this.names.length}: ${known}, …`);
  }

  /** Names and tensors, in the order of the specification. */
  [Symbol.iterator](): IterableIterator<[string, Tensor]> {
    return this.#tensors.entries();
  }

  /** Fills the tensors of `specs` (all by default) as these say; the same values for the same seed. */
  initialise(seed: number, specs: readonly ParameterSpec[] = this.specs): void {
    if (this.device.onPaper) return;
    for (const spec of specs) this.get(spec.name).write(initialValues(spec, seed));
  }

  /**
   * Fills every tensor from `source`, one at a time and in parts: beside the tensors stand a few MB.
   * @throws FormatError listing the missing, the unexpected and the wrongly shaped tensors; for what is no finite number, or one that
   *   f16 cannot hold
   */
  async writeFrom(source: TensorSource, naming: Naming = {}): Promise<void> {
    const sourceName = match(this.specs, source, naming);
    if (this.device.onPaper) return;
    const total = this.names.reduce((n, name) => n + (sourceName.has(name) ? this.get(name).size : 0), 0);
    let [pending, done] = [0, 0];
    for (const [name, tensor] of this.#tensors) {
      const theirs = sourceName.get(name);
      if (theirs === undefined) continue;
      let first = 0;
      for await (const part of source.parts?.(theirs) ?? [await source.read(theirs)]) {
        checkFinite(source.path, theirs, part);
        if (tensor.dtype === "f16") checkRange(source.path, name, part);
        tensor.writePart(part, first);
        first += part.length;
        naming.onProgress?.((done += part.length), total);
        pending += part.byteLength;
        if (pending < MOST_PENDING) continue;
        await this.device.drain();
        pending = 0;
      }
      if (first !== tensor.size)
        throw new ShapeError(`${source.path}: ${theirs}: expected ${tensor.size} values, got ${first}`);
    }
  }

  /** All values, row-major, by name. */
  async readAll(): Promise<Map<string, Float32Array>> {
    const values = await readAll(this.device, [...this.#tensors.values()]);
    return new Map(this.names.map((name, i) => [name, values[i]!]));
  }

  /**
   * Copies `names` of `other` (all of them by default) over the tensors of the same names, on the GPU: a frozen
   * reference, the trunk of a value function.
   * @throws ConfigError when a name is missing here, ShapeError when shapes or types differ
   */
  copyFrom(other: Parameters, names: readonly string[] = other.names): void {
    const encoder = this.device.gpu.createCommandEncoder({ label: "copy parameters" });
    for (const name of names) {
      const [from, to] = [other.get(name), this.get(name)];
      if (String(from.shape) !== String(to.shape)) {
        throw new ShapeError(
          `copyFrom: ${name} is [${from.shape}] there and [${to.shape}] here; expected equal shapes`,
        );
      }
      if (from.dtype !== to.dtype)
        throw new ShapeError(`copyFrom: ${name} is ${from.dtype} there and ${to.dtype} here; use takeFrom`);
      const [source, target] = [from.storage.place!, to.storage.place!];
      const bytes = Math.ceil((from.size * WIDTH[from.dtype]) / 4) * 4;
      encoder.copyBufferToBuffer(source.buffer, source.offset, target.buffer, target.offset, bytes);
    }
    this.device.gpu.queue.submit([encoder.finish()]);
  }

  /** {@link Parameters.copyFrom} where one side may be held in f16: what differs in type goes by way of the host. */
  async takeFrom(other: Parameters, names: readonly string[] = other.names): Promise<void> {
    const isSame = (name: string): boolean => other.get(name).dtype === this.get(name).dtype;
    this.copyFrom(other, names.filter(isSame));
    for (const name of names.filter((n) => !isSame(n))) this.get(name).write(await other.get(name).read());
  }

  /** Sets every gradient to zero. An optimizer does so itself after each step. */
  zeroGrads(): void {
    if (!this.trained) return;
    const encoder = this.device.gpu.createCommandEncoder({ label: "zero gradients" });
    encoder.clearBuffer(this.trained.grads.place!.buffer);
    this.device.gpu.queue.submit([encoder.finish()]);
  }

  /**
   * A hash of the bits of `names` (all by default): equal hashes, equal weights; 16 digits of the SHA-256 of the pieces' own.
   * Everything is read back, but never much at once.
   */
  async hash(names: readonly string[] = this.names): Promise<string> {
    const digests: Uint8Array[] = [];
    for (const name of this.device.onPaper ? [] : names)
      for await (const piece of this.get(name).pieces()) digests.push(await sha256(piece));
    const whole = await sha256(Uint8Array.from(digests.flatMap((digest) => [...digest])));
    return [...whole.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  /** Gives the memory back; no program that uses these tensors may run after it. */
  dispose(): void {
    for (const { place: at } of this.#buffers) this.device.destroyBuffer(at!.buffer);
  }
}

/** How parameters are made. */
export interface ParameterOptions {
  /** Which tensors get gradients: all, none, or those that a predicate on their names chooses. */
  readonly trainable: boolean | ((name: string) => boolean);
  /** Fills them at once; without it they are zero until written. */
  readonly seed?: number | undefined;
  /** What they stand on. */
  readonly base?: Base | undefined;
  /** Hold the matrices that are not trained in f16. */
  readonly halves?: boolean | undefined;
  /** What their memory is called in messages and plans; "parameters" by default. */
  readonly label?: string | undefined;
}

/**
 * The tensors of `specs` on the GPU.
 * @throws ConfigError when a name is there twice, DeviceError when the trained ones do not fit one buffer, or some are to be f16 and there is none
 */
export function createParameters(
  device: Device,
  specs: readonly ParameterSpec[],
  { trainable, seed, ...how }: ParameterOptions,
): Parameters {
  const isTrained = typeof trainable === "function" ? trainable : () => trainable;
  const parameters = new Parameters(device, specs, isTrained, how);
  if (seed !== undefined) parameters.initialise(seed);
  return parameters;
}

interface Placed {
  readonly specs: readonly ParameterSpec[];
  readonly whole: Storage;
  readonly slots: readonly Slot[];
  readonly tensors: ReadonlyMap<string, Tensor>;
}

function place(
  device: Device,
  specs: readonly ParameterSpec[],
  label: string,
  dtype: "f32" | "f16" = "f32",
): Placed | undefined {
  if (specs.length === 0) return undefined;
  const sizes = specs.map(({ shape }) => sizeOf(shape) * WIDTH[dtype]);
  const { whole, slices } = arena(device, sizes, label);
  const tensors = new Map(
    specs.map(({ name, shape }, i) => [name, new Tensor(device, shape, dtype, slices[i]!)]),
  );
  const slots = specs.map(({ name, shape, decay }, i) => {
    return { name, shape, decay, offset: slices[i]!.place!.offset };
  });
  return { specs, whole, slots, tensors };
}

/** The same where no kernel walks over all of them: in as many buffers as it takes, since one has to end somewhere. */
function placeApart(
  device: Device,
  specs: readonly ParameterSpec[],
  label: string,
  dtype: "f32" | "f16" = "f32",
): Placed[] {
  const groups: ParameterSpec[][] = [];
  let room = 0;
  for (const spec of specs) {
    const bytes = sliceBytes(sizeOf(spec.shape) * WIDTH[dtype]);
    if (bytes > room) {
      groups.push([]);
      room = device.bindingBytes;
    }
    groups.at(-1)!.push(spec);
    room -= bytes;
  }
  return groups.flatMap((group) => place(device, group, label, dtype) ?? []);
}

function twice(specs: readonly ParameterSpec[]): string {
  const names = specs.map(({ name }) => name);
  return names.find((name, i) => names.indexOf(name) !== i) ?? "a name";
}

/** Our names to the source's, after checking that both lists agree. */
function match(specs: readonly ParameterSpec[], source: TensorSource, naming: Naming): Map<string, string> {
  const { rename = (name: string) => name, optional = () => false, fits = "config.json" } = naming;
  const theirs = new Map<string, string>();
  for (const name of source.tensors.keys()) {
    const ours = rename(name);
    if (ours !== undefined) theirs.set(ours, name);
  }
  const wanted = new Map(specs.map((spec) => [spec.name, spec]));
  const problems = [
    ...list("missing", specs.filter(({ name }) => !theirs.has(name) && !optional(name)).map((s) => s.name)), // prettier-ignore
    ...list("unexpected", [...theirs].filter(([ours]) => !wanted.has(ours)).map(([, name]) => name)), // prettier-ignore
    ...list(
      "of another shape",
      specs.flatMap((spec) => differs(spec, source, theirs.get(spec.name))),
    ),
  ];
  if (problems.length > 0) {
    throw new FormatError(
      `${source.path}: the tensors do not fit ${fits}: ${problems.join("; ")}. Are they of the same model?`,
    );
  }
  return theirs;
}

function list(what: string, names: readonly string[]): string[] {
  if (names.length === 0) return [];
  const more = names.length > 12 ? `, … (${names.length} in all)` : "";
  return [`${what}: ${names.slice(0, 12).join(", ")}${more}`];
}

function differs({ name, shape }: ParameterSpec, source: TensorSource, theirs: string | undefined): string[] {
  const got = theirs === undefined ? undefined : source.tensors.get(theirs)?.shape;
  if (!got || String(got) === String(shape)) return [];
  return [`${name} (expected [${shape}], got [${got}])`];
}

/** @throws FormatError for NaN or an infinity: a model that holds one answers something all the same */
function checkFinite(path: string, name: string, values: Float32Array): void {
  let sum = 0;
  // NaN from either; every weight passes here, and a search takes ten times as long.
  for (let i = 0; i < values.length; i++) sum += values[i]! - values[i]!;
  if (sum === 0) return;
  throw new FormatError(
    `${path}: ${name} holds ${values.find((value) => !Number.isFinite(value))}; expected finite weights. Did its training diverge? Take an earlier checkpoint`,
  );
}

/** Half a step beyond the largest f16, 65504: from here on it rounds to infinity. */
const BEYOND_F16 = 65520;

/** @throws FormatError for a number that f16 cannot hold */
function checkRange(path: string, name: string, values: Float32Array): void {
  const large = values.find((value) => Math.abs(value) >= BEYOND_F16);
  if (large === undefined) return;
  throw new FormatError(
    `${path}: ${name} holds ${large}; f16 ends at 65504, so that this model cannot be held in it. Hold it in f32`,
  );
}

/** A frozen copy: the same specs and values, on the same base. */
export function frozenCopy(parameters: Parameters): Parameters {
  const { device, specs, base } = parameters;
  const copy = createParameters(device, specs, { trainable: false, base, label: "copy" });
  copy.copyFrom(parameters);
  return copy;
}
