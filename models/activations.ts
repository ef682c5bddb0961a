/** Activations by name. */
import type { UnaryKind } from "../src/ops/unary.ts";

/** Hugging Face's names of activations, and ours. */
export const ACTIVATIONS: Readonly<Record<string, UnaryKind>> = {
  gelu_new: "gelu_tanh",
  gelu_pytorch_tanh: "gelu_tanh",
  gelu_fast: "gelu_tanh",
  gelu: "gelu",
  relu: "relu",
  silu: "silu",
  swish: "silu",
  tanh: "tanh",
};
