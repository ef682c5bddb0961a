/** A language model of 16 dimensions with random weights and a BPE tokenizer, as a folder: alignment in a second. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { saveModel } from "../../models/load.ts";
import { createModel } from "../../models/model.ts";
import { trainBpe } from "../../src/data/tokenizer/bpe.ts";
import { loadTokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import type { Device } from "../../src/gpu/device.ts";
import { saveBpeTokenizer } from "./bpe.ts";

const WORDS =
  "the cat sat on a mat and the dog ran to a tree so that we saw it go by the big red house".split(" ");

/**
 * Writes model and tokenizer into `folder`. Other seeds give other weights; `padding` rows have no token; `changes` of
 * the config make another family of it.
 */
export async function tinyLm(
  device: Device,
  folder: string,
  seed = 1,
  padding = 0,
  changes: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  const text = Array.from({ length: 400 }, (_, i) => WORDS[(i * 7 + (i >> 2)) % WORDS.length]).join(" ");
  await saveBpeTokenizer(folder, trainBpe([text], { vocabSize: 290 }));
  const { vocabSize, eosId } = await loadTokenizer(folder);
  const sizes = {
    hidden_size: 16,
    intermediate_size: 32,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    num_key_value_heads: 1,
  };
  const json = {
    model_type: "llama",
    vocab_size: vocabSize + padding,
    max_position_embeddings: 64,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
  };
  const model = createModel(
    device,
    { ...json, ...sizes, bos_token_id: eosId, eos_token_id: eosId, ...changes },
    { trainable: false, seed },
  );
  await saveModel(folder, model);
  model.parameters.dispose();
}

/** {@link tinyLm}, with a chat template: "u:the cat\na:". */
export async function tinyChatLm(device: Device, folder: string): Promise<void> {
  await tinyLm(device, folder);
  writeFileSync(
    join(folder, "chat_template.jinja"),
    "{% for m in messages %}{{ m.role[0] + ':' + m.content + '\\n' }}{% endfor %}{% if add_generation_prompt %}a:{% endif %}",
  );
}

/** Writes `prompts.jsonl` with `count` prompts of different lengths; answers its path. */
export function promptFile(folder: string, count: number): string {
  const path = join(folder, `prompts-${count}.jsonl`);
  const prompts = Array.from({ length: count }, (_, i) => WORDS.slice(i, i + 1 + (i % 3)).join(" "));
  writeFileSync(path, prompts.map((prompt) => `${JSON.stringify({ prompt })}\n`).join(""));
  return path;
}

/**
 * Writes a reward, the share of the letter "e" among a response's bytes, as a module.
 * With the environment variable KILL_AT = k its process kills itself at the k-th call, with NAN_AT it gives NaN there.
 */
export function letterReward(folder: string, name = "letter.mjs"): string {
  const path = join(folder, name);
  writeFileSync(
    path,
    `let calls = 0;
export default async function reward(inputs) {
  calls++;
  if (Number(process.env.KILL_AT) === calls) process.kill(process.pid, "SIGKILL");
  const bad = Number(process.env.NAN_AT) === calls;
  return inputs.map(({ response }) => (bad ? NaN : (response.split("e").length - 1) / (1 + response.length)));
}
`,
  );
  return path;
}
