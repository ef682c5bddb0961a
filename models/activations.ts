/** Activations by name. */
import type { UnaryKind } from "../src/ops/activation.ts";
import type { HfConfig } from "./hf-config.ts";

/** Hugging Face's names of activations, and ours. */
const ACTIVATIONS: Readonly<Record<string, UnaryKind>> = {
  gelu_new: "gelu_tanh",
  gelu_pytorch_tanh: "gelu_tanh",
  gelu_fast: "gelu_tanh",
  gelu: "gelu",
  relu: "relu",
  silu: "silu",
  swish: "silu",
  tanh: "tanh",
};

/** An activation: Hugging Face's name, kept for writing, and ours. */
export interface Activation {
  readonly name: string;
  readonly kind: UnaryKind;
}

/**
 * Reads the activation that `key` names.
 * @throws FormatError for one that is not known
 */
export function activationOf(hf: HfConfig, key: string, otherwise: string): Activation {
  const name = hf.text(key, otherwise);
  const known = Object.keys(ACTIVATIONS).join(", ");
  const kind = ACTIVATIONS[name] ?? hf.refuse(`${key} is "${name}"; expected one of ${known}`);
  return { name, kind };
}
