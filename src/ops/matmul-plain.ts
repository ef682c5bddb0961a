/** The plain form of the matrix product: one thread an output. Any size, any transposition, any device. */
import { loadKernel } from "../gpu/kernel.ts";
import { call } from "../tensor/op.ts";
import { biasView, flopsOf, type MatmulForm } from "./matmul-form.ts";

const kernel = await loadKernel("matmul-plain");

/** What every other form is checked against. */
export const plain: MatmulForm = {
  name: "plain",
  madeFor: "any",
  runs: () => true,
  fits: () => true,
  record(product) {
    const { a, b, c, bias, batch, M, N, K, transposeA, transposeB, shared } = product;
    call(kernel, "plain", {
      bindings: { a, b, c, bias: biasView(product) },
      params: {
        M, N, K,
        a_batch: M * K, b_batch: shared ? 0 : K * N, c_batch: M * N,
        a_row: transposeA ? 1 : K, a_col: transposeA ? M : 1,
        b_row: transposeB ? 1 : N, b_col: transposeB ? K : 1,
      }, // prettier-ignore
      constants: {
        BIAS: bias ? 1 : 0,
        A1: a.dtype === "f16" ? "f16" : "f32",
        B1: b.dtype === "f16" ? "f16" : "f32",
      },
      workgroups: [Math.ceil(N / 8), Math.ceil(M / 8), batch],
      flops: flopsOf(product),
    });
  },
};
