/** Activations by name. */
import { ConfigError } from "../src/errors.ts";
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

/**
 * llama.cpp has one GELU, the one with tanh, for these families; for the exact one it takes it too, as its own converter does.
 * @throws ConfigError for another activation
 */
export function needGelu({ name, kind }: Activation): void {
  if (kind !== "gelu" && kind !== "gelu_tanh")
    throw new ConfigError(
      `the model's activation is ${name}; expected a GELU, llama.cpp has no other in this family`,
    );
}
