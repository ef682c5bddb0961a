/** Functions of one argument, by name: what kernels apply elementwise, alone (`unary`) or at the end of a product. */
import { type Kernel, loadKernel } from "../gpu/kernel.ts";

/** WGSL functions `f` and `df`, to be joined to a kernel (`using`) with a constant KIND. */
export const functions: Kernel = await loadKernel("activation");

/** The functions by name, in the order of the kernel's `KIND`. */
export const NAMES = [
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

/** In float64. */
export const REFERENCES: Readonly<Record<UnaryKind, (x: number) => number>> = {
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

/** The constant KIND of a function. */
export const numberOf = (kind: UnaryKind): number => NAMES.indexOf(kind);
