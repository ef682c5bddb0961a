/** Small configs of every family, each with what makes it another. */
import type { BertJson } from "./reference-bert.ts";
import type { LlamaJson } from "./reference-llama.ts";

const SIZES = {
  vocab_size: 64,
  max_position_embeddings: 64,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  hidden_size: 32,
  intermediate_size: 48,
  rms_norm_eps: 1e-5,
} as const;

/** At theta 500 and D 8, 10, 2, 0.5 and 0.1 waves fit 64 positions: one pair stays, one is blended, two are stretched. */
const LLAMA3 = {
  rope_type: "llama3",
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 64,
} as const;

/** Llama or one of its kin. */
export interface LlamaKin {
  readonly what: string;
  /** What a block has beyond the weights that all of them have. */
  readonly extra?: readonly string[];
  readonly json: LlamaJson & { readonly model_type: string; readonly vocab_size: number };
}

const QKV_BIASES = ["q", "k", "v"].map((x) => `self_attn.${x}_proj.bias`);

export const LLAMA_KIN: readonly LlamaKin[] = [
  {
    what: "Llama 3 (scaled rotary positions)",
    json: { ...SIZES, model_type: "llama", rope_theta: 500, rope_scaling: LLAMA3 },
  },
  {
    what: "Llama (linear scaling, newer spelling)",
    extra: [
      ...["q", "k", "v", "o"].map((x) => `self_attn.${x}_proj.bias`),
      ...["gate", "up", "down"].map((x) => `mlp.${x}_proj.bias`),
    ],
    json: {
      ...SIZES,
      model_type: "llama",
      attention_bias: true,
      mlp_bias: true,
      rope_parameters: { rope_theta: 500, rope_type: "linear", factor: 4 },
    },
  },
  {
    what: "SmolLM2 (tied)",
    json: { ...SIZES, model_type: "llama", tie_word_embeddings: true, rope_theta: 1e5 },
  },
  { what: "Mistral", json: { ...SIZES, model_type: "mistral", sliding_window: 32, head_dim: 12 } },
  {
    what: "Qwen2",
    extra: QKV_BIASES,
    json: { ...SIZES, model_type: "qwen2", use_sliding_window: false, rope_theta: 1e6 },
  },
  {
    what: "Qwen2.5 (tied)",
    extra: QKV_BIASES,
    json: { ...SIZES, model_type: "qwen2", tie_word_embeddings: true },
  },
  {
    what: "Qwen3",
    extra: ["self_attn.q_norm.weight", "self_attn.k_norm.weight"],
    json: { ...SIZES, model_type: "qwen3", head_dim: 16, tie_word_embeddings: true },
  },
];

/** Families of encoders, which DistilBERT's golden completes. */
export interface EncoderConfig {
  readonly what: string;
  readonly json: BertJson;
  /** How many labels its classifier has. */
  readonly labels: number;
}

const BERT_SIZES = {
  vocab_size: 64,
  max_position_embeddings: 20,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  hidden_size: 32,
  intermediate_size: 48,
  layer_norm_eps: 1e-12,
  hidden_act: "gelu_new",
} as const;

export const ENCODERS: readonly EncoderConfig[] = [
  { what: "BERT", labels: 3, json: { ...BERT_SIZES, model_type: "bert", type_vocab_size: 2 } },
  {
    what: "RoBERTa",
    labels: 2,
    json: { ...BERT_SIZES, model_type: "roberta", type_vocab_size: 1, pad_token_id: 1 },
  },
];

/** Any family's config. */
export type FamilyJson = Readonly<Record<string, unknown>> & { readonly model_type: string };

const NEOX = { ...SIZES, model_type: "gpt_neox", rotary_pct: 0.5 } as const;
const LINEAR = { type: "linear", factor: 2 } as const;

/** Language models of every family. */
export const DECODER_CONFIGS: readonly { readonly what: string; readonly json: FamilyJson }[] = [
  {
    what: "GPT-2",
    json: { model_type: "gpt2", vocab_size: 64, n_positions: 64, n_layer: 2, n_head: 4, n_embd: 32 },
  },
  { what: "GPT-NeoX", json: NEOX },
  {
    what: "GPT-NeoX (sequential, linear scaling)",
    json: { ...NEOX, use_parallel_residual: false, rope_scaling: LINEAR },
  },
  ...LLAMA_KIN,
];

/** Encoders of every family. */
export const ENCODER_CONFIGS: readonly { readonly what: string; readonly json: FamilyJson }[] = [
  {
    what: "DistilBERT",
    json: {
      model_type: "distilbert",
      vocab_size: 64,
      max_position_embeddings: 64,
      n_layers: 2,
      n_heads: 4,
      dim: 32,
      hidden_dim: 48,
    },
  },
  ...ENCODERS,
];
