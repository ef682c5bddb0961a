#!/usr/bin/env node
// Cuts the demo's prompts from held-out reviews: the first 2 to 8 tokens of sentences, alternately for training and for
// testing, no review in both. usage: node scripts/demo-prompts.mjs TOKENIZER_DIR held-out.jsonl > checkpoints/prompts.jsonl
import { readFileSync } from "node:fs";
import { loadTokenizer } from "../dist/src/data/tokenizer/tokenizer.js";
import { createRandom } from "../dist/src/tensor/random.js";

const [folder, file] = process.argv.slice(2);
if (!folder || !file) {
  console.error("usage: node scripts/demo-prompts.mjs TOKENIZER_DIR held-out.jsonl");
  process.exit(2);
}
const SENTENCES = 3;
const tokenizer = await loadTokenizer(folder);
const random = createRandom(0, "demo prompts");
const seen = new Set();
readFileSync(file, "utf8")
  .trimEnd()
  .split("\n")
  .forEach((line, i) => {
    const sentences = JSON.parse(line)
      .text.split(/(?<= [.!?]) /)
      .filter((s) => /^[a-z]/.test(s) && s.length > 60);
    for (const sentence of random.shuffle(sentences).slice(0, SENTENCES)) {
      const ids = tokenizer.encode(sentence).slice(0, 2 + random.integer(7));
      const prompt = tokenizer.decode(ids);
      if (seen.has(prompt)) continue;
      seen.add(prompt);
      console.log(JSON.stringify({ split: i % 2 === 0 ? "train" : "test", ids, prompt }));
    }
  });
