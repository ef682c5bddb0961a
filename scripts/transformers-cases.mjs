/** What scripts/transformers-check.mjs saves for transformers to load: every family and head that vbon has, and its tokenizers. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { saveBpeTokenizer, toTokenizerJson, trainBpe } from "../dist/src/data/tokenizer/bpe.js";

/**
 * @typedef {object} Case
 * @property {string} name the folder's
 * @property {"lm" | "scalar"} kind
 * @property {string} [fixture] a folder of test/fixtures/models
 * @property {string} [from] a case before this one, whose folder is loaded
 * @property {Record<string, unknown>} [json] a config: random weights
 * @property {"F32" | "F16" | "BF16"} [dtype]
 * @property {number} [shard] bytes of a file at most
 * @property {number} [padId] of the tokenizer, which a classifier's config gets
 * @property {keyof typeof TOKENIZERS} [tokenizer]
 */

const SIZES = {
  vocab_size: 64,
  max_position_embeddings: 64,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  hidden_size: 32,
  intermediate_size: 48,
};
const LLAMA = { ...SIZES, model_type: "llama", num_key_value_heads: 2, rms_norm_eps: 1e-5 };
const NEOX = { ...SIZES, model_type: "gpt_neox", rotary_pct: 0.5 };
const GPT2 = { model_type: "gpt2", vocab_size: 300, n_positions: 32, n_embd: 16, n_layer: 2, n_head: 2 };
export const LLAMA3 = {
  rope_type: "llama3",
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 64,
};
const LINEAR = { rope_theta: 500, rope_type: "linear", factor: 4 };
const lm = (name, rest) => ({ name, kind: "lm", ...rest });
const scalar = (name, rest) => ({
  name,
  kind: "scalar",
  ...rest,
});
const labels = (count) => ({
  id2label: Object.fromEntries(Array.from({ length: count }, (_, i) => [i, `L${i}`])),
  label2id: Object.fromEntries(Array.from({ length: count }, (_, i) => [`L${i}`, i])),
});
const bert = (type, architecture) => ({
  ...SIZES,
  model_type: type,
  architectures: [architecture],
  hidden_act: "gelu_new",
});

/** Whole models. @type {readonly Case[]} */
export const MODELS = [
  lm("gpt2", { fixture: "gpt2-tiny" }),
  lm("gpt2-untied", {
    json: {
      ...GPT2,
      n_inner: 48,
      tie_word_embeddings: false,
      scale_attn_by_inverse_layer_idx: true,
      activation_function: "gelu",
    },
    tokenizer: "vocabulary and merges",
  }),
  lm("gpt-neox", { json: { ...NEOX, rotary_pct: 0.25 }, dtype: "F16" }),
  lm("gpt-neox-sequential", { fixture: "gpt-neox-sequential-tiny" }),
  lm("gpt-neox-linear", {
    json: {
      ...NEOX,
      use_parallel_residual: false,
      rope_scaling: { type: "linear", factor: 2 },
      hidden_act: "gelu_fast",
    },
  }),
  lm("gpt-neox-tied", {
    json: { ...NEOX, tie_word_embeddings: true, attention_bias: false, rotary_emb_base: 500 },
  }),
  lm("llama", { fixture: "llama-tiny-gqa" }),
  lm("llama-tied", { fixture: "llama-tied-tiny" }),
  lm("llama-sharded", { fixture: "llama-tiny-gqa-sharded", shard: 60_000 }),
  lm("llama-scaled", { json: { ...LLAMA, rope_theta: 500, rope_scaling: LLAMA3 } }),
  lm("llama-linear", { json: { ...LLAMA, attention_bias: true, mlp_bias: true, rope_parameters: LINEAR } }),
  lm("llama2c", {
    json: { ...LLAMA, hidden_size: 16, vocab_size: 300, bos_token_id: 1, eos_token_id: 2 },
    tokenizer: "llama2.c",
  }),
  lm("mistral", { json: { ...LLAMA, model_type: "mistral", sliding_window: 32, head_dim: 12 } }),
  lm("qwen2", { json: { ...LLAMA, model_type: "qwen2", rope_theta: 1e6 } }),
  lm("qwen2-window", {
    json: {
      ...LLAMA,
      model_type: "qwen2",
      tie_word_embeddings: true,
      use_sliding_window: true,
      sliding_window: 32,
      max_window_layers: 1,
    },
  }),
  lm("qwen3", { json: { ...LLAMA, model_type: "qwen3", head_dim: 16, tie_word_embeddings: true } }),
  scalar("gpt2-reward", { from: "gpt2-untied" }),
  scalar("gpt-neox-reward", { fixture: "gpt-neox-reward-tiny" }),
  scalar("llama-reward", { from: "llama-tied", padId: 2, dtype: "BF16" }),
  scalar("mistral-reward", { from: "mistral", padId: 0 }),
  scalar("qwen2-reward", { from: "qwen2", padId: 0 }),
  scalar("qwen3-reward", { from: "qwen3", padId: 0 }),
  scalar("llama-two-labels", {
    json: { ...LLAMA, architectures: ["LlamaForSequenceClassification"], pad_token_id: 1, ...labels(2) },
  }),
  scalar("distilbert", { fixture: "distilbert-classifier-tiny" }),
  scalar("bert", {
    json: { ...bert("bert", "BertForSequenceClassification"), ...labels(3) },
    tokenizer: "WordPiece",
  }),
  scalar("roberta", {
    json: {
      ...bert("roberta", "RobertaForSequenceClassification"),
      vocab_size: 300,
      type_vocab_size: 1,
      pad_token_id: 1,
      ...labels(2),
    },
    tokenizer: "RoBERTa's",
  }),
];

/**
 * Adapters, on a case of MODELS; `kind` as that of the model they make.
 * @type {readonly { name: string, base: string, kind: "lm" | "scalar", pattern: string, merged?: string }[]}
 */
export const ADAPTERS = [
  { name: "gpt2-lora", base: "gpt2", kind: "lm", pattern: "c_attn,c_proj" },
  { name: "gpt2-lora-all", base: "gpt2", kind: "lm", pattern: "all-linear" },
  { name: "gpt-neox-lora", base: "gpt-neox", kind: "lm", pattern: ".*\\.1\\..*(query_key_value|dense)" },
  {
    name: "llama-lora",
    base: "llama-tied",
    kind: "lm",
    pattern: "q_proj,v_proj,down_proj",
    merged: "llama-lora-merged",
  },
  { name: "qwen2-lora", base: "qwen2", kind: "lm", pattern: "all-linear" },
  { name: "gpt2-reward-lora", base: "gpt2", kind: "scalar", pattern: "c_attn" },
  { name: "llama-reward-lora", base: "llama", kind: "scalar", pattern: "all-linear" },
  { name: "distilbert-lora", base: "distilbert", kind: "scalar", pattern: "q_lin,v_lin" },
  { name: "bert-lora", base: "bert", kind: "scalar", pattern: "query,value,dense" },
  { name: "roberta-lora", base: "roberta", kind: "scalar", pattern: "all-linear" },
];

/** Their ids are compared: spaces, case, accents, digits, bytes, what no vocabulary has. */
export const TEXTS = [
  "the cat sat on a mat",
  " The  Cat\n\nsat.",
  "it's naïve, café: 12,345!",
  "日本 🙂 to go",
  "",
];

const WORDS =
  "the cat sat on a mat and the dog ran to a tree so that we saw it go by the big red house".split(" ");

/** A text with words to merge. */
export const PROSE = Array.from({ length: 400 }, (_, i) => WORDS[(i * 7 + (i >> 2)) % WORDS.length]).join(
  " ",
);

/** How files of tokenizers are written into a folder, older kinds as their models have them. */
export const TOKENIZERS = {
  "trained BPE": (folder) => saveBpeTokenizer(folder, trainBpe([PROSE], { vocabSize: 290 })),
  "vocabulary and merges": (folder) => vocabularyAndMerges(folder, ["<|endoftext|>"]),
  "RoBERTa's": (folder) => {
    vocabularyAndMerges(folder, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]);
    write(folder, "config.json", JSON.stringify({ model_type: "roberta" })); // the reader asks it
  },
  WordPiece(folder) {
    const letters = [..."abcdefghijklmnopqrstuvwxyz"];
    const tokens = [
      "[PAD]",
      "[UNK]",
      "[CLS]",
      "[SEP]",
      "[MASK]",
      ...letters,
      ...letters.map((l) => `##${l}`),
      ".",
      ",",
      "the",
      "cat",
    ];
    write(folder, "vocab.txt", tokens.map((token) => `${token}\n`).join(""));
  },
  "llama2.c"(folder) {
    const bytes = Array.from(
      { length: 256 },
      (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`,
    );
    const pieces = [" t", "th", " the", "at", " c", "cat", " cat", ..." .acdehimnorstu"];
    const tokens = ["<unk>", "\n<s>\n", "\n</s>\n", ...bytes, ...pieces];
    const scored = tokens.map((token, i) => [token, i < 259 ? 0 : 259 - i]);
    write(
      folder,
      "tokenizer.bin",
      Buffer.concat([word(27, "writeUInt32LE"), ...scored.map(([text, score]) => piece(text, score))]),
    );
  },
};

/** @param {string} folder @param {string[]} special the first ids are theirs where there are several */
function vocabularyAndMerges(folder, special) {
  const bpe = trainBpe([PROSE], { vocabSize: 256 + 12 + special.length, specialTokens: special });
  const { model } = toTokenizerJson(bpe);
  const plain = Object.keys(model.vocab).filter((token) => !special.includes(token));
  const order = special.length > 1 ? [...special, ...plain] : [...plain, ...special];
  write(folder, "vocab.json", JSON.stringify(Object.fromEntries(order.map((token, id) => [token, id]))));
  write(folder, "merges.txt", `#version: 0.2\n${model.merges.join("\n")}\n`);
}

function piece(text, score) {
  const bytes = Buffer.from(text);
  return Buffer.concat([word(score, "writeFloatLE"), word(bytes.length, "writeUInt32LE"), bytes]);
}

function word(value, how) {
  const bytes = Buffer.alloc(4);
  bytes[how](value);
  return bytes;
}

function write(folder, name, data) {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, name), data);
}
