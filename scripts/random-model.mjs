#!/usr/bin/env node
// Writes a language model of a known size with random weights, and a small tokenizer: for measuring memory and time.
// Weights repeat every million, which makes a model of 1.4 thousand million in seconds.
// usage: node scripts/random-model.mjs gpt2-124m|pythia-160m|pythia-1.4b OUT_DIR [SEED]
import { join } from "node:path";
import { blueprint } from "../dist/models/model.js";
import { saveBpeTokenizer, trainBpe } from "../dist/src/data/tokenizer/bpe.js";
import { writeFileAtomic } from "../dist/src/data/files.js";
import { writeSafetensors } from "../dist/src/data/weights/safetensors.js";
import { initialValues } from "../dist/src/nn/init.js";

/** Sizes as Hugging Face's `config.json` of gpt2 and EleutherAI/pythia-160m has them. */
const CONFIGS = {
  "gpt2-124m": {
    model_type: "gpt2",
    vocab_size: 50257,
    n_positions: 1024,
    n_embd: 768,
    n_layer: 12,
    n_head: 12,
  },
  "pythia-160m": {
    model_type: "gpt_neox",
    vocab_size: 50304,
    max_position_embeddings: 2048,
    hidden_size: 768,
    intermediate_size: 3072,
    num_hidden_layers: 12,
    num_attention_heads: 12,
    rotary_pct: 0.25,
    tie_word_embeddings: false,
  },
  "pythia-1.4b": {
    model_type: "gpt_neox",
    vocab_size: 50304,
    max_position_embeddings: 2048,
    hidden_size: 2048,
    intermediate_size: 8192,
    num_hidden_layers: 24,
    num_attention_heads: 16,
    rotary_pct: 0.25,
    tie_word_embeddings: false,
  },
};

const [size, out, seed = "0"] = process.argv.slice(2);
if (!Object.hasOwn(CONFIGS, size ?? "") || !out || !/^\d+$/.test(seed)) {
  console.error(`usage: node scripts/random-model.mjs ${Object.keys(CONFIGS).join("|")} OUT_DIR [SEED]`);
  process.exit(2);
}

const pool = initialValues({ name: "pool", shape: [2 ** 20], init: "normal", decay: true }, Number(seed));

/** Vectors as models begin with, matrices from the pool. */
function valuesOf(spec) {
  if (typeof spec.init === "string" && spec.init !== "normal") return initialValues(spec, Number(seed));
  const values = new Float32Array(spec.shape.reduce((n, d) => n * d, 1));
  for (let at = 0; at < values.length; at += pool.length)
    values.set(pool.subarray(0, Math.min(pool.length, values.length - at)), at);
  return values;
}

const words =
  "the cat sat on a mat and the dog ran to a tree so that we saw it go by the big red house".split(" ");
const text = Array.from({ length: 400 }, (_, i) => words[(i * 7 + (i >> 2)) % words.length]).join(" ");
await saveBpeTokenizer(out, trainBpe([text], { vocabSize: 290 }));
const plan = blueprint({ ...CONFIGS[size], bos_token_id: 0, eos_token_id: 0 }, "lm");
const tensors = plan.specs.map((spec) => ({
  name: spec.name,
  dtype: "F32",
  shape: spec.shape,
  data: async () => valuesOf(spec),
}));
await writeSafetensors(join(out, "model.safetensors"), tensors, { format: "pt" });
await writeFileAtomic(join(out, "config.json"), `${JSON.stringify(plan.toHf(), null, 2)}\n`);
const count = plan.specs.reduce((n, { shape }) => n + shape.reduce((a, b) => a * b, 1), 0);
console.log(`${out}: ${size}, ${count} parameters, seed ${seed}`);
