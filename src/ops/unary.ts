/** Elementwise functions of one argument: `exp(x)`, `gelu(x, { kind: "gelu_tanh" })`, … */
import { loadKernel } from "../gpu/kernel.ts";
import { call, defineOp, type NdArray, type Op, strided } from "../tensor/op.ts";
import { empty, type Tensor } from "../tensor/tensor.ts";

const kernel = await loadKernel("unary");

/** The functions by name, in the order of the kernel's `KIND`. */
const NAMES = [
  "exp",
  "log",
  "neg",
  "square",
  "sqrt",
  "tanh",
  "sigmoid",
  "relu",
  "silu",
  "gelu_tanh",
  "gelu",
  "abs",
  "log_sigmoid",
] as const;

export type UnaryKind = (typeof NAMES)[number];

const REFERENCES: Readonly<Record<UnaryKind, (x: number) => number>> = {
  exp: Math.exp,
  log: Math.log,
  neg: (x: number) => -x,
  square: (x: number) => x * x,
  sqrt: Math.sqrt,
  tanh: Math.tanh,
  sigmoid: (x: number) => 1 / (1 + Math.exp(-x)),
  relu: (x: number) => Math.max(x, 0),
  silu: (x: number) => x / (1 + Math.exp(-x)),
  gelu_tanh: (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  gelu: (x: number) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  abs: Math.abs,
  log_sigmoid: (x: number) => Math.min(x, 0) - Math.log1p(Math.exp(-Math.abs(x))),
};

/** The error function to float64 accuracy: the Maclaurin series near 0, a continued fraction for the tail. */
export function erf(x: number): number {
  const z = Math.abs(x);
  if (z < 2.5) {
    let term = z;
    let sum = z;
    for (let k = 1; Math.abs(term) > 1e-18 * Math.abs(sum); k++) {
      term *= (-z * z) / k;
      sum += term / (2 * k + 1);
    }
    return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI);
  }
  let fraction = z;
  for (let k = 60; k >= 1; k--) fraction = z + k / 2 / fraction;
  return Math.sign(x) * (1 - Math.exp(-z * z) / Math.sqrt(Math.PI) / fraction);
}

const run = (
  entry: "forward" | "backward",
  bindings: Record<string, Tensor>,
  x: Tensor,
  kind: UnaryKind,
): void => {
  const n4 = Math.ceil(x.size / 4);
  call(kernel, entry, {
    bindings,
    params: { n4 },
    constants: { KIND: NAMES.indexOf(kind) },
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
    run("forward", { x, y }, x, kind);
    return y;
  },
  backward({ inputs: [x], attrs: { kind }, dy: [dy] }) {
    const dx = empty(x.shape, "f32", `d${kind}`);
    run("backward", { x, dy: dy!, dx }, x, kind);
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
