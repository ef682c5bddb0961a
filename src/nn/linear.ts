/** Affine maps of the last dimension. */
import { half } from "../ops/cast.ts";
import { matmul } from "../ops/matmul.ts";
import { residualMatmul } from "../ops/residual.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { WeightLayout } from "./init.ts";
import type { Precision } from "./lm.ts";

/** `x` as products read it. */
export const operand = (x: Tensor, precision: Precision | undefined): Tensor =>
  precision === "mixed" ? half(x) : x;

/**
 * y = x W + bias over the last dimension, + residual where there is one.
 * @param x [..., K]
 * @param weight [K, N] ("in_out") or [N, K] ("out_in")
 * @param bias [N]
 * @param precision of x and W in the product; y is f32
 * @param residual [..., N]
 * @returns [..., N]
 * @throws ShapeError when the inner dimensions differ, or the residual has another size than y
 */
export function linear(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | undefined,
  layout: WeightLayout,
  precision?: Precision,
  residual?: Tensor,
): Tensor {
  const rows = operand(x, precision).reshape(-1, x.dim(-1));
  const b = operand(weight, precision);
  const attrs = { transposeB: layout === "out_in" };
  const y = residual
    ? residualMatmul(rows, b, bias, residual.reshape(-1, residual.dim(-1)), attrs)
    : matmul(rows, b, bias, attrs);
  return y.reshape(...x.shape.slice(0, -1), y.dim(-1));
}
