/** The models of the step, decoding and alignment benchmarks: sizes only, random weights. */

/** A `config.json` in Hugging Face's spelling. */
export type Sizes = Readonly<Record<string, unknown>>;

const gpt = (layers: number, width: number, vocabulary: number, positions: number): Sizes => ({
  model_type: "gpt2",
  vocab_size: vocabulary,
  n_positions: positions,
  n_layer: layers,
  n_head: width / (layers === 4 ? 32 : 64),
  n_embd: width,
});

/** Four layers, 128 wide, 4 heads. */
export const TINY_GPT: Sizes = gpt(4, 128, 512, 64);

/** Six layers, 384 wide, 6 heads, a vocabulary of 8,192. */
export const SMALL_GPT: Sizes = gpt(6, 384, 8192, 128);

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
