/** Reductions over one axis or all: `sum(x, 0)`, `mean(x)`, `max(x, -1)`, `min(x)`; and sums for gradients. */
import { grid } from "../gpu/call.ts";
import type { Device } from "../gpu/device.ts";
import { loadKernel } from "../gpu/kernel.ts";
import { axisOf, broadcastStrides, collapse } from "../tensor/shape.ts";
import { call, type Case, defineOp, need, type NdArray, type Op, strided } from "../tensor/op.ts";
import { empty, type Shape, sizeOf, type Tensor } from "../tensor/tensor.ts";

const kernel = await loadKernel("reduce");

export type ReduceKind = "sum" | "mean" | "max" | "min";

/** What to reduce, over which axis (absent: over all), and, for tests, with which kernel. */
export interface ReduceAttrs {
  readonly kind: ReduceKind;
  readonly axis?: number;
  readonly variant?: string;
}

/** An array as three dimensions, of which the middle one is reduced. */
interface Box {
  readonly outer: number;
  readonly n: number;
  readonly inner: number;
}

/** The number of each kind in the kernel: a mean is a scaled sum. */
const KINDS: Readonly<Record<ReduceKind, number>> = { sum: 0, mean: 0, max: 1, min: 2 };
/** Elements that one subgroup, or one thread, adds up: fixed, so that sums do not depend on the adapter's cores. */
const SUBGROUP_SLAB = 4096;
const THREAD_SLAB = 128;
/** Below this a subgroup would mostly idle. */
const SHORTEST_ROW = 16;

interface Stage extends Box {
  readonly slab: number;
  readonly slabs: number;
  /** Lanes of a subgroup that share a slab; 0 = a thread a slab. */
  readonly lanes: number;
}

function stageOf(device: Device, { outer, n, inner }: Box, variant?: string): Stage {
  const lanes = inner === 1 && n >= SHORTEST_ROW && variant !== "plain" ? device.subgroupSize : 0;
  const slab = lanes > 0 ? SUBGROUP_SLAB : THREAD_SLAB;
  return { outer, n, inner, slab, slabs: Math.ceil(n / slab), lanes };
}

/** Constants that every entry point needs, whether it uses them or not. */
const PLAIN = { T: "f32", S: "f32", KIND: 0, VEC: 0, L: 1, LOG: 0, ADD: 0 };
const PARAMS = { slab: 1, slabs: 1, steps: 0, scale: 1 };

/** [outer, n, inner] -> [outer, slabs, inner]; sums of columns can be added to `into`. */
function runStage(x: Tensor, stage: Stage, KIND: number, scale: number, into?: Tensor): Tensor {
  const { outer, n, inner, slab, slabs, lanes } = stage;
  const y = into ?? empty([outer, slabs, inner], "f32", "reduced");
  if (lanes > 0) {
    const VEC = n % 4 === 0 || outer === 1 ? 1 : 0;
    call(kernel, "rows", {
      bindings: { source4: x, source1: x, result1: y },
      params: { outer, n, inner, slab, slabs, scale, steps: Math.ceil(Math.min(n, slab) / (4 * lanes)) },
      constants: { ...PLAIN, T: "vec4f", KIND, VEC, L: lanes, LOG: Math.log2(lanes) },
      workgroups: grid(Math.ceil((outer * slabs * lanes) / 64)),
      flops: x.size,
    });
  } else {
    const [T, width] = inner % 4 === 0 ? ["vec4f", 4] : ["f32", 1];
    call(kernel, "columns", {
      bindings: { source: x, result: y },
      params: { ...PARAMS, outer, n, inner: inner / width, slab, slabs, scale },
      constants: { ...PLAIN, T, KIND, ADD: into ? 1 : 0 },
      workgroups: grid(Math.ceil(y.size / width / 64)),
      flops: x.size,
    });
  }
  return y;
}

function reduceBox(x: Tensor, box: Box, { kind, variant }: ReduceAttrs, into?: Tensor): Tensor {
  for (let [now, n] = [x, box.n]; ;) {
    const stage = stageOf(x.device, { ...box, n }, variant);
    const last = stage.slabs === 1;
    now = runStage(now, stage, KINDS[kind], kind === "mean" && last ? 1 / box.n : 1, last ? into : undefined);
    if (last) return now;
    n = stage.slabs;
  }
}

/** Repeats dy [outer, inner] n times, scaled: the gradient of a sum. */
function expand(dy: Tensor, { outer, n, inner }: Box, shape: Shape, scale: number): Tensor {
  const dx = empty(shape, "f32", "dsum");
  const wide = inner % 4 === 0 || (inner === 1 && (n % 4 === 0 || outer === 1));
  const [T, S] = wide ? ["vec4f", inner === 1 ? "f32" : "vec4f"] : ["f32", "f32"];
  const items = wide ? Math.ceil(dx.size / 4) : dx.size;
  const sizes = wide && inner === 1 ? { n: Math.ceil(n / 4), inner } : { n, inner: wide ? inner / 4 : inner };
  const params = { ...PARAMS, outer, ...sizes, scale };
  call(kernel, "expand", {
    bindings: { dy, result: dx },
    params,
    constants: { ...PLAIN, T, S },
    workgroups: strided(items),
  });
  return dx;
}

/** The gradient of max or min: stage by stage back to the first extreme element. */
function toFirst(x: Tensor, dy: Tensor, box: Box, kind: ReduceKind): Tensor {
  const stage = stageOf(x.device, box, "plain");
  const best = runStage(x, stage, KINDS[kind], 1);
  const { outer, n, inner, slab, slabs } = stage;
  const given = slabs === 1 ? dy : toFirst(best, dy, { outer, n: slabs, inner }, kind);
  const dx = empty(x.shape, "f32", `d${kind}`);
  const [T, width] = inner % 4 === 0 ? ["vec4f", 4] : ["f32", 1];
  call(kernel, "first", {
    bindings: { source: x, best, dy: given, result: dx },
    params: { ...PARAMS, outer, n, inner: inner / width, slab, slabs },
    constants: { ...PLAIN, T, S: T },
    workgroups: grid(Math.ceil(best.size / width / 64)),
  });
  return dx;
}

function boxOf(shape: Shape, axis: number | undefined): { box: Box; out: Shape } {
  if (axis === undefined) return { box: { outer: 1, n: sizeOf(shape), inner: 1 }, out: [1] };
  const at = axisOf("reduce", shape, axis);
  const box = { outer: sizeOf(shape.slice(0, at)), n: shape[at]!, inner: sizeOf(shape.slice(at + 1)) };
  return { box, out: shape.length === 1 ? [1] : shape.toSpliced(at, 1) };
}

const JOIN: Readonly<Record<ReduceKind, (a: number, b: number) => number>> = {
  sum: (a, b) => a + b,
  mean: (a, b) => a + b,
  max: (a, b) => Math.max(a, b),
  min: (a, b) => Math.min(a, b),
};

function reference(x: NdArray, { kind, axis }: ReduceAttrs): NdArray {
  const { box, out } = boxOf(x.shape, axis);
  const { outer, n, inner } = box;
  const data = new Float64Array(outer * inner);
  for (let i = 0; i < data.length; i++) {
    const start = Math.floor(i / inner) * n * inner + (i % inner);
    let total = x.data[start]!;
    for (let j = 1; j < n; j++) total = JOIN[kind](total, x.data[start + j * inner]!);
    data[i] = kind === "mean" ? total / n : total;
  }
  return { shape: out, data };
}

/** Values that differ by far more than the steps of central differences. */
const distinct = (i: number): number => (((i * 7919) % 10007) - 5000) / 1000;

const over = (kind: ReduceKind, axis: number | undefined): ReduceAttrs =>
  axis === undefined ? { kind } : { kind, axis };

/** Shapes and axes: size 1, every axis, ragged and not, rows and columns of several slabs. */
// prettier-ignore
const SHAPES: readonly (readonly [Shape, axis?: number])[] = [
  [[1], 0], [[7]], [[33]], [[5, 3], 0], [[3, 8], 0], [[3, 20], 1], [[2, 70], -1], [[2, 3, 4], 1], [[3, 5, 2], 1],
  [[260, 4], 0], [[260, 2], 0], [[9000]], [[2, 4100], 1],
];

const caseOf = (kind: ReduceKind, shape: Shape, axis: number | undefined): Case<ReduceAttrs> => ({
  name: `${kind} [${shape}] over ${axis ?? "all"}`,
  inputs: [{ shape, fill: distinct }],
  attrs: over(kind, axis),
  // Central differences of thousands of elements, each a pass over all of them, would take minutes.
  backward: sizeOf(shape) < 4000,
});

/**
 * y = sum, mean, max or min of x over an axis, which disappears; over all axes when none is given: [1].
 * A maximum's gradient goes to the first of equal elements.
 * @throws ShapeError when there is no such axis
 */
export const reduce: Op<[x: Tensor], ReduceAttrs> = defineOp<[x: Tensor], ReduceAttrs>({
  name: "reduce",
  arity: 1,
  forward([x], attrs) {
    const { box, out } = boxOf(x.shape, attrs.axis);
    return reduceBox(x, box, attrs).reshape(...out);
  },
  backward({ inputs: [x], attrs: { kind, axis }, dy: [dy] }) {
    const { box } = boxOf(x.shape, axis);
    if (kind === "max" || kind === "min") return [toFirst(x, dy!, box, kind)];
    return [expand(dy!, box, x.shape, kind === "mean" ? 1 / box.n : 1)];
  },
  reference: ([x], attrs) => [reference(x!, attrs)],
  variants: (device) => (device.subgroupSize > 0 ? ["plain", "subgroup"] : ["plain"]),
  cases: (Object.keys(KINDS) as ReduceKind[]).flatMap((kind) =>
    SHAPES.map(([shape, axis]) => caseOf(kind, shape, axis)),
  ),
});

/** Sum over an axis, or over all: [1]. */
export const sum = (x: Tensor, axis?: number): Tensor => reduce(x, over("sum", axis));
/** Mean over an axis, or over all: [1]. */
export const mean = (x: Tensor, axis?: number): Tensor => reduce(x, over("mean", axis));
/** Largest element over an axis, or over all: [1]. */
export const max = (x: Tensor, axis?: number): Tensor => reduce(x, over("max", axis));
/** Smallest element over an axis, or over all: [1]. */
export const min = (x: Tensor, axis?: number): Tensor => reduce(x, over("min", axis));

/**
 * Sums the rows of x [R, C] -> [C], slabs of 128 rows first. Carries no gradient itself.
 * @param into [C]: what to add them to, in place, and to return
 * @throws ShapeError when x is not a matrix
 */
export function columnSum(x: Tensor, into?: Tensor): Tensor {
  need(x.shape.length === 2, `columnSum: wants a matrix, got [${x.shape}]`);
  const [n, inner] = x.shape as [number, number];
  return reduceBox(x, { outer: 1, n, inner }, { kind: "sum", variant: "plain" }, into).reshape(inner);
}

/** Sums dy over the dimensions in which an array of `shape` was repeated: the gradient of broadcasting. */
export function sumTo(dy: Tensor, shape: Shape): Tensor {
  const { dims, strides } = collapse({ dims: dy.shape, strides: [broadcastStrides(shape, dy.shape)] });
  let so = dy;
  const left = [...dims];
  for (let i = dims.length - 1; i >= 0; i--) {
    if (strides[0]![i] !== 0) continue;
    so = reduceBox(
      so,
      { outer: sizeOf(left.slice(0, i)), n: left[i]!, inner: sizeOf(left.slice(i + 1)) },
      { kind: "sum" },
    );
    left.splice(i, 1);
  }
  return so.reshape(...shape);
}
