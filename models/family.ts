/** What a model family is: how to read its config, which tensors it has, and its forward pass. */
import type { GgufMetadata } from "../src/data/weights/gguf-values.ts";
import type { ParameterSpec } from "../src/nn/init.ts";
import type { Batch, Computing, KvCache, ModelConfig } from "../src/nn/lm.ts";
import type { Parameters } from "../src/nn/parameters.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import type { Classifier } from "./classifier.ts";
import type { HfConfig } from "./hf-config.ts";

/** What a forward pass works on. */
export interface Pass {
  readonly parameters: Parameters;
  readonly batch: Batch;
  readonly computing: Computing;
  readonly cache: KvCache | undefined;
}

/** One model's shape: everything but its weights. */
export interface Architecture {
  readonly config: ModelConfig;
  /** The trunk's tensors, by their Hugging Face names. */
  readonly specs: readonly ParameterSpec[];
  /** Name of the matrix [V, C] that makes logits: the embedding where it is tied; undefined in encoders. */
  readonly lmHead: string | undefined;
  /** The specification of an LM head of its own; undefined where it is tied. */
  readonly lmHeadSpec: ParameterSpec | undefined;
  readonly classifier: Classifier;
  /** Our name of a checkpoint's tensor; undefined for one that is no parameter (masks, rotary tables). */
  rename(name: string): string | undefined;
  /** Records the forward pass: [B, T, C] after the last norm. */
  hidden(pass: Pass): Tensor;
  /** The family's own fields of `config.json`. */
  toHf(): Readonly<Record<string, unknown>>;
  /**
   * The model as llama.cpp has it; missing where it has no such family.
   * @throws ConfigError where it has the family, but not what this model does
   */
  toGguf?(): GgufForm;
}

/** What llama.cpp calls things, and how it orders them (its convert_hf_to_gguf.py and src/llama-arch.cpp). */
export interface GgufForm {
  /** `general.architecture`. */
  readonly architecture: string;
  /** Settings, without the architecture's name before their keys. */
  readonly metadata: GgufMetadata;
  /** Its names of our modules, without `.weight` and `.bias`; "#" stands for a block's number. */
  readonly names: Readonly<Record<string, string>>;
  /** In which order the rows of a tensor are written; as they are where it says nothing. */
  rowOrder?(module: string): readonly number[] | undefined;
  /** Of rotary positions: what the angle of each pair is divided by. */
  readonly ropeFactors?: readonly number[] | undefined;
}

/** A model family. */
export interface ModelFamily {
  readonly name: string;
  /** Class names of Hugging Face: of the language model (masked, in encoders), and of the classifier. */
  readonly architectures: { readonly lm: string; readonly scalar: string };
  /**
   * Reads a `config.json`.
   * @throws FormatError when a field is missing, malformed, or asks for what is not supported
   */
  fromHf(hf: HfConfig): Architecture;
}
