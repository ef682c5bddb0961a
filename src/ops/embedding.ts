/** `embedding(weight, ids)`: the vectors of tokens. Its kernels are those of gather.ts. */
import { type CaseInput, defineOp, need, type Op } from "../tensor/op.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { cast } from "./cast.ts";
import { addRows, lookup, lookupReference } from "./gather.ts";

const half16 = (...shape: number[]): CaseInput => ({ shape, dtype: "f16" });

/** The vectors of tokens; see {@link embedding}. */
export const embed: Op<[weight: Tensor, ids: Tensor], object> = defineOp<[weight: Tensor, ids: Tensor]>({
  name: "embedding",
  arity: 2,
  forward: ([weight, ids]) => lookup(weight, ids).reshape(...ids.shape, weight.dim(1)),
  backward: ({ inputs: [weight, ids], dy: [dy], into }) => [
    addRows(dy!, ids, weight.shape, into[0]),
    undefined,
  ],
  reference([weight, ids]) {
    const { data } = lookupReference(weight!, ids!);
    return [{ shape: [...ids!.shape, weight!.shape[1]!], data }];
  },
  cases: [
    { inputs: [[1, 1], { shape: [1], dtype: "u32", fill: () => 0 }], name: "one" },
    { inputs: [[7, 3], { shape: [2, 5], dtype: "u32", fill: (i) => (i * 3) % 7 }], name: "ragged" },
    {
      inputs: [[11, 8], { shape: [4, 9], dtype: "u32", fill: (i) => (i * i) % 5 }],
      name: "some never named",
    },
    {
      inputs: [[5, 4], { shape: [3, 2], dtype: "u32", fill: (i) => (i === 2 ? 2 ** 31 : i) }],
      name: "ids beyond the end",
    },
    {
      inputs: [half16(7, 3), { shape: [2, 5], dtype: "u32", fill: (i) => (i * 3) % 7 }],
      name: "f16, ragged",
    },
    { inputs: [half16(9, 8), { shape: [5], dtype: "u32", fill: (i) => i * 2 }], name: "f16" },
    {
      inputs: [[6, 4], { shape: [3, 700], dtype: "u32", fill: (i) => (i < 1000 ? 4 : (i * 7) % 6) }],
      name: "2100 positions",
    },
  ],
});

/**
 * Vectors of tokens: weight [V, C], f32 or f16, ids u32 [...] -> f32 [..., C]. An id above V - 1 means V - 1. The gradient of a
 * token's vector is summed over its positions in order, to the same bits in every run.
 * @throws ShapeError when weight is not a matrix or ids are not u32
 */
export function embedding(weight: Tensor, ids: Tensor): Tensor {
  need(weight.shape.length === 2, `embedding: weight is [${weight.shape}]; expected [V, C]`);
  need(ids.dtype === "u32", `embedding: ids are ${ids.dtype}; expected u32`);
  return cast(embed(weight, ids), "f32");
}
