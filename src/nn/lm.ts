/** What the floors above see of a model: hidden states and what is read from them. Families live in `models/`. */
import type { Tensor } from "../tensor/tensor.ts";
import type { ParameterSpec } from "./init.ts";
import type { Parameters } from "./parameters.ts";
import type { Reads } from "./pooling.ts";

/** The sizes of a transformer. */
export interface ModelConfig {
  /** The family's name: "gpt2", "llama". */
  readonly family: string;
  readonly vocabSize: number;
  /** Longest sequence. */
  readonly blockSize: number;
  readonly nLayer: number;
  readonly nHead: number;
  /** Key/value heads; divides `nHead`. */
  readonly nKvHead: number;
  readonly nEmbd: number;
  readonly headDim: number;
  readonly bosId?: number | undefined;
  readonly eosId?: number | undefined;
}

/** B rows of T tokens, padded on either side. `data/batch.ts` makes the arrays. */
export interface Batch {
  /** u32 [B, T] */
  readonly ids: Tensor;
  /** u32 [B, T]: 0 at each row's first real token. */
  readonly positions: Tensor;
  /** u32 [B, 2]: each row's first real token and one past its last. */
  readonly range: Tensor;
  /** u32 [B, T]: 0 for tokens of a first text, 1 for those of a second; of some encoders, and all 0 where it is absent. */
  readonly types?: Tensor;
}

/** Keys and values of earlier tokens; it decides what the queries of this batch see. */
export interface KvCache {
  /**
   * Stores the batch's keys and values of one layer and attends over all that is stored.
   * @param qkv [B, T, H + 2G, D]: a token's queries, then its keys, then its values
   * @returns [B, T, H, D]
   */
  attend(layer: number, qkv: Tensor, batch: Batch, scale: number): Tensor;
}

/**
 * What the operands of linear maps are rounded to: "mixed" is f16 for weights, activations and the gradients that enter their
 * products, while sums, results, and the weights that are trained stay f32, and so does all that is no linear map.
 */
export type Precision = "f32" | "mixed";

/** How a model computes; it changes memory and speed. */
export interface Computing {
  /** Keep only the input of each block for the way back, and compute the block again there. */
  readonly checkpointing: boolean;
  /** "mixed" wants f16 on the device, and a scaled loss where it trains (`createLossScale`). */
  readonly precision: Precision;
}

/** The model as what samples from it computes: a decoding step would round all weights for a few rows. */
export const forSampling = (model: LanguageModel): LanguageModel =>
  model.with(model.parameters, { precision: "f32" });

/** What a trunk does unless it is told otherwise. */
export const COMPUTING: Computing = { checkpointing: false, precision: "f32" };

/** A transformer without its last projection. */
export interface Trunk {
  readonly config: ModelConfig;
  /** The tensors that belong to the model, its head included; `parameters` may hold more (a value head). */
  readonly specs: readonly ParameterSpec[];
  readonly parameters: Parameters;
  /**
   * Records the forward pass; with a `cache`, of the tokens that follow the cached ones.
   * @returns [B, T, C], after the final norm; meaningless at padding
   */
  hidden(batch: Batch, cache?: KvCache): Tensor;
  /** The `config.json` of this model, as Hugging Face writes it. */
  toHf(): Readonly<Record<string, unknown>>;
}

/** The last projection: logits are hidden weightᵀ + bias, of hidden [R, C]. */
export interface LmHead {
  /** [V, C] */
  readonly weight: Tensor;
  /** [V] */
  readonly bias: Tensor | undefined;
  /** "f32" by default. */
  readonly precision?: Precision;
}

/** What logits are divided by before the softmax; 1 by default. */
export interface AtTemperature {
  readonly temperature?: number;
}

/** A model of the next token. Heads are made by `languageHead` (lm-head.ts). All logarithms are natural. */
export interface LanguageModel extends Trunk {
  readonly head: LmHead;
  /** Logits [R, V] of hidden states [R, C], for sampling: what only asks for given tokens takes `logprobs`. */
  logits(hidden: Tensor): Tensor;
  /**
   * Log-probabilities of given tokens and the entropy of each distribution, with gradients, never holding all logits
   * of a large batch.
   * @param hidden [R, C]
   * @param targets u32 [R]
   * @returns [R] each
   */
  logprobs(
    hidden: Tensor,
    targets: Tensor,
    at?: AtTemperature,
  ): { readonly logprobs: Tensor; readonly entropy: Tensor };
  /**
   * The same of two models over one vocabulary, and the exact KL(this || other); no gradients. The bits of `logprobs`.
   * @param other the other model, and its hidden states of the same tokens
   */
  compare(
    hidden: Tensor,
    targets: Tensor,
    other: { readonly model: LanguageModel; readonly hidden: Tensor },
    at?: AtTemperature,
  ): Comparison;
  /** The same model over other parameters (a frozen reference, a copy to train), or computing otherwise. */
  with(parameters: Parameters, computing?: Partial<Computing>): LanguageModel;
}

/** What {@link LanguageModel.compare} finds, all [R]. */
export interface Comparison {
  readonly logprobs: Tensor;
  readonly entropy: Tensor;
  readonly otherLogprobs: Tensor;
  readonly kl: Tensor;
}

/** A classifier of whole texts, or a reward: logits of labels from the hidden state of one token. */
export interface ScalarModel extends Trunk {
  /** The token of a text whose hidden state the classifier takes. */
  readonly reads: Reads;
  /** How many labels it tells apart; a reward has one. */
  readonly labels: number;
  /** The classifier's own tensors, among `specs`. */
  readonly headSpecs: readonly ParameterSpec[];
  /** Logits [R, labels] of hidden states [R, C]. */
  classLogits(hidden: Tensor): Tensor;
  /**
   * Scores [R] of hidden states [R, C]: the logit of the only label; of two, the log-odds of the second.
   * @throws ConfigError where there are more labels
   */
  scores(hidden: Tensor): Tensor;
  /** The same model over other parameters, or computing otherwise. */
  with(parameters: Parameters, computing?: Partial<Computing>): ScalarModel;
}
