/** What products go on to do with their sums before they write them. */
import { type Kernel, loadKernel, using } from "../gpu/kernel.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { functions, numberOf, type UnaryKind } from "./activation.ts";

/** What becomes of a sum before, or as, it is written. */
export interface Finish {
  /** [.., M, N], added to the result. */
  readonly plus?: Tensor | undefined;
  /** [.., M, N]: the result is multiplied by f'(slope), f named by `kind`. Not together with `plus`. */
  readonly slope?: Tensor | undefined;
  /** [.., M, N], overwritten with f(result). */
  readonly activated?: Tensor | undefined;
  readonly kind?: UnaryKind | undefined;
  /** C holds something that the result is added to. */
  readonly adds?: boolean | undefined;
}

/** WGSL functions that write sums, to be joined to a kernel (`using`) with these constants and FLAT. */
export const finishing: Kernel = using(await loadKernel("matmul-finish"), functions);

/** Constants of a kernel for what it does with its sums. */
export const finishConstants = ({ plus, slope, activated, kind, adds }: Finish): Record<string, number> => ({
  ADD: adds ? 1 : 0,
  PLUS: plus ? 1 : 0,
  SLOPE: slope ? 1 : 0,
  KEEP: activated ? 1 : 0,
  KIND: kind ? numberOf(kind) : 0,
});

/** And what it binds for that. */
export function finishBindings({ plus, slope, activated }: Finish): Record<string, Tensor> {
  const extra = plus ?? slope;
  return { ...(extra && { extra }), ...(activated && { activated }) };
}
