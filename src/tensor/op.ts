/** Ops: forward, backward, a float64 reference and test cases, side by side in one value. */
import { ShapeError } from "../errors.ts";
import { type Dispatch, grid, type View } from "../gpu/call.ts";
import type { Device } from "../gpu/device.ts";
import { type Kernel } from "../gpu/kernel.ts";
import { dispatch, recording } from "../gpu/recording.ts";
import { type Dtype, type Node, type Shape, Tensor } from "./tensor.ts";

/** A tensor of the float64 reference. */
export interface NdArray {
  readonly shape: Shape;
  readonly data: Float64Array;
}

/** The tensors an op takes, optional ones included. */
export type Inputs = readonly (Tensor | undefined)[];

/** What a backward rule sees. */
export interface Backward<I extends Inputs, A> {
  readonly inputs: I;
  readonly outputs: readonly Tensor[];
  readonly attrs: A;
  /** Gradient of each output, f32 whatever the output; undefined where none arrived. */
  readonly dy: readonly (Tensor | undefined)[];
  /** Which inputs want a gradient. */
  readonly needs: readonly boolean[];
  /**
   * Where the gradient of a parameter is summed, undefined for what is none. A rule may add to it there, in place,
   * and return undefined for that input: a large gradient then needs no memory of its own.
   */
  readonly into: readonly (Tensor | undefined)[];
  /**
   * Takes the gradient that has reached an input by other ways so far, undefined where none has: the rule then returns
   * the sum of both, and spares a pass over memory.
   */
  readonly take: (input: number) => Tensor | undefined;
}

/** How one input of a test case is filled. */
export interface CaseInput {
  readonly shape: Shape;
  /** Values; by default normal ones from the case's seed. `u32` marks indices, which get no gradient; `f16` rounds. */
  readonly fill?: (i: number) => number;
  readonly dtype?: Dtype;
}

/** One row of the conformance test. */
export interface Case<A> {
  readonly name?: string;
  readonly inputs: readonly (CaseInput | Shape | undefined)[];
  readonly attrs?: A;
  /** Largest error relative to the largest reference entry; 1e-5 unless a comment says why not. */
  readonly tolerance?: number;
  /** False where the case has kinks that central differences would straddle. */
  readonly backward?: boolean;
}

/** The one description of an op. */
export interface Definition<I extends Inputs, A extends object> {
  readonly name: string;
  /** Number of tensor arguments, optional ones included. */
  readonly arity: I["length"];
  /** The first output is the op's value; the others only serve its backward rule. */
  readonly saves?: true;
  /** Records the kernel calls. */
  forward(inputs: I, attrs: A): Tensor | readonly Tensor[];
  /** Gradients of the inputs, one entry an input. Absent: the op is not differentiable. */
  readonly backward?: (ctx: Backward<I, A>) => readonly (Tensor | undefined)[];
  /** The plain float64 loop that the kernels are checked against. Returns one array an output. */
  reference(inputs: readonly (NdArray | undefined)[], attrs: A): readonly NdArray[];
  readonly cases: readonly Case<A>[];
  /** Names of the kernel variants that this device can run, the plain one first; undefined = only one. */
  readonly variants?: (device: Device) => readonly string[];
  /** Variants that round their operands, so that no test holds them to f32: self-tests try them, and whoever names them. */
  readonly roundingVariants?: (device: Device) => readonly string[];
}

/** An op: call it with its tensors, then its attributes. */
export interface Op<I extends Inputs, A extends object, O = Tensor> extends Definition<I, A> {
  (...args: [...I, attrs: A] | I): O;
}

/** Any op, for lists and harnesses. */
// oxlint-disable-next-line no-explicit-any -- a list holds ops of every input tuple; only its harness calls them
export type AnyOp = Op<any, any, Tensor | readonly Tensor[]>;

/**
 * Makes an op of its definition. Gradients flow through it whenever an input needs one.
 * @example export const gelu = defineOp<[x: Tensor], { approximate: boolean }>({ name: "gelu", arity: 1, … });
 */
export function defineOp<I extends Inputs, A extends object = object, O = Tensor>(
  definition: Definition<I, A>,
): Op<I, A, O> {
  const { arity, name, ...rest } = definition;
  const apply = (...args: readonly unknown[]): O => {
    const inputs = Array.from({ length: arity }, (_, i) =>
      args[i] instanceof Tensor ? args[i] : undefined,
    ) as unknown as I;
    const attrs = (args.find((a) => a !== undefined && !(a instanceof Tensor)) ?? {}) as A;
    const made = definition.forward(inputs, attrs);
    const outputs = made instanceof Tensor ? [made] : made;
    if (inputs.some((t) => t?.needsGrad)) link(definition, inputs, outputs, attrs);
    return (definition.saves ? outputs[0] : made) as O;
  };
  Object.defineProperty(apply, "name", { value: name });
  return Object.assign(apply, { arity, ...rest }) as unknown as Op<I, A, O>;
}

/** Remembers how `outputs` came to be, on every one of them. */
function link<I extends Inputs, A extends object>(
  { name, backward }: Definition<I, A>,
  inputs: I,
  outputs: readonly Tensor[],
  attrs: A,
): void {
  if (!backward) return;
  const needs = inputs.map((t) => t?.needsGrad === true && t.dtype !== "u32");
  const into = inputs.map((t) => t?.grad);
  const node: Node = {
    name,
    inputs,
    outputs,
    backward: (dy, take) =>
      backward({ inputs: asTheyWere(inputs), outputs: asTheyWere(outputs), attrs, dy, needs, into, take }),
  };
  for (const output of outputs) output.node = node;
}

/** The same tensors; one that can be had {@link Tensor.again} is made anew when a backward rule looks at it. */
function asTheyWere<T extends Inputs>(tensors: T): T {
  if (!tensors.some((t) => t?.again)) return tensors;
  const list = [...tensors];
  tensors.forEach((t, i) => {
    const { again } = t ?? {};
    let made: Tensor | undefined;
    if (again) Object.defineProperty(list, i, { get: () => (made ??= again()) });
  });
  return list as unknown as T;
}

/** {@link dispatch} with tensors for bindings. */
export function call(
  kernel: Kernel,
  entry: string,
  what: Omit<Dispatch, "bindings"> & { readonly bindings: Readonly<Record<string, Tensor | View>> },
): void {
  const bindings = Object.fromEntries(
    Object.entries(what.bindings).map(([name, b]) => [name, b instanceof Tensor ? b.view : b]),
  );
  dispatch(kernel, entry, { ...what, bindings });
}

/**
 * A grid of 64-thread workgroups that stride over `items` (vec4s, say): many items a thread on a software
 * adapter, where a workgroup costs more than the arithmetic, few on a GPU.
 */
export function strided(items: number, threads = 64): Dispatch["workgroups"] {
  const perThread = recording().device.software ? 16 : 2;
  return grid(Math.max(1, Math.ceil(items / (threads * perThread))));
}

/**
 * Refuses shapes that break an op's rule.
 * @throws ShapeError "op: rule; got …"
 */
export function need(condition: boolean, message: string): asserts condition {
  if (!condition) throw new ShapeError(message);
}
