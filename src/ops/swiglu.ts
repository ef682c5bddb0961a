/** SwiGLU's gate: silu(gate) up. */
import { loadKernel } from "../gpu/kernel.ts";
import { call, defineOp, need, type Op, strided } from "../tensor/op.ts";
import { empty, type Tensor } from "../tensor/tensor.ts";

const kernel = await loadKernel("swiglu");

const run = (entry: "forward" | "backward", bindings: Record<string, Tensor>, n: number): void => {
  const n4 = Math.ceil(n / 4);
  call(kernel, entry, { bindings, params: { n4 }, workgroups: strided(n4), flops: 4 * n });
};

/**
 * silu(gate) · up, elementwise. gate, up: one shape, which is also the result's.
 * Source: Shazeer 2020, arXiv 2002.05202, eq. 6 (without its matrices).
 * @throws ShapeError when the shapes differ
 */
export const swiglu: Op<[gate: Tensor, up: Tensor], object> = defineOp<[gate: Tensor, up: Tensor]>({
  name: "swiglu",
  arity: 2,
  forward([gate, up]) {
    need(
      String(gate.shape) === String(up.shape),
      `swiglu: gate is [${gate.shape}], up is [${up.shape}]; expected equal shapes`,
    );
    const y = empty(gate.shape, "f32", "swiglu");
    run("forward", { gate, up, y }, gate.size);
    return y;
  },
  backward({ inputs: [gate, up], dy: [dy] }) {
    const dgate = empty(gate.shape, "f32", "dgate");
    const dup = empty(up.shape, "f32", "dup");
    run("backward", { gate, up, dy: dy!, dgate, dup }, gate.size);
    return [dgate, dup];
  },
  reference: ([gate, up]) => [
    { shape: gate!.shape, data: gate!.data.map((g, i) => (g / (1 + Math.exp(-g))) * up!.data[i]!) },
  ],
  cases: [
    ...[[1], [7, 3], [65, 64], [2, 5, 13]].map((shape) => ({ inputs: [shape, shape] })),
    { name: "large", inputs: [{ shape: [9], fill: (i: number) => (i - 4) * 40 }, [9]], backward: false },
  ],
});
