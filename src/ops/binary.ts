/** Elementwise functions of two arguments, broadcasting as NumPy does: `add(a, b)`, `mul(x, row)`, `scale(x, 2)`, … */
import { loadKernel } from "../gpu/kernel.ts";
import { call, type CaseInput, defineOp, type NdArray, type Op, strided } from "../tensor/op.ts";
import {
  broadcastShapes,
  broadcastStrides,
  collapse,
  forEachPlace,
  paramsOf,
  type Walk,
} from "../tensor/shape.ts";
import { empty, type Shape, sizeOf, type Tensor } from "../tensor/tensor.ts";
import { sumTo } from "./reduce.ts";

const kernel = await loadKernel("binary");

/** The functions by name, in the order of the kernel's `KIND`. */
const NAMES = ["add", "sub", "mul", "div", "minimum", "maximum"] as const;

export type BinaryKind = (typeof NAMES)[number];

/** Which function, and, for tests, with which kernel. */
export interface BinaryAttrs {
  readonly kind: BinaryKind;
  readonly variant?: string;
}

const REFERENCES: Readonly<Record<BinaryKind, (a: number, b: number) => number>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  minimum: (a, b) => Math.min(a, b),
  maximum: (a, b) => Math.max(a, b),
};

/** How both operands are walked to fill the result. */
function walkOf(kind: string, a: Shape, b: Shape): { shape: Shape; walk: Walk } {
  const shape = broadcastShapes(kind, a, b);
  return { shape, walk: { dims: shape, strides: [broadcastStrides(a, shape), broadcastStrides(b, shape)] } };
}

/** How the plain forms keep an operand with these strides over [R, C]: the kernel's A and B; -1 = not at all. */
function modeOf([row, column]: readonly number[], C: number): number {
  if (column === 1 && row === C) return 0;
  if (column === 1 && row === 0) return 1;
  if (column === 0 && row === 0) return 2;
  return column === 0 && row === 1 ? 3 : -1;
}

/** [R, C] and both operands' modes, where the plain forms can do it. */
function plainForm({ dims, strides }: Walk): { C: number; modes: readonly number[] } | undefined {
  if (dims.length > 2) return undefined;
  const [R, C] = [dims.at(-2) ?? 1, dims.at(-1) ?? 1];
  // Of one row it does not matter whether it is said to repeat.
  const modes = strides.map((s) => modeOf([R === 1 ? (s.at(-1) ?? 0) * C : s[0]!, s.at(-1) ?? 0], C));
  const fits = (R === 1 || C % 4 === 0) && !modes.includes(-1);
  return fits ? { C, modes } : undefined;
}

const NO_DIMS = { ...paramsOf("d", [], 1), ...paramsOf("a", [], 0), ...paramsOf("b", [], 0) };

/** f(a, b); with `dy` dy df/da or dy df/db by `side`, in the shape of the result. */
function run(a: Tensor, b: Tensor, { kind, variant }: BinaryAttrs, dy?: Tensor, side: 0 | 1 = 0): Tensor {
  const { shape, walk } = walkOf(kind, a.shape, b.shape);
  const short = collapse(walk);
  const result = empty(shape, "f32", dy ? `d${kind}` : kind);
  const form = variant === "any" ? undefined : plainForm(short);
  const n = result.size;
  const n4 = Math.ceil(n / 4);
  const entry = dy ? "gradient" : "forward";
  const numbers = { n, n4, c4: Math.ceil((form?.C ?? 1) / 4), scale: 1, shift: 0 };
  const constants = { KIND: NAMES.indexOf(kind), SIDE: side, A: form?.modes[0] ?? 0, B: form?.modes[1] ?? 0 };
  if (form) {
    const bindings = { a, b, result, ...(dy && { dy }) };
    call(kernel, entry, {
      bindings,
      params: { ...NO_DIMS, ...numbers },
      constants,
      workgroups: strided(n4),
      flops: n,
    });
  } else {
    const [sa, sb] = short.strides as [number[], number[]];
    const params = {
      ...numbers,
      ...paramsOf("d", short.dims, 1),
      ...paramsOf("a", sa, 0),
      ...paramsOf("b", sb, 0),
    };
    const bindings = { a_flat: a, b_flat: b, result_flat: result, ...(dy && { dy_flat: dy }) };
    call(kernel, `${entry}_any`, { bindings, params, constants, workgroups: strided(n), flops: n });
  }
  return result;
}

function runAffine(x: Tensor, scale: number, shift: number): Tensor {
  const result = empty(x.shape, "f32", "affine");
  const n4 = Math.ceil(x.size / 4);
  const params = { ...NO_DIMS, n: x.size, n4, c4: 1, scale, shift };
  const constants = { KIND: 0, SIDE: 0, A: 0, B: 0 };
  call(kernel, "affine", {
    bindings: { a: x, result },
    params,
    constants,
    workgroups: strided(n4),
    flops: x.size,
  });
  return result;
}

/** dy df/da (side 0) or dy df/db (side 1), summed to the operand's shape; operands that are not needed are not read. */
function gradient(a: Tensor, b: Tensor, attrs: BinaryAttrs, dy: Tensor, side: 0 | 1): Tensor {
  const { kind, variant } = attrs;
  const [own, other] = side === 0 ? [a, b] : [b, a];
  const using = (name: BinaryKind): BinaryAttrs => ({ kind: name, ...(variant && { variant }) });
  if (kind === "add" || (kind === "sub" && side === 0)) return sumTo(dy, own.shape);
  if (kind === "sub") return runAffine(sumTo(dy, own.shape), -1, 0);
  if (kind === "mul") return sumTo(run(dy, other, using("mul")), own.shape);
  if (kind === "div" && side === 0) return sumTo(run(dy, other, using("div")), own.shape);
  return sumTo(run(a, b, attrs, dy, side), own.shape);
}

function reference(a: NdArray, b: NdArray, kind: BinaryKind): NdArray {
  const { shape, walk } = walkOf(kind, a.shape, b.shape);
  const data = new Float64Array(sizeOf(shape));
  forEachPlace(walk, (i, [p, q]) => (data[i] = REFERENCES[kind](a.data[p!]!, b.data[q!]!)));
  return { shape, data };
}

/** Every way of repeating: not at all, rows, columns, one number, the middle, both operands, ragged and not. */
// prettier-ignore
const SHAPES: readonly (readonly [Shape, Shape])[] = [
  [[1], [1]], [[7], [7]], [[3, 5], [3, 5]], [[2, 3, 8], [2, 3, 8]],
  [[3, 8], [8]], [[8], [3, 8]], [[3, 5], [5]], [[5], [3, 5]], [[2, 3, 4], [4]],
  [[3, 8], [1]], [[1], [3, 5]], [[3, 8], [3, 1]], [[2, 3, 1], [2, 3, 4]], [[5, 1], [1, 8]], [[1, 3], [5, 1]],
  [[2, 3, 4], [2, 1, 4]], [[2, 1, 3], [1, 4, 1]], [[2, 1, 2, 1, 2], [1, 2, 1, 2, 1]], [[6, 1], [1]],
];

/** Away from the pole of a quotient, and no two numbers near each other, for the kinks of minimum and maximum. */
const first = (shape: Shape): CaseInput => ({ shape, fill: (i) => (((i * 13 + 5) % 31) - 15) / 8 });
const second = (shape: Shape): CaseInput => ({
  shape,
  fill: (i) => (i % 2 === 0 ? 1 : -1) * (0.56 + ((i * 7) % 11) / 8),
});

/**
 * f(a, b), elementwise; `kind` names f. Shapes broadcast as in NumPy; gradients are summed back.
 * Where minimum and maximum meet equal arguments, each gets half of the gradient.
 * @throws ShapeError when shapes do not broadcast
 */
export const binary: Op<[a: Tensor, b: Tensor], BinaryAttrs> = defineOp<[a: Tensor, b: Tensor], BinaryAttrs>({
  name: "binary",
  arity: 2,
  forward: ([a, b], attrs) => run(a, b, attrs),
  backward: ({ inputs: [a, b], attrs, dy: [dy], needs }) =>
    ([0, 1] as const).map((side) => (needs[side] ? gradient(a, b, attrs, dy!, side) : undefined)),
  reference: ([a, b], { kind }) => [reference(a!, b!, kind)],
  variants: () => ["any", "best"],
  cases: NAMES.flatMap((kind) =>
    SHAPES.map(([a, b]) => ({
      name: `${kind} [${a}] [${b}]`,
      inputs: [first(a), second(b)],
      attrs: { kind },
    })),
  ),
});

/** A linear function of every element. */
export interface AffineAttrs {
  readonly scale: number;
  readonly shift: number;
}

/** scale x + shift, elementwise. */
export const affine: Op<[x: Tensor], AffineAttrs> = defineOp<[x: Tensor], AffineAttrs>({
  name: "affine",
  arity: 1,
  forward: ([x], attrs) => runAffine(x, attrs.scale, attrs.shift),
  backward: ({ attrs: { scale: s }, dy: [dy] }) => [runAffine(dy!, s, 0)],
  reference: ([x], attrs) => [{ shape: x!.shape, data: x!.data.map((v) => attrs.scale * v + attrs.shift) }],
  cases: [[1], [3, 5], [2, 64]].map((shape) => ({ inputs: [shape], attrs: { scale: -1.5, shift: 0.25 } })),
});

/** a + b */
export const add = (a: Tensor, b: Tensor): Tensor => binary(a, b, { kind: "add" });
/** a - b */
export const sub = (a: Tensor, b: Tensor): Tensor => binary(a, b, { kind: "sub" });
/** a b, elementwise */
export const mul = (a: Tensor, b: Tensor): Tensor => binary(a, b, { kind: "mul" });
/** a / b */
export const div = (a: Tensor, b: Tensor): Tensor => binary(a, b, { kind: "div" });
/** The smaller of a and b. */
export const minimum = (a: Tensor, b: Tensor): Tensor => binary(a, b, { kind: "minimum" });
/** The larger of a and b. */
export const maximum = (a: Tensor, b: Tensor): Tensor => binary(a, b, { kind: "maximum" });
/** s x, for a number s that is fixed when the program is recorded. */
export const scale = (x: Tensor, s: number): Tensor => affine(x, { scale: s, shift: 0 });
/** x + s, for a number s that is fixed when the program is recorded. */
export const addScalar = (x: Tensor, s: number): Tensor => affine(x, { scale: 1, shift: s });
