/** A small model that learns a text from nothing, while one looks on. */
import {
  blockSource,
  createEngine,
  createModel,
  modelFiles,
  packDocuments,
  trainLanguageModel,
  trainTokenizer,
} from "vbon";
import { createChart } from "./chart.mjs";
import { runs } from "./form.mjs";

const SIZES = {
  model_type: "llama",
  hidden_size: 128,
  intermediate_size: 344,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  max_position_embeddings: 128,
};
const [BLOCK, BATCH, VOCABULARY] = [64, 8, 384];

/** How often it learns, tests and shows what it can; numbers as in `vbon sft`. */
const SETTINGS = {
  lr: 1e-3,
  schedule: "cosine",
  warmup: 10,
  batch: BATCH,
  accumulate: 1,
  weightDecay: 0.1,
  gradClip: 1,
  betas: [0.9, 0.95],
  seed: 1,
  logEvery: 5,
  evalEvery: 0,
  evalItems: 0,
  saveEvery: 0,
};

/** @param {import("vbon").Device} device */
export async function trainForm(device) {
  const form = document.querySelector("#train");
  const { text } = form.elements;
  text.value = await (await fetch(new URL("text.txt", import.meta.url))).text();
  let model;
  runs(form, async (signal) => {
    model?.parameters.dispose();
    form.querySelector(".downloads").hidden = true;
    const tokenizer = await trainTokenizer([text.value], { vocabSize: VOCABULARY });
    const roles = { bos_token_id: tokenizer.bosId, eos_token_id: tokenizer.eosId };
    const config = { ...SIZES, ...roles, vocab_size: tokenizer.vocabSize };
    model = createModel(device, config, { trainable: true, seed: 1 });
    await train(form, model, tokenizer, signal);
    await offer(form, { ...(await modelFiles(model)), ...tokenizer.files() });
  });
}

async function train(form, model, tokenizer, signal) {
  const [status, samples] = [".speed", ".samples"].map((name) => form.querySelector(name));
  const { text, steps: asked } = form.elements;
  const steps = Number(asked.value);
  const packed = packDocuments([tokenizer.encode(text.value)], { blockSize: BLOCK, eosId: tokenizer.eosId });
  const chart = createChart(form.querySelector(".chart"), steps);
  samples.replaceChildren();
  status.textContent = "Compiling kernels…";
  const begin = tokenizer.encode(text.value).slice(0, 3);
  const settings = { temperature: 0.7, maxNewTokens: 48, eosIds: [tokenizer.eosId] };
  const engine = await createEngine(model, 1, begin.length, settings);
  const events = {
    signal,
    onRecord({ step, loss, tokensPerSecond }) {
      chart.add(step, loss);
      status.textContent = `Step ${step} of ${steps}: ${loss.toFixed(3)} nats a token, ${tokensPerSecond.toLocaleString()} tokens/s`;
    },
    async sample(step) {
      const [{ ids }] = await engine.generate([{ ids: begin, stream: [0, 0] }], { seed: 1 });
      const item = document.createElement("li");
      const when = document.createElement("b");
      when.textContent = step;
      item.append(when, tokenizer.decode([...begin, ...ids], { skipSpecialTokens: true }));
      samples.prepend(item);
    },
  };
  const sampleEvery = Math.max(10, Math.round(steps / 10));
  try {
    await trainLanguageModel(
      model,
      { train: blockSource(packed) },
      { ...SETTINGS, steps, sampleEvery },
      events,
    );
  } finally {
    engine.dispose();
  }
}

/** Links to the files of the model. */
async function offer(form, files) {
  const place = form.querySelector(".downloads");
  for (const old of place.querySelectorAll("a")) URL.revokeObjectURL(old.href);
  const links = Object.entries(files).map(([name, blob]) => {
    const link = document.createElement("a");
    Object.assign(link, { href: URL.createObjectURL(blob), download: name, textContent: name });
    return link;
  });
  place.querySelector("span").replaceChildren(...links);
  place.hidden = false;
}
