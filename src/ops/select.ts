/** Choosing elements: `clip(x, lo, hi)` and `where(mask, a, b)`. */
import { loadKernel } from "../gpu/kernel.ts";
import { call, defineOp, need, type NdArray, type Op, strided } from "../tensor/op.ts";
import { broadcastShapes } from "../tensor/shape.ts";
import { empty, type Shape, type Tensor } from "../tensor/tensor.ts";
import { broadcastTo } from "./layout.ts";

const kernel = await loadKernel("select");

type Entry = "clip" | "clip_gradient" | "pick" | "keep";

/** One kernel call that makes a tensor of `shape`. */
function run(
  entry: Entry,
  shape: Shape,
  bindings: Readonly<Record<string, Tensor>>,
  lo = 0,
  hi = 0,
  SIDE = 0,
): Tensor {
  const result = empty(shape, "f32", entry);
  const n4 = Math.ceil(result.size / 4);
  const params = { n4, lo, hi };
  call(kernel, entry, {
    bindings: { ...bindings, result },
    params,
    constants: { SIDE },
    workgroups: strided(n4),
    flops: result.size,
  });
  return result;
}

/** Bounds of a clip, inclusive. */
export interface ClipAttrs {
  readonly lo: number;
  readonly hi: number;
}

/** x held between two numbers; see {@link clip}. */
export const clamp: Op<[x: Tensor], ClipAttrs> = defineOp<[x: Tensor], ClipAttrs>({
  name: "clip",
  arity: 1,
  forward: ([x], { lo, hi }) => run("clip", x.shape, { source: x }, lo, hi),
  backward: ({ inputs: [x], attrs: { lo, hi }, dy: [dy] }) => [
    run("clip_gradient", x.shape, { source: x, dy: dy! }, lo, hi),
  ],
  reference: ([x], { lo, hi }) => [
    { shape: x!.shape, data: x!.data.map((v) => Math.min(Math.max(v, lo), hi)) },
  ],
  // No element within the steps of central differences of a bound.
  cases: [[1], [7], [3, 5], [2, 64]].map((shape) => ({
    inputs: [{ shape, fill: (i: number) => (((i * 13 + 5) % 31) - 15) / 8 }],
    attrs: { lo: -0.8, hi: 1.2 },
  })),
});

/** Elements of a or of b, all of one shape; see {@link where}. */
export const choose: Op<[mask: Tensor, a: Tensor, b: Tensor], object> = defineOp<
  [mask: Tensor, a: Tensor, b: Tensor]
>({
  name: "where",
  arity: 3,
  forward: ([mask, a, b]) => run("pick", mask.shape, { mask, a, b }),
  backward: ({ inputs: [mask], dy: [dy], needs }) => [
    undefined,
    needs[1] ? run("keep", mask.shape, { mask, dy: dy! }) : undefined,
    needs[2] ? run("keep", mask.shape, { mask, dy: dy! }, 0, 0, 1) : undefined,
  ],
  reference([mask, a, b]): NdArray[] {
    return [{ shape: mask!.shape, data: mask!.data.map((m, i) => (m > 0 ? a!.data[i]! : b!.data[i]!)) }];
  },
  // A mask of ±1: central differences would step over the edge from 0.
  cases: [[1], [7], [3, 5], [2, 64]].map((shape) => ({
    inputs: [{ shape, fill: (i: number) => ((i * 7) % 5 < 2 ? 1 : -1) }, shape, shape],
  })),
});

/**
 * x held between lo and hi; the gradient passes where lo <= x <= hi.
 * @throws ShapeError when lo > hi
 */
export function clip(x: Tensor, lo: number, hi: number): Tensor {
  need(lo <= hi, `clip: lo ${lo} is above hi ${hi}`);
  return clamp(x, { lo, hi });
}

/**
 * a where mask > 0, else b; the shapes broadcast. Gradients flow to a and b where they were chosen.
 * @throws ShapeError when shapes do not broadcast
 */
export function where(mask: Tensor, a: Tensor, b: Tensor): Tensor {
  const shape = broadcastShapes("where", broadcastShapes("where", mask.shape, a.shape), b.shape);
  const fit = (x: Tensor): Tensor => (String(x.shape) === String(shape) ? x : broadcastTo(x, shape));
  return choose(fit(mask), fit(a), fit(b));
}
