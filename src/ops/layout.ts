/**
 * Moving elements: `transpose(x, [1, 0])`, `slice(x, axis, start, end)`, `concat([a, b], axis)`, `broadcastTo(x, shape)`;
 * all by the strided copy of copy.ts.
 */
import { defineOp, need, type NdArray, type Op } from "../tensor/op.ts";
import { axisOf, broadcastShapes, broadcastStrides, stridesOf } from "../tensor/shape.ts";
import { empty, type Shape, sizeOf, type Tensor } from "../tensor/tensor.ts";
import { copy, copyArray, type Move, reversed, zeros } from "./copy.ts";
import { sumTo } from "./reduce.ts";

/** New order of the dimensions: dimension i of the result is dimension perm[i] of x. */
export interface TransposeAttrs {
  readonly perm: readonly number[];
}

function transposition(x: Shape, { perm }: TransposeAttrs): { shape: Shape; move: Move } {
  const valid = perm.length === x.length && x.every((_, i) => perm.includes(i));
  need(valid, `transpose: perm [${perm}] of [${x}]; expected each of 0 to ${x.length - 1} once`);
  const shape = perm.map((p) => x[p]!);
  const own = stridesOf(x);
  return { shape, move: { dims: shape, fromStrides: perm.map((p) => own[p]!), toStrides: stridesOf(shape) } };
}

function runTranspose(x: Tensor, attrs: TransposeAttrs): Tensor {
  const { shape, move } = transposition(x.shape, attrs);
  const y = empty(shape, x.dtype, "transpose");
  copy(x, y, move);
  return y;
}

/** Dimensions in another order. @throws ShapeError when perm is not a permutation of them */
export const permute: Op<[x: Tensor], TransposeAttrs> = defineOp<[x: Tensor], TransposeAttrs>({
  name: "transpose",
  arity: 1,
  forward: ([x], attrs) => runTranspose(x, attrs),
  backward: ({ attrs: { perm }, dy: [dy] }) => [
    runTranspose(dy!, { perm: perm.map((_, i) => perm.indexOf(i)) }),
  ],
  reference([x], attrs): NdArray[] {
    const { shape, move } = transposition(x!.shape, attrs);
    const data = new Float64Array(x!.data.length);
    copyArray(x!.data, data, move);
    return [{ shape, data }];
  },
  cases: [
    { inputs: [[1]], attrs: { perm: [0] } },
    { inputs: [[3, 5]], attrs: { perm: [1, 0] } },
    { inputs: [[8, 12]], attrs: { perm: [1, 0] } },
    { inputs: [[2, 3, 4, 8]], attrs: { perm: [0, 2, 1, 3] }, name: "heads forward" },
    { inputs: [[2, 3, 4, 5]], attrs: { perm: [3, 1, 0, 2] } },
    { inputs: [[2, 1, 3, 2, 3]], attrs: { perm: [4, 3, 2, 1, 0] } },
    {
      inputs: [{ shape: [3, 4], dtype: "u32", fill: (i) => i + 2 ** 30 }],
      attrs: { perm: [1, 0] },
      name: "indices",
    },
  ],
});

/** Elements start .. end - 1 of one dimension. */
export interface SliceAttrs {
  readonly axis: number;
  readonly start: number;
  readonly end: number;
}

/** The part of `whole` that a slice is: the box, seen from the whole (`from`) and from the part (`to`). */
function partOf(whole: Shape, { axis, start, end }: SliceAttrs): { shape: Shape; move: Move } {
  const shape = whole.with(axis, end - start);
  const own = stridesOf(whole);
  return {
    shape,
    move: { dims: shape, from: start * own[axis]!, fromStrides: own, toStrides: stridesOf(shape) },
  };
}

function runSlice(x: Tensor, attrs: SliceAttrs): Tensor {
  const { shape, move } = partOf(x.shape, attrs);
  const y = empty(shape, x.dtype, "slice");
  copy(x, y, move);
  return y;
}

/** A part of x along one axis; see {@link slice}. */
export const part: Op<[x: Tensor], SliceAttrs> = defineOp<[x: Tensor], SliceAttrs>({
  name: "slice",
  arity: 1,
  forward: ([x], attrs) => runSlice(x, attrs),
  backward({ inputs: [x], attrs, dy: [dy] }) {
    const dx = zeros(x.shape);
    copy(dy!, dx, reversed(partOf(x.shape, attrs).move));
    return [dx];
  },
  reference([x], attrs): NdArray[] {
    const { shape, move } = partOf(x!.shape, attrs);
    const data = new Float64Array(sizeOf(shape));
    copyArray(x!.data, data, move);
    return [{ shape, data }];
  },
  cases: [
    { inputs: [[1]], attrs: { axis: 0, start: 0, end: 1 } },
    { inputs: [[7]], attrs: { axis: 0, start: 2, end: 5 } },
    { inputs: [[5, 8]], attrs: { axis: 0, start: 1, end: 4 } },
    { inputs: [[3, 12]], attrs: { axis: 1, start: 4, end: 8 }, name: "aligned columns" },
    { inputs: [[3, 12]], attrs: { axis: 1, start: 3, end: 7 }, name: "unaligned columns" },
    { inputs: [[2, 5, 3]], attrs: { axis: 1, start: 4, end: 5 } },
    {
      inputs: [{ shape: [3, 4], dtype: "u32", fill: (i) => i }],
      attrs: { axis: 1, start: 1, end: 3 },
      name: "indices",
    },
  ],
});

/** Along which dimension arrays are put one after the other. */
export interface ConcatAttrs {
  readonly axis: number;
}

function concatShape(shapes: readonly Shape[], axis: number): Shape {
  const [head] = shapes as [Shape];
  const fits = shapes.every(
    (s) => s.length === head.length && s.every((n, i) => i === axis || n === head[i]),
  );
  need(fits, `concat: ${shapes.map((s) => `[${s}]`).join(" ")} differ in another dimension than ${axis}`);
  return head.with(
    axis,
    shapes.reduce((total, s) => total + s[axis]!, 0),
  );
}

/** Where each of `shapes` lies in the result. */
function parts(shapes: readonly Shape[], axis: number): SliceAttrs[] {
  let end = 0;
  return shapes.map((s) => ({ axis, start: end, end: (end += s[axis]!) }));
}

const concats = new Map<number, Op<Tensor[], ConcatAttrs>>();

/** The op that joins `arity` tensors; see {@link concat}. */
export function concatOf(arity: number): Op<Tensor[], ConcatAttrs> {
  const made = concats.get(arity) ?? makeConcat(arity);
  concats.set(arity, made);
  return made;
}

const makeConcat = (arity: number): Op<Tensor[], ConcatAttrs> =>
  defineOp<Tensor[], ConcatAttrs>({
    name: "concat",
    arity,
    forward(inputs, { axis }) {
      const shapes = inputs.map((x) => x.shape);
      const y = empty(concatShape(shapes, axis), inputs[0]!.dtype, "concat");
      parts(shapes, axis).forEach((attrs, i) => copy(inputs[i]!, y, reversed(partOf(y.shape, attrs).move)));
      return y;
    },
    backward({ inputs, attrs: { axis }, dy: [dy], needs }) {
      const places = parts(
        inputs.map((x) => x.shape),
        axis,
      );
      return places.map((attrs, i) => (needs[i] ? runSlice(dy!, attrs) : undefined));
    },
    reference(inputs, { axis }): NdArray[] {
      const shapes = inputs.map((x) => x!.shape);
      const shape = concatShape(shapes, axis);
      const data = new Float64Array(sizeOf(shape));
      parts(shapes, axis).forEach((attrs, i) =>
        copyArray(inputs[i]!.data, data, reversed(partOf(shape, attrs).move)),
      );
      return [{ shape, data }];
    },
    cases: [1, 3, 4].flatMap((inner) =>
      [0, 1, 2].map((axis) => ({
        name: `${arity} along ${axis}, inner ${inner}`,
        inputs: Array.from({ length: arity }, (_, i): Shape =>
          [2, 3, inner].with(axis, (i + 1) * (axis === 2 ? inner : 1)),
        ),
        attrs: { axis },
      })),
    ),
  });

/** The shape to repeat to. */
export interface BroadcastAttrs {
  readonly shape: Shape;
}

const repetition = (x: Shape, shape: Shape): Move => ({
  dims: shape,
  fromStrides: broadcastStrides(x, shape),
  toStrides: stridesOf(shape),
});

/** x repeated to a shape that it broadcasts to; see {@link broadcastTo}. */
export const repeat: Op<[x: Tensor], BroadcastAttrs> = defineOp<[x: Tensor], BroadcastAttrs>({
  name: "broadcastTo",
  arity: 1,
  forward([x], { shape }) {
    const fits = String(broadcastShapes("broadcastTo", x.shape, shape)) === String(shape);
    need(fits, `broadcastTo: [${x.shape}] does not broadcast to [${shape}]`);
    const y = empty(shape, x.dtype, "broadcastTo");
    copy(x, y, repetition(x.shape, shape));
    return y;
  },
  backward: ({ inputs: [x], dy: [dy] }) => [sumTo(dy!, x.shape)],
  reference([x], { shape }): NdArray[] {
    const data = new Float64Array(sizeOf(shape));
    copyArray(x!.data, data, repetition(x!.shape, shape));
    return [{ shape, data }];
  },
  cases: [
    { inputs: [[1]], attrs: { shape: [1] } },
    { inputs: [[1]], attrs: { shape: [3, 5] } },
    { inputs: [[8]], attrs: { shape: [3, 8] } },
    { inputs: [[2, 1, 3]], attrs: { shape: [2, 4, 3] } },
    { inputs: [[4, 1]], attrs: { shape: [2, 4, 8] } },
  ],
});

/**
 * Dimensions in another order: dimension i of the result is dimension perm[i] of x.
 * @throws ShapeError when perm is not a permutation of x's dimensions
 */
export const transpose = (x: Tensor, perm: readonly number[]): Tensor => permute(x, { perm });

/**
 * x[start .. end - 1] along an axis.
 * @throws ShapeError when the range is empty or outside
 */
export function slice(x: Tensor, axis: number, start: number, end: number): Tensor {
  const at = axisOf("slice", x.shape, axis);
  const inside =
    Number.isInteger(start) && Number.isInteger(end) && 0 <= start && start < end && end <= x.shape[at]!;
  need(
    inside,
    `slice: ${start} to ${end} along axis ${axis} of [${x.shape}]; expected 0 <= start < end <= ${x.shape[at]}`,
  );
  return part(x, { axis: at, start, end });
}

/**
 * Tensors of one type one after the other along an axis; their other dimensions must be equal.
 * @throws ShapeError when they are not
 */
export function concat(tensors: readonly Tensor[], axis: number): Tensor {
  const [head] = tensors;
  need(head !== undefined, "concat: needs at least one tensor");
  need(
    tensors.every((t) => t.dtype === head.dtype),
    `concat: mixes ${tensors.map((t) => t.dtype).join(", ")}`,
  );
  return concatOf(tensors.length)(...tensors, { axis: axisOf("concat", head.shape, axis) });
}

/**
 * x repeated to a shape that it broadcasts to (aligned right, a dimension of 1 repeats).
 * @throws ShapeError when it does not
 */
export const broadcastTo = (x: Tensor, shape: Shape): Tensor => repeat(x, { shape });
