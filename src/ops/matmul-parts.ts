/** Products with few values and long sums: K is cut in parts, each a product of its own, whose results are added in their order. */
import { loadKernel, using } from "../gpu/kernel.ts";
import { call } from "../tensor/op.ts";
import { empty, type Tensor } from "../tensor/tensor.ts";
import { finishBindings, finishConstants, finishing } from "./matmul-finish.ts";
import { biasView, type Product } from "./matmul-form.ts";

const kernel = using(await loadKernel("matmul-parts"), finishing);

/** How K is cut. */
export interface Cut {
  readonly parts: number;
  /** Values of k in each part but the last. */
  readonly span: number;
  /** [batch, parts, M, N]: their results. */
  readonly partial: Tensor;
}

/** Workgroups that a large GPU shares out well: a few more than it runs at a time would leave most of it waiting for them. */
const ENOUGH = 768;

/** Workgroups along one dimension that every adapter takes. */
const MOST = 65535;

/** Parts that make enough workgroups, `groups` being those of a part, none shorter than `least` values of k. */
export const partsFor = (groups: number, K: number, least: number): number =>
  Math.min(Math.ceil(ENOUGH / groups), Math.floor(K / least));

/**
 * Records the parts' products by `record`, then their sum. Only for a transposed A: there M is no number of rows, which a row's
 * bits may not depend on.
 * @param step parts are whole multiples of it
 */
export function recordParts(product: Product, parts: number, step: number, record: (cut: Cut) => void): void {
  const { M, N, K, batch, bias, c } = product;
  const span = Math.ceil(K / parts / step) * step;
  const cut = Math.ceil(K / span);
  const partial = empty([batch, cut, M, N], "f32", "partial products");
  record({ parts: cut, span, partial });
  call(kernel, "gather", {
    bindings: { partial, c, bias: biasView(product), ...finishBindings(product) },
    params: { M, N, parts: cut, bias: bias ? 1 : 0 },
    constants: { ...finishConstants(product), FLAT: 0 },
    workgroups: [Math.min(MOST, Math.ceil((M * N) / 4 / 64)), 1, batch], // each walks on by as many as there are
  });
}
