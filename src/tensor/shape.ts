/** Arithmetic on shapes: axes, row-major strides, broadcasting, and fewer but longer dimensions for kernels. */
import { ShapeError } from "../errors.ts";
import { type Shape, sizeOf } from "./tensor.ts";

/** A box of elements and where several arrays keep them: `strides[k][i]` elements of array k along dimension i. */
export interface Walk {
  readonly dims: readonly number[];
  readonly strides: readonly (readonly number[])[];
}

/**
 * A dimension's index from 0; negative counts from the end.
 * @throws ShapeError when there is no such dimension
 */
export function axisOf(who: string, shape: Shape, axis: number): number {
  const at = axis < 0 ? axis + shape.length : axis;
  if (!Number.isInteger(at) || at < 0 || at >= shape.length) {
    throw new ShapeError(
      `${who}: axis ${axis} of [${shape}]; expected an integer from ${-shape.length} to ${shape.length - 1}`,
    );
  }
  return at;
}

/** Row-major strides, in elements. */
export function stridesOf(shape: Shape): number[] {
  return shape.map((_, i) => sizeOf(shape.slice(i + 1)));
}

/**
 * The shape that both broadcast to: aligned right, a dimension of 1 repeats.
 * Source: NumPy, "General broadcasting rules".
 * @throws ShapeError when two dimensions differ and neither is 1
 */
export function broadcastShapes(who: string, a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const m = a[i - rank + a.length] ?? 1;
    const n = b[i - rank + b.length] ?? 1;
    if (m === n || n === 1) return m;
    if (m === 1) return n;
    throw new ShapeError(
      `${who}: [${a}] and [${b}] do not broadcast: dimension ${i} is ${m} against ${n}; one must be 1`,
    );
  });
}

/** Strides of an array of `shape` when walked as `to`, which it broadcasts to: 0 where it repeats. */
export function broadcastStrides(shape: Shape, to: Shape): number[] {
  const own = stridesOf(shape);
  const pad = to.length - shape.length;
  return to.map((_, i) => (i < pad || shape[i - pad] === 1 ? 0 : own[i - pad]!));
}

/** The same walk in as few dimensions as possible: ones dropped, neighbours joined where every array allows it. */
export function collapse({ dims, strides }: Walk): Walk {
  const kept: number[] = [];
  const joined: number[][] = strides.map(() => []);
  dims.forEach((dim, i) => {
    if (dim === 1) return;
    const last = kept.length - 1;
    if (last >= 0 && strides.every((s, k) => joined[k]![last] === s[i]! * dim)) {
      kept[last]! *= dim;
      strides.forEach((s, k) => (joined[k]![last] = s[i]!));
    } else {
      kept.push(dim);
      strides.forEach((s, k) => joined[k]!.push(s[i]!));
    }
  });
  return { dims: kept, strides: joined };
}

/** Dimensions of the strided kernels. */
export const MAX_DIMS = 5;

/**
 * `numbers` with `fill` in front, to {@link MAX_DIMS} of them, as a kernel's scalar params `name0`, `name1`, …
 * @throws ShapeError when there are more
 */
export function paramsOf(name: string, numbers: readonly number[], fill: number): Record<string, number> {
  if (numbers.length > MAX_DIMS) {
    throw new ShapeError(
      `strided kernel: ${numbers.length} dimensions that do not join; at most ${MAX_DIMS}. Reshape first.`,
    );
  }
  const padded = [...Array<number>(MAX_DIMS - numbers.length).fill(fill), ...numbers];
  return Object.fromEntries(padded.map((n, i) => [`${name}${i}`, n]));
}

/** Visits every place of a walk in row-major order, for float64 references: `visit(i, offset of each array)`. */
export function forEachPlace(
  { dims, strides }: Walk,
  visit: (i: number, at: readonly number[]) => void,
): void {
  const n = sizeOf(dims);
  for (let i = 0; i < n; i++) {
    const at = strides.map(() => 0);
    for (let d = dims.length - 1, rest = i; d >= 0; d--) {
      const index = rest % dims[d]!;
      rest = Math.floor(rest / dims[d]!);
      strides.forEach((s, k) => (at[k]! += index * s[d]!));
    }
    visit(i, at);
  }
}
