/** Sizes that are benchmarked, here and beside other libraries (`bench/peers`): of products, and of models with random weights. */

/** A `config.json` in Hugging Face's spelling. */
export type Sizes = Readonly<Record<string, string | number | boolean>>;

/** [M, N, K] of products: a square one, then linear layers of small GPTs, [tokens, outputs, inputs]. */
export const PRODUCTS: readonly (readonly [M: number, N: number, K: number])[] = [
  [512, 512, 512],
  [256, 64, 64],
  [2048, 128, 128],
  [2048, 384, 128],
  [2048, 512, 128],
  [2048, 128, 512],
  [1024, 384, 384],
  [1024, 1536, 384],
  [1024, 384, 1536],
  [512, 768, 768],
  [512, 3072, 768],
  [512, 768, 3072],
];

/** What a GPU is kept busy by, and tensor cores are judged by. */
export const LARGE_PRODUCT: (typeof PRODUCTS)[number] = [4096, 4096, 4096];

const gpt = (
  n_layer: number,
  n_embd: number,
  n_head: number,
  n_positions: number,
  vocab_size: number,
): Sizes => ({ model_type: "gpt2", vocab_size, n_positions, n_embd, n_layer, n_head });

/** Four layers, 128 wide, 4 heads. */
export const TINY_GPT: Sizes = gpt(4, 128, 4, 64, 512);

/** Six layers, 384 wide, 6 heads, a vocabulary of 8,192. */
export const SMALL_GPT: Sizes = gpt(6, 384, 6, 128, 8192);

/** GPT-2 small, 124 million parameters. */
export const GPT2_SMALL: Sizes = gpt(12, 768, 12, 1024, 50257);

/** stories260K: a Llama of 260 thousand parameters. */
export const STORIES: Sizes = {
  model_type: "llama",
  vocab_size: 512,
  hidden_size: 64,
  intermediate_size: 172,
  num_hidden_layers: 5,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  max_position_embeddings: 512,
  rms_norm_eps: 1e-5,
  tie_word_embeddings: true,
};

/** The demo's language model, `checkpoints/movie-lm`. */
export const MOVIE_LM: Sizes = {
  model_type: "llama",
  vocab_size: 2048,
  hidden_size: 128,
  intermediate_size: 352,
  num_hidden_layers: 4,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  max_position_embeddings: 128,
  tie_word_embeddings: true,
};
