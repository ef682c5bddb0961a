#!/usr/bin/env node
/**
 * Does what vbon saves load in transformers, with the same logits? This half saves small models of every family and head, adapters
 * and tokenizers, each with `inputs.json`: tokens, and what vbon computes for them from the files it wrote. The other half,
 * scripts/transformers-check.py, needs torch, transformers and peft, and nothing of vbon.
 *   npm run build && node scripts/transformers-check.mjs FOLDER            # writes FOLDER, some 4 MB
 *   python3 scripts/transformers-check.py FOLDER [--save BACK]             # there; BACK: saved again, by transformers
 *   node scripts/transformers-check.mjs FOLDER --read BACK                 # and read by vbon
 */
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { loadAdapter, saveAdapter } from "../dist/models/adapter.js";
import { loadModel, loadScalarModel, saveModel } from "../dist/models/load.js";
import { createModel, createScalarModel } from "../dist/models/model.js";
import { openChat } from "../dist/src/data/tokenizer/chat.js";
import { loadTokenizer } from "../dist/src/data/tokenizer/tokenizer.js";
import { openDevice } from "../dist/src/gpu/device.js";
import { adaptedParameters } from "../dist/src/nn/lora.js";
import { logitsOf, randomise } from "./model-tools.mjs";
import { ADAPTERS, MODELS, PROSE, TEXTS, TOKENIZERS } from "./transformers-cases.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const [out, flag, back] = process.argv.slice(2);
if (!out || (flag !== undefined && (flag !== "--read" || !back))) {
  console.error("usage: node scripts/transformers-check.mjs FOLDER [--read BACK]");
  process.exit(2);
}
const LIMIT = 1e-4;
const FROZEN = { trainable: false };
const TORCH = { F32: "float32", F16: "float16", BF16: "bfloat16" };
const USER = [{ role: "user", content: "the cat" }];
const TEMPLATE =
  "{{ bos_token }}{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";
const device = await openDevice();
const load = (kind, folder, options = FROZEN) =>
  (kind === "lm" ? loadModel : loadScalarModel)(device, folder, options);
const at = (...names) => join(out, ...names);
const read = (path) => JSON.parse(readFileSync(path, "utf8"));

/** Two texts, the second shorter; no token is one of the first three, which may be padding. */
function batchFor({ config, toHf }) {
  const id = (b, t) => 3 + ((b * 7 + t * 5 + ((t * t) >> 2)) % (Math.min(config.vocabSize, 64) - 3));
  const rows = [12, 7].map((length, b) => Array.from({ length }, (_, t) => id(b, t)));
  return { rows, padId: toHf().pad_token_id ?? 0 };
}

/** @param {string} name @param {object} model as loaded from the files @param {object} more */
async function writeInputs(name, model, more) {
  const { rows, padId } = batchFor(model);
  const logits = await logitsOf(model, { rows, padId });
  const facts = { ...more, rows, padId, logits, ...(await textsIn(at(more.tokenizer ?? name))) };
  writeFileSync(at(name, "inputs.json"), JSON.stringify(facts));
  console.error(`wrote ${name}`);
}

/** What the folder's tokenizer makes of some texts. */
async function textsIn(folder) {
  if (!existsSync(join(folder, "tokenizer.json"))) return {};
  const tokenizer = await loadTokenizer(folder);
  const { bosId = null, eosId = null, padId: pad = null, specialTokens } = tokenizer;
  const special = Object.values(specialTokens).slice(0, 1);
  const texts = [...TEXTS, `the${special.join("")}cat`].map((text) => {
    const ids = tokenizer.encode(text);
    return { text, ids, decoded: tokenizer.decode(ids, { skipSpecialTokens: true }) };
  });
  const chat = tokenizer.chatTemplates.size > 0 && {
    messages: USER,
    ids: openChat(tokenizer).prompt(USER, "check"),
  };
  return { texts, special: { bos: bosId, eos: eosId, pad }, ...(chat && { chat }) };
}

async function startOf({ kind, fixture, from, json }) {
  if (fixture) return load(kind, join(root, "test/fixtures/models", fixture));
  if (from) return load(kind, at(from), { ...FROZEN, seed: 5 });
  const model = (kind === "lm" ? createModel : createScalarModel)(device, json, FROZEN);
  randomise(model.parameters, 6);
  return model;
}

async function writeModel(item) {
  const { name, kind, dtype = "F32", shard, padId, tokenizer } = item;
  const model = await startOf(item);
  if (item.from) randomise(model.parameters, 7, (tensor) => tensor === "score.weight");
  await saveModel(at(name), model, { dtype, padId, ...(shard && { maxShardBytes: shard }) });
  model.parameters.dispose();
  if (tokenizer) await writeTokenizer(at(name), tokenizer);
  await writeInputs(name, await load(kind, at(name)), { kind, dtype: TORCH[dtype] });
}

/** Through vbon's own reader and writer, as a model that is trained gets it. */
async function writeTokenizer(folder, kind) {
  const files = mkdtempSync(join(tmpdir(), "vbon-tokenizer-"));
  await TOKENIZERS[kind](files);
  const tokenizer = await loadTokenizer(kind === "llama2.c" ? join(files, "tokenizer.bin") : files);
  await tokenizer.save(folder);
  rmSync(files, { recursive: true });
}

async function writeAdapter({ name, base, kind, pattern, merged }) {
  const model = await load(kind, at(base), { ...FROZEN, seed: 5 });
  const settings = { pattern, rank: 3, alpha: 5 };
  const whole = kind === "scalar" ? model.headSpecs : [];
  const adapter = adaptedParameters(model, settings, { seed: 8, whole });
  randomise(adapter, 9, (tensor) => !tensor.endsWith("lora_A.weight"));
  await saveAdapter(at(name), model.with(adapter), settings, base);
  if (merged) await saveModel(at(merged), model.with(adapter));
  const again = model.with(await loadAdapter(model, at(name)));
  await writeInputs(name, again, { kind, base, dtype: "float32" });
  if (merged) await writeInputs(merged, await load(kind, at(merged)), { kind, dtype: "float32" });
}

/** What the commands leave: models with tokenizer, generation settings, chat template, and an adapter beside one. */
async function writeRuns() {
  const runs = mkdtempSync(join(tmpdir(), "vbon-runs-"));
  const file = (name, lines) => {
    const text = lines.map((line) => (typeof line === "string" ? line : JSON.stringify(line)));
    writeFileSync(join(runs, name), `${text.join("\n")}\n`);
    return join(runs, name);
  };
  const keep = async (run, kind, dtype) => {
    cpSync(join(runs, run, "model"), at(run), { recursive: true });
    await writeInputs(run, await load(kind, at(run)), { kind, dtype: TORCH[dtype] });
  };
  const few = { steps: 4, batch: 4, lr: 0.01 };
  const small = { layers: 1, heads: 2, dim: 16, vocab: 290 };
  const sft = (run, settings) =>
    vbon("sft", { ...few, block: 32, sampleEvery: 0, out: join(runs, run), ...settings });
  const times = (count, make) => Array.from({ length: count }, (_, i) => make(i));

  const data = file(
    "text.txt",
    times(60, () => PROSE.slice(0, 120)),
  );
  sft("sft", { data, family: "gpt2", ...small, dtype: "bf16" });
  await keep("sft", "lm", "BF16");
  const model = at("sft");
  sft("sft-lora", { data, model, lora: "c_attn,c_fc" });
  cpSync(join(runs, "sft-lora", "adapter"), at("sft-lora"), { recursive: true });
  const base = await load("lm", model);
  const adapted = base.with(await loadAdapter(base, at("sft-lora")));
  await writeInputs("sft-lora", adapted, { kind: "lm", base: "sft", dtype: "float32", tokenizer: "sft" });

  const talk = { messages: [...USER, { role: "assistant", content: "sat on a mat" }] };
  const chatTemplate = file("chat.jinja", [TEMPLATE]);
  sft("chat", {
    data: file(
      "chat.jsonl",
      times(40, () => talk),
    ),
    model,
    chatTemplate,
  });
  await keep("chat", "lm", "F32");

  const labelled = times(80, (i) => ({ text: i % 2 ? "the cat sat" : "a dog ran", label: i % 2 }));
  vbon("reward", {
    data: file("labels.jsonl", labelled),
    ...small,
    ...few,
    block: 16,
    out: join(runs, "reward"),
  });
  await keep("reward", "scalar", "F32");

  const reward = file("reward.mjs", [
    "export default (inputs) => inputs.map(({ response }) => response.length);",
  ]);
  const prompts = file("prompts.jsonl", [{ prompt: "the cat" }, { prompt: "a dog ran" }]);
  const cache = join(runs, "cache.jsonl");
  vbon("cache", { policy: model, reward, prompts, samples: 8, maxNewTokens: 4, temperature: 2, out: cache });
  const offline = { method: "bon-sft", minibatch: 4, microBatch: 4, n: 4, dtype: "f16" };
  vbon("align", { policy: model, reward, cache, ...offline, out: join(runs, "align") });
  await keep("align", "lm", "F16");
  rmSync(runs, { recursive: true });
}

/** Runs a command. */
function vbon(verb, settings) {
  const flags = Object.entries(settings).flatMap(([key, value]) => [
    `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`,
    String(value),
  ]);
  const words = [join(root, "bin/vbon.mjs"), verb, ...flags];
  const { status, stderr } = spawnSync(process.execPath, words, { encoding: "utf8" });
  if (status !== 0) throw new Error(`vbon ${verb} ${flags.join(" ")}: ${stderr}`);
}

/** Loads what transformers has saved again, and compares its logits with those of the first time. */
async function readBack() {
  let [passed, failed] = [0, 0];
  for (const name of readdirSync(back).toSorted()) {
    try {
      const { kind, base, rows, padId, logits: want, texts = [] } = read(at(name, "inputs.json"));
      let model = await load(kind, base ? at(base) : join(back, name), { ...FROZEN, seed: 5 });
      if (base) model = model.with(await loadAdapter(model, join(back, name)));
      const got = (await logitsOf(model, { rows, padId })).flat();
      const size = Math.max(...want.flat().map(Math.abs));
      const difference = Math.max(...want.flat().map((w, i) => Math.abs(w - got[i]))) / size;
      if (!(difference < LIMIT) || got.length !== want.flat().length)
        throw new Error(`relative difference ${difference}`);
      const tokenizer =
        existsSync(join(back, name, "tokenizer.json")) && (await loadTokenizer(join(back, name)));
      for (const { text, ids } of tokenizer ? texts : [])
        if (String(tokenizer.encode(text)) !== String(ids))
          throw new Error(`other ids of ${JSON.stringify(text)}`);
      passed++;
      console.log(`ok ${name} largest relative difference ${difference.toExponential(1)}`);
    } catch (error) {
      failed++;
      console.log(`FAIL ${name} ${error.message}`);
    }
  }
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed > 0 ? 1 : 0;
}

if (back) await readBack();
else {
  rmSync(out, { recursive: true, force: true });
  for (const item of MODELS) await writeModel(item);
  for (const item of ADAPTERS) await writeAdapter(item);
  await writeRuns();
}
await device.close();
