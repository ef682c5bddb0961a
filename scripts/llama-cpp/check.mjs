#!/usr/bin/env node
/**
 * Does what vbon exports run in llama.cpp, with the same probabilities? Models of every family with random weights, and the shipped
 * ones, are written as GGUF in every dtype; llama.cpp (node-llama-cpp, on the CPU) tokenizes texts and gives the distribution of each
 * next token.
 *   npm install --no-package-lock --prefix scripts/llama-cpp && npm run build && node scripts/llama-cpp/check.mjs
 */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import { saveGguf } from "../../dist/models/gguf.js";
import { loadModel } from "../../dist/models/load.js";
import { createModel } from "../../dist/models/model.js";
import { loadTokenizer } from "../../dist/src/data/tokenizer/tokenizer.js";
import { openDevice } from "../../dist/src/gpu/device.js";
import { logitsOf, randomise } from "../model-tools.mjs";
import { LLAMA3, TEXTS, TOKENIZERS } from "../transformers-cases.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const FROZEN = { trainable: false };
const SIZES = {
  vocab_size: 300,
  max_position_embeddings: 64,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  hidden_size: 32,
  intermediate_size: 64,
  initializer_range: 0.3,
};
const LLAMA = { ...SIZES, model_type: "llama", num_key_value_heads: 2, rms_norm_eps: 1e-5 };
const NEOX = { ...SIZES, model_type: "gpt_neox", rotary_pct: 0.5, hidden_act: "gelu_new" };
const GPT2 = { model_type: "gpt2", vocab_size: 300, n_positions: 64, n_embd: 32, n_layer: 2, n_head: 4 };

/** Configs by name, and folders. */
const MODELS = {
  gpt2: GPT2,
  "gpt2, untied": { ...GPT2, tie_word_embeddings: false, n_inner: 96 },
  gpt_neox: NEOX,
  "gpt_neox, sequential, linear scaling": {
    ...NEOX,
    use_parallel_residual: false,
    rope_scaling: { type: "linear", factor: 2 },
  },
  llama: LLAMA,
  "llama, tied, wide heads": { ...LLAMA, tie_word_embeddings: true, head_dim: 16 },
  "llama, biases, linear scaling": {
    ...LLAMA,
    attention_bias: true,
    mlp_bias: true,
    rope_parameters: { rope_theta: 500, rope_type: "linear", factor: 4 },
  },
  "llama 3": { ...LLAMA, rope_theta: 500, rope_scaling: LLAMA3 },
  mistral: { ...LLAMA, model_type: "mistral", head_dim: 12, sliding_window: 32 },
  qwen2: { ...LLAMA, model_type: "qwen2", rope_theta: 1e6 },
  qwen3: { ...LLAMA, model_type: "qwen3", head_dim: 16, tie_word_embeddings: true },
};
const FOLDERS = [
  "checkpoints/movie-lm",
  "../shared/data/stories260K",
  "../shared/data/gpt2-tokenizer", // GPT-2's whole vocabulary on a tiny model
].filter((folder) => existsSync(join(root, folder)));

/**
 * Total variation between two distributions of the next token. A matrix in 16 bits rounds the activations too, and llama.cpp looks
 * GELU up in a table of f16.
 */
const LIMITS = { F32: 1e-5, F16: 1e-2, BF16: 5e-2 };
const GELU_LIMIT = 1e-3;

/** Keys and values in f32 as well: its default is f16. */
const CONTEXT = {
  contextSize: 64,
  flashAttention: false,
  experimentalKvCacheKeyType: "F32",
  experimentalKvCacheValueType: "F32",
};

const device = await openDevice();
const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error });
const work = mkdtempSync(join(tmpdir(), "vbon-llama-cpp-"));

/** @returns {Promise<number>} the largest total variation over the positions of a text */
async function compare(model, context, ids) {
  const sequence = context.getSequence();
  const everything = { temperature: 1, topK: 0, topP: 1, minP: 0 };
  const asked = ids.map((id) => [id, { generateNext: { probabilities: true, options: everything } }]);
  const theirs = await sequence.controlledEvaluate(asked);
  sequence.dispose();
  const [ours] = await logitsOf(model, { rows: [ids], padId: 0 });
  const V = ours.length / ids.length;
  const distances = theirs.map(({ next }, t) => {
    const logits = ours.slice(t * V, (t + 1) * V);
    const top = Math.max(...logits);
    const total = logits.reduce((sum, x) => sum + Math.exp(x - top), 0);
    const differences = logits.map((x, id) =>
      Math.abs(Math.exp(x - top) / total - (next.probabilities.get(id) ?? 0)),
    );
    return differences.reduce((a, b) => a + b, 0) / 2;
  });
  return Math.max(...distances);
}

async function check(name, model, tokenizer, dtype) {
  const file = join(work, `${dtype}.gguf`);
  await saveGguf(file, model, tokenizer, { dtype, name });
  const loaded = await llama.loadModel({ modelPath: file, useMmap: false });
  const context = await loaded.createContext(CONTEXT);
  const texts = TEXTS.filter((text) => text !== "");
  // It adds the space before a text itself, and BOS when the text becomes a context.
  for (const text of texts) {
    const [want, got] = [tokenizer.encode(text, { addSpecialTokens: false }), loaded.tokenize(text, false)];
    if (String(want) !== String(got))
      throw new Error(`other ids of ${JSON.stringify(text)}: ${got} for ${want}`);
  }
  const ids = tokenizer.encode(texts.join(" ")).slice(0, 32);
  const distance = await compare(model, context, ids);
  await context.dispose();
  await loaded.dispose();
  const gelu = ["gpt2", "gpt_neox"].includes(model.config.family) ? GELU_LIMIT : 0;
  if (!(distance < Math.max(LIMITS[dtype], gelu))) throw new Error(`total variation ${distance}`);
  return distance;
}

const count = { passed: 0, failed: 0 };
async function checkAll(name, model, tokenizer) {
  for (const dtype of Object.keys(LIMITS)) {
    try {
      const distance = await check(name, model, tokenizer, dtype);
      count.passed++;
      console.log(`ok ${name}, ${dtype}: total variation ${distance.toExponential(1)}`);
    } catch (error) {
      count.failed++;
      console.log(`FAIL ${name}, ${dtype}: ${error.message}`);
    }
  }
  model.parameters.dispose();
}

await TOKENIZERS["trained BPE"](work);
const tokenizer = await loadTokenizer(work);
for (const [name, json] of Object.entries(MODELS)) {
  const model = createModel(device, json, FROZEN);
  randomise(model.parameters, 6);
  await checkAll(name, model, tokenizer);
}
for (const folder of FOLDERS.map((path) => join(root, path)))
  await checkAll(folder, await loadModel(device, folder, FROZEN), await loadTokenizer(folder));
console.log(`${count.passed} passed, ${count.failed} failed`);
rmSync(work, { recursive: true });
await llama.dispose();
await device.close();
process.exitCode = count.failed > 0 ? 1 : 0;
