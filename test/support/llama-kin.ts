/** Small configs of Llama's kin, each with what makes it another family. */
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

/** Waves of 2π, 20, 63 and 199 positions at theta 10000 and D 8: of 32 positions, one stays, one is blended, two stretch. */
const LLAMA3 = {
  rope_type: "llama3",
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 32,
} as const;

/** One of them. */
export interface LlamaKin {
  readonly what: string;
  readonly json: LlamaJson & { readonly model_type: string; readonly vocab_size: number };
}

export const LLAMA_KIN: readonly LlamaKin[] = [
  {
    what: "Llama 3 (scaled rotary positions)",
    json: { ...SIZES, model_type: "llama", rope_scaling: LLAMA3 },
  },
  {
    what: "Llama (linear scaling, newer spelling)",
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
  { what: "Qwen2", json: { ...SIZES, model_type: "qwen2", use_sliding_window: false, rope_theta: 1e6 } },
  { what: "Qwen2.5 (tied)", json: { ...SIZES, model_type: "qwen2", tie_word_embeddings: true } },
  { what: "Qwen3", json: { ...SIZES, model_type: "qwen3", head_dim: 16, tie_word_embeddings: true } },
];
