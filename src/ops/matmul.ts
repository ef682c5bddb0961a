/** Matrix product, in every transposition, batched, with an optional bias. */
import {
  type Backward,
  type Case,
  type CaseInput,
  defineOp,
  need,
  type NdArray,
  type Op,
} from "../tensor/op.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { half } from "./cast.ts";
import { formNames, gradientA, gradientsOfMap, type MatmulAttrs, product, sizes } from "./product.ts";
import { testVariants } from "./self-test.ts";

/** The plain loops, in float64. */
export function matmulReference(
  a: NdArray,
  b: NdArray,
  bias: NdArray | undefined,
  attrs: MatmulAttrs,
): NdArray {
  const { batch, M, N, K, shared, out } = sizes(a.shape, b.shape, attrs);
  const data = new Float64Array(batch * M * N);
  for (let z = 0; z < batch; z++) {
    for (let m = 0; m < M; m++) {
      for (let n = 0; n < N; n++) {
        let sum = bias?.data[n] ?? 0;
        for (let k = 0; k < K; k++) {
          const i = z * M * K + (attrs.transposeA ? k * M + m : m * K + k);
          const j = (shared ? 0 : z * K * N) + (attrs.transposeB ? n * K + k : k * N + n);
          sum += a.data[i]! * b.data[j]!;
        }
        data[(z * M + m) * N + n] = sum;
      }
    }
  }
  return { shape: out, data };
}

const half16 = (...shape: number[]): CaseInput => ({ shape, dtype: "f16" });

/** Operands in f16, or one of them. */
const HALVES: readonly Case<MatmulAttrs>[] = [
  { inputs: [half16(3, 5), half16(5, 7), [7]], name: "f16, ragged" },
  { inputs: [half16(3, 68), half16(68, 36), undefined], name: "f16, more than one block" },
  { inputs: [half16(3, 72), half16(20, 72), [20]], attrs: { transposeB: true }, name: "f16 nt" },
  { inputs: [half16(12, 8), half16(12, 132), undefined], attrs: { transposeA: true }, name: "f16, wide tn" },
  { inputs: [[6, 8], half16(8, 4), undefined], name: "f32 by f16" },
  { inputs: [half16(6, 8), [8, 4], undefined], name: "f16 by f32" },
];

type MatmulInputs = readonly [a: Tensor, b: Tensor, bias: Tensor | undefined, ...rest: unknown[]];

/** Gradients of A, B and bias; that of B is added where it belongs by its product. */
export function matmulBackward({
  inputs: [a, b, bias],
  attrs,
  dy: [arrived],
  needs,
  into,
}: Omit<Backward<readonly (Tensor | undefined)[], MatmulAttrs>, "inputs" | "outputs"> & {
  readonly inputs: MatmulInputs;
}): (Tensor | undefined)[] {
  need(
    !(attrs.transposeA && b.shape.length === 2 && a.shape.length > 2),
    "matmul: no gradient for a batch of transposed a with a shared b",
  );
  const dc = a.dtype === "f16" ? half(arrived!) : arrived!;
  const wanted = { needs: [needs[1], bias && needs[2]], into: [into[1], into[2]], arrived } as const;
  return [needs[0] ? gradientA(b, dc, attrs) : undefined, ...gradientsOfMap(a, b, dc, attrs, wanted)];
}

/**
 * C = op(A) op(B) + bias. a: [..., M, K] ([..., K, M] with transposeA), b: [..., K, N] or one [K, N] for all
 * ([N, K] with transposeB), bias: [N] or none; returns [..., M, N]. a and b may be f16, each for itself: sums, bias and C are
 * f32 all the same, and where a is f16 dC is rounded to f16 on the way back for the products that it enters.
 * A row of the result does not depend on how many rows there are, to the last bit.
 * @throws ShapeError when inner or leading dimensions differ
 */
export const matmul: Op<[a: Tensor, b: Tensor, bias: Tensor | undefined], MatmulAttrs> = defineOp<
  [a: Tensor, b: Tensor, bias: Tensor | undefined],
  MatmulAttrs
>({
  name: "matmul",
  arity: 3,
  forward: ([a, b, bias], attrs) => product(a, b, bias, attrs),
  backward: matmulBackward,
  reference: ([a, b, bias], attrs) => [matmulReference(a!, b!, bias, attrs)],
  variants: (device) => formNames(device, ({ madeFor }) => madeFor !== "asked"),
  roundingVariants: (device) => formNames(device, ({ madeFor }) => madeFor === "asked"),
  cases: [
    { inputs: [[3, 5], [5, 7], [7]] },
    { inputs: [[4, 8], [8, 12], [12]] },
    { inputs: [[5, 4], [4, 4], undefined] },
    { inputs: [[3, 68], [68, 36], [36]], name: "more than one block" },
    { inputs: [[2, 3, 12], [12, 8], [8]], name: "shared b" },
    { inputs: [[2, 3, 4], [2, 4, 8], undefined], name: "batched" },
    { inputs: [[6, 8], [12, 8], [12]], attrs: { transposeB: true } },
    { inputs: [[3, 72], [20, 72], undefined], attrs: { transposeB: true } },
    { inputs: [[2, 5, 4], [2, 8, 4], undefined], attrs: { transposeB: true }, name: "batched nt" },
    { inputs: [[9, 8], [9, 4], undefined], attrs: { transposeA: true } },
    { inputs: [[12, 8], [12, 132], undefined], attrs: { transposeA: true }, name: "wide tn" },
    { inputs: [[2, 8, 4], [2, 8, 128], undefined], attrs: { transposeA: true }, name: "batched wide tn" },
    { inputs: [[70, 4], [70, 36], undefined], attrs: { transposeA: true } },
    { inputs: [[2, 6, 4], [2, 6, 8], undefined], attrs: { transposeA: true }, name: "batched tn" },
    { inputs: [[5, 3], [2, 5], undefined], attrs: { transposeA: true, transposeB: true } },
    { inputs: [[1, 1], [1, 1], [1]] },
    ...HALVES,
    { inputs: [[150, 4], [4, 8], undefined], name: "a long sum on the way back" },
    { inputs: [[70, 300], [300, 37], [37]], backward: false, name: "several chunks of K, ragged" },
    {
      inputs: [[2, 600, 8], [2, 600, 12], [12]],
      attrs: { transposeA: true },
      backward: false,
      name: "K in parts",
    },
  ],
});

testVariants(matmul, [
  { tier: "tile", variant: "tile", on: "more than one block" },
  { tier: "tile", variant: "tile64", on: "several chunks of K, ragged" },
  { tier: "tile", variant: "split", on: "K in parts" },
  { tier: "subgroups", variant: "broadcast", on: "more than one block" },
  // Operands are rounded to f16: 2^-11 of each, over sums of 68 and 300 terms.
  { tier: "matrix", variant: "matrix64", on: "more than one block", tolerance: 2e-3 },
  { tier: "matrix", variant: "matrix64", on: "several chunks of K, ragged", tolerance: 2e-3 },
]);
