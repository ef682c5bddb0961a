/** The strided copy, which every rearrangement is made of, and zeros for what it leaves alone. */
import { loadKernel } from "../gpu/kernel.ts";
import { call, strided } from "../tensor/op.ts";
import { collapse, forEachPlace, paramsOf } from "../tensor/shape.ts";
import { type Dtype, empty, type Shape, sizeOf, type Tensor } from "../tensor/tensor.ts";

const kernel = await loadKernel("copy");

/** Which elements go where: a box of sizes `dims`, and its strides and first place on either side, in elements. */
export interface Move {
  readonly dims: Shape;
  readonly from?: number;
  readonly fromStrides: readonly number[];
  readonly to?: number;
  readonly toStrides: readonly number[];
}

/**
 * Copies a box of elements and leaves the result's others alone; by fours where the last dimension and every stride
 * allow it.
 * @throws ShapeError when more than five dimensions remain that do not join
 */
export function copy(
  source: Tensor,
  result: Tensor,
  { dims, from = 0, fromStrides, to = 0, toStrides }: Move,
): void {
  const short = collapse({ dims, strides: [fromStrides, toStrides] });
  const sizes = short.dims.length > 0 ? [...short.dims] : [1];
  const [s, t] = short.dims.length > 0 ? short.strides.map((x) => [...x]) : [[1], [1]];
  const last = sizes.length - 1;
  const outer = [from, to, ...s!.slice(0, last), ...t!.slice(0, last)];
  const wide = s![last] === 1 && t![last] === 1 && [sizes[last]!, ...outer].every((n) => n % 4 === 0);
  const width = wide ? 4 : 1;
  const quarter = (n: number, i: number): number => (i === last ? n : n / width);
  sizes[last]! /= width;
  const count = sizeOf(sizes);
  const params = {
    count,
    s_start: from / width,
    t_start: to / width,
    ...paramsOf("d", sizes, 1),
    ...paramsOf("s", s!.map(quarter), 0),
    ...paramsOf("t", t!.map(quarter), 0),
  };
  call(kernel, "copy", {
    bindings: { source, result },
    params,
    constants: { T: wide ? "vec4u" : "u32" },
    workgroups: strided(count),
  });
}

const NO_MOVE = {
  s_start: 0,
  t_start: 0,
  ...paramsOf("d", [], 1),
  ...paramsOf("s", [], 0),
  ...paramsOf("t", [], 0),
};

/** A tensor of zeros that this program fills anew at every run. */
export function zeros(shape: Shape, dtype: Dtype = "f32"): Tensor {
  const result = empty(shape, dtype, "zeros");
  const count = Math.ceil(result.size / 4);
  call(kernel, "zeros", {
    bindings: { result },
    params: { ...NO_MOVE, count },
    constants: { T: "vec4u" },
    workgroups: strided(count),
  });
  return result;
}

/** result += source, in place; f32, of the same size. */
export function addTo(result: Tensor, source: Tensor): void {
  const count = Math.ceil(result.size / 4);
  call(kernel, "add", {
    bindings: { source, result },
    params: { ...NO_MOVE, count },
    constants: { T: "vec4f" },
    workgroups: strided(count),
  });
}

/** The float64 counterpart of {@link copy}. */
export function copyArray(
  source: Float64Array,
  result: Float64Array,
  { dims, from = 0, fromStrides, to = 0, toStrides }: Move,
): void {
  const walk = { dims, strides: [fromStrides, toStrides] };
  forEachPlace(walk, (_, [p, q]) => (result[to + q!] = source[from + p!]!));
}

/** The way back: what was the result becomes the source. */
export const reversed = ({ dims, from = 0, fromStrides, to = 0, toStrides }: Move): Move => ({
  dims,
  from: to,
  to: from,
  toStrides: fromStrides,
  fromStrides: toStrides,
});
