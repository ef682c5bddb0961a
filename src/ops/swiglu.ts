/** SwiGLU's gate: silu(gate) up. */
import { loadKernel } from "../gpu/kernel.ts";
import { call, defineOp, need, type NdArray, type Op, strided } from "../tensor/op.ts";
import { empty, type Tensor } from "../tensor/tensor.ts";
import { concat } from "./layout.ts";

const kernel = await loadKernel("swiglu");

function run(entry: "forward" | "backward", bindings: Record<string, Tensor>, y: Tensor): void {
  const N = y.dim(-1);
  const W = N % 4 === 0 ? 4 : 1;
  call(kernel, entry, {
    bindings,
    params: { n: y.size / W, width: N / W },
    constants: { E: W === 4 ? "vec4f" : "f32" },
    workgroups: strided(y.size / W),
    flops: 4 * y.size,
  });
}

function reference({ shape, data }: NdArray): NdArray {
  const N = shape.at(-1)! / 2;
  const y = Float64Array.from({ length: data.length / 2 }, (_, i) => {
    const at = i + Math.floor(i / N) * N;
    return (data[at]! / (1 + Math.exp(-data[at]!))) * data[at + N]!;
  });
  return { shape: [...shape.slice(0, -1), N], data: y };
}

/**
 * silu(gate) · up of both side by side. x: [..., 2N], N gates and N ups, as one projection makes them; returns [..., N].
 * Source: Shazeer 2020, arXiv 2002.05202, eq. 6 (without its matrices).
 * @throws ShapeError when the last dimension is odd
 */
export const packedSwiglu: Op<[x: Tensor], object> = defineOp<[x: Tensor]>({
  name: "swiglu",
  arity: 1,
  forward([x]) {
    need(x.dim(-1) % 2 === 0, `swiglu: x is [${x.shape}]; expected [..., 2N]`);
    const y = empty([...x.shape.slice(0, -1), x.dim(-1) / 2], "f32", "swiglu");
    run("forward", { x, y }, y);
    return y;
  },
  backward({ inputs: [x], dy: [dy] }) {
    const dx = empty(x.shape, "f32", "dswiglu");
    run("backward", { x, dy: dy!, dx }, dy!);
    return [dx];
  },
  reference: ([x]) => [reference(x!)],
  cases: [
    ...[[2], [7, 6], [33, 40], [2, 5, 26]].map((shape) => ({ inputs: [shape] })),
    { name: "large", inputs: [{ shape: [18], fill: (i: number) => ((i % 9) - 4) * 40 }], backward: false },
  ],
});

/**
 * {@link packedSwiglu} of separate tensors of one shape, which is also the result's.
 * @throws ShapeError when the shapes differ
 */
export function swiglu(gate: Tensor, up: Tensor): Tensor {
  need(
    String(gate.shape) === String(up.shape),
    `swiglu: gate is [${gate.shape}], up is [${up.shape}]; expected equal shapes`,
  );
  return packedSwiglu(concat([gate, up], -1));
}
