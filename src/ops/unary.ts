/** Elementwise functions of one argument: `exp(x)`, `gelu(x, { kind: "gelu_tanh" })`, … */
import { loadKernel, using } from "../gpu/kernel.ts";
import { call, defineOp, type NdArray, type Op, strided } from "../tensor/op.ts";
import { empty, type Tensor } from "../tensor/tensor.ts";
import { functions, NAMES, numberOf, REFERENCES, type UnaryKind } from "./activation.ts";

const kernel = using(await loadKernel("unary"), functions);

/** Records one kernel call: forward y = f(x), or backward dx = dy f'(x), elementwise. */
export const elementwise = (
  entry: "forward" | "backward",
  bindings: Record<string, Tensor>,
  x: Tensor,
  kind: UnaryKind,
): void => {
  const n4 = Math.ceil(x.size / 4);
  call(kernel, entry, {
    bindings,
    params: { n4 },
    constants: { KIND: numberOf(kind) },
    workgroups: strided(n4),
    flops: x.size,
  });
};

/** y = f(x), elementwise; `kind` names f. */
export const unary: Op<[x: Tensor], { readonly kind: UnaryKind }> = defineOp<
  [x: Tensor],
  { readonly kind: UnaryKind }
>({
  name: "unary",
  arity: 1,
  forward([x], { kind }) {
    const y = empty(x.shape, "f32", kind);
    elementwise("forward", { x, y }, x, kind);
    return y;
  },
  backward({ inputs: [x], attrs: { kind }, dy: [dy] }) {
    const dx = empty(x.shape, "f32", `d${kind}`);
    elementwise("backward", { x, dy: dy!, dx }, x, kind);
    return [dx];
  },
  reference([x], { kind }): NdArray[] {
    return [{ shape: x!.shape, data: x!.data.map(REFERENCES[kind]) }];
  },
  cases: NAMES.flatMap((kind) => {
    // Away from the kink of relu and abs and from log's and sqrt's pole.
    const fill =
      kind === "log" || kind === "sqrt"
        ? (i: number) => 0.3 + ((i * 7) % 23) / 5
        : (i: number) => (((i * 13 + 25) % 37) - 18.3) / 6;
    return [[1], [3, 5], [2, 64]].map((shape) => ({
      name: `${kind} [${shape}]`,
      inputs: [{ shape, fill }],
      attrs: { kind },
    }));
  }),
});

/** e^x */
export const exp = (x: Tensor): Tensor => unary(x, { kind: "exp" });
/** Natural logarithm. */
export const log = (x: Tensor): Tensor => unary(x, { kind: "log" });
/** -x */
export const neg = (x: Tensor): Tensor => unary(x, { kind: "neg" });
/** x² */
export const square = (x: Tensor): Tensor => unary(x, { kind: "square" });
/** √x */
export const sqrt = (x: Tensor): Tensor => unary(x, { kind: "sqrt" });
/** Hyperbolic tangent. */
export const tanh = (x: Tensor): Tensor => unary(x, { kind: "tanh" });
/** 1 / (1 + e^-x) */
export const sigmoid = (x: Tensor): Tensor => unary(x, { kind: "sigmoid" });
/** log(1 / (1 + e^-x)), without overflow on either side */
export const logSigmoid = (x: Tensor): Tensor => unary(x, { kind: "log_sigmoid" });
/** max(x, 0) */
export const relu = (x: Tensor): Tensor => unary(x, { kind: "relu" });
/** x sigmoid(x) */
export const silu = (x: Tensor): Tensor => unary(x, { kind: "silu" });
/** x Φ(x) exactly (`gelu`), or its tanh approximation (`gelu_tanh`, Hugging Face's gelu_new). */
export const gelu = (x: Tensor, kind: "gelu" | "gelu_tanh" = "gelu"): Tensor => unary(x, { kind });
