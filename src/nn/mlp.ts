/** The feed-forward half of a block: two affine maps with an activation between, added to the residual stream. */
import type { UnaryKind } from "../ops/activation.ts";
import { mlp as mlpOp } from "../ops/mlp.ts";
import { unary } from "../ops/unary.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { WeightLayout } from "./init.ts";
import { linears } from "./joined.ts";
import type { Precision } from "./lm.ts";
import { anyAdapted } from "./lora.ts";
import type { Parameters } from "./parameters.ts";

/** The maps by name (`<name>.weight`, and `<name>.bias` where there is one), and what is between. */
export interface Mlp {
  readonly up: string;
  readonly down: string;
  readonly kind: UnaryKind;
  readonly layout: WeightLayout;
  readonly precision: Precision | undefined;
}

/**
 * residual + f(x U + u) D + d over the last dimension: one op, or several in mixed precision, where activations are rounded
 * between them, and where weights are f16 or low-rank adapters stand on the maps.
 * @param x [..., C]
 * @param residual [..., C]
 * @returns [..., C]
 */
export function mlp(
  x: Tensor,
  residual: Tensor,
  parameters: Parameters,
  { up, down, kind, layout, precision }: Mlp,
): Tensor {
  const halves = [up, down].some((name) => parameters.get(`${name}.weight`).dtype === "f16");
  if (precision === "mixed" || halves || anyAdapted(parameters, [up, down])) {
    const inner = unary(linears(x, parameters, [up], { precision, layout }), { kind });
    return linears(inner, parameters, [down], { precision, layout, residual });
  }
  const weight = (name: string): Tensor => parameters.get(`${name}.weight`);
  const bias = (name: string): Tensor | undefined =>
    parameters.has(`${name}.bias`) ? parameters.get(`${name}.bias`) : undefined;
  const rows = (t: Tensor): Tensor => t.reshape(-1, t.dim(-1));
  const attrs = { kind, transposeB: layout === "out_in" };
  const y = mlpOp(rows(x), weight(up), bias(up), weight(down), bias(down), rows(residual), attrs);
  return y.reshape(...residual.shape);
}
