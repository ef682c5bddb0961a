/** A product that ends in an addition: the maps that lead back into a residual stream. */
import { defineOp, type NdArray, type Op } from "../tensor/op.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { matmulBackward, matmulReference } from "./matmul.ts";
import { finishingForms, type MatmulAttrs, product } from "./product.ts";

type Inputs = [a: Tensor, b: Tensor, bias: Tensor | undefined, residual: Tensor];

/** How B is stored, and (for tests) the name of the form to use. */
export type ResidualAttrs = Omit<MatmulAttrs, "transposeA" | "tuning">;

function reference(
  [a, b, bias, residual]: readonly (NdArray | undefined)[],
  attrs: ResidualAttrs,
): NdArray[] {
  const { shape, data } = matmulReference(a!, b!, bias, attrs);
  return [{ shape, data: data.map((v, i) => v + residual!.data[i]!) }];
}

/**
 * C = A op(B) + bias + residual, in one pass over C. a: [..., K], b: [K, N] ([N, K] with transposeB), bias: [N] or none,
 * residual: [..., N]; returns [..., N]. The residual's gradient is C's, not a copy. Bits are those of `matmul`, then `add`.
 * @throws ShapeError when inner dimensions differ, or the residual has another size than C
 */
export const residualMatmul: Op<Inputs, ResidualAttrs> = defineOp<Inputs, ResidualAttrs>({
  name: "residualMatmul",
  arity: 4,
  forward: ([a, b, bias, plus], attrs) => product(a, b, bias, attrs, { plus }),
  backward: (context) => [...matmulBackward(context), context.needs[3] ? context.dy[0] : undefined],
  reference,
  variants: (device) => finishingForms(device),
  roundingVariants: (device) => finishingForms(device, true),
  cases: [
    { inputs: [[3, 5], [5, 7], [7], [3, 7]] },
    { inputs: [[3, 68], [68, 36], [36], [3, 36]], name: "more than one block" },
    { inputs: [[2, 3, 12], [12, 8], [8], [2, 3, 8]], name: "a batch" },
    { inputs: [[6, 8], [12, 8], undefined, [6, 12]], attrs: { transposeB: true } },
    {
      inputs: [[3, 132], [20, 132], [20], [3, 20]],
      attrs: { transposeB: true },
      name: "nt, more than one block",
    },
    {
      inputs: [{ shape: [3, 8], dtype: "f16" }, { shape: [8, 12], dtype: "f16" }, [12], [3, 12]],
      name: "f16",
    },
  ],
});
