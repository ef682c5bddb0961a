/** Softmax and log-softmax over the last dimension. */
import { call, defineOp, type NdArray, type Op } from "../tensor/op.ts";
import { loadRowKernel, rowCall, rowVariants } from "../tensor/rows.ts";
import { empty, type Tensor } from "../tensor/tensor.ts";

const kernel = await loadRowKernel("softmax");

/** Probabilities or their logarithms, and (for tests) which kernel to use. */
export interface SoftmaxAttrs {
  readonly logarithm: boolean;
  readonly variant?: string;
}

function run(
  entry: "forward" | "backward",
  bindings: Record<string, Tensor>,
  x: Tensor,
  { logarithm, variant }: SoftmaxAttrs,
): void {
  const columns = x.dim(-1);
  const { constants, ...shared } = rowCall(x.device, x.size / columns, columns, variant);
  call(kernel, entry, {
    ...shared,
    bindings,
    constants: { ...constants, LOGARITHM: logarithm ? 1 : 0 },
    flops: 5 * x.size,
  });
}

function reference(x: NdArray, { logarithm }: SoftmaxAttrs): NdArray {
  const C = x.shape.at(-1)!;
  const data = new Float64Array(x.data.length);
  for (let start = 0; start < data.length; start += C) {
    const row = x.data.subarray(start, start + C);
    const top = row.reduce((a, b) => Math.max(a, b), -Infinity);
    const logSum = Math.log(row.reduce((sum, v) => sum + Math.exp(v - top), 0));
    for (let c = 0; c < C; c++) {
      const logp = row[c]! - top - logSum;
      data[start + c] = logarithm ? logp : Math.exp(logp);
    }
  }
  return { shape: x.shape, data };
}

/** Both forms; call {@link softmax} or {@link logSoftmax}. */
export const softmaxOp: Op<[x: Tensor], SoftmaxAttrs> = defineOp<[x: Tensor], SoftmaxAttrs>({
  name: "softmax",
  arity: 1,
  forward([x], attrs) {
    const y = empty(x.shape, "f32", "softmax");
    run("forward", { x, y }, x, attrs);
    return y;
  },
  backward({ inputs: [x], outputs: [y], attrs, dy: [dy] }) {
    const dx = empty(x.shape, "f32", "dsoftmax");
    run("backward", { out: y!, dy: dy!, dx }, x, attrs);
    return [dx];
  },
  reference: ([x], attrs) => [reference(x!, attrs)],
  variants: rowVariants,
  cases: [
    [7, 1],
    [65, 3],
    [1, 64],
    [65, 64],
    [7, 172],
    [2, 3, 130],
  ].flatMap((shape) =>
    [false, true].map((logarithm) => ({
      name: `${logarithm ? "log" : "plain"} [${shape}]`,
      inputs: [shape],
      attrs: { logarithm },
    })),
  ),
});

/** Probabilities: exp(x) / sum exp(x) over the last dimension, without overflow. x: [..., C]; -inf gives 0. */
export const softmax = (x: Tensor): Tensor => softmaxOp(x, { logarithm: false });

/** Log-probabilities in nats: x - log sum exp(x) over the last dimension. x: [..., C]. */
export const logSoftmax = (x: Tensor): Tensor => softmaxOp(x, { logarithm: true });
