/** Configurations of both families that train in a moment, with more than one block. */
import type { Padded } from "./models.ts";

export const SMALL = {
  gpt2: { model_type: "gpt2", vocab_size: 64, n_positions: 64, n_layer: 3, n_head: 2, n_embd: 32 },
  llama: {
    model_type: "llama",
    vocab_size: 64,
    max_position_embeddings: 64,
    num_hidden_layers: 3,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    hidden_size: 32,
    intermediate_size: 48,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
  },
} as const;

/** B rows of T tokens; row b ends b tokens early. */
export function smallBatch(B: number, T: number): Padded {
  const rows = <R>(f: (b: number, t: number) => R): R[][] =>
    Array.from({ length: B }, (_, b) => Array.from({ length: T }, (__, t) => f(b, t)));
  return {
    input_ids: rows((b, t) => (b * 7 + t * 5 + ((t * t) >> 2)) % 64),
    attention_mask: rows((b, t) => (t < T - b ? 1 : 0)),
    position_ids: rows((_, t) => t),
  };
}
