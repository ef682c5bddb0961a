#!/usr/bin/env node
// Splits movie_reviews.jsonl for the shipped checkpoint: every 20th review is held out, and the demo's prompts
// are cut from those. usage: node scripts/split-reviews.mjs movie_reviews.jsonl OUT_DIR
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [input, out] = process.argv.slice(2);
if (!input || !out) {
  console.error("usage: node scripts/split-reviews.mjs movie_reviews.jsonl OUT_DIR");
  process.exit(2);
}
const lines = readFileSync(input, "utf8").trimEnd().split("\n");
const text = (line) => JSON.stringify({ text: JSON.parse(line).text.replace(/\s+/g, " ").trim() });
const part = (held) => lines.filter((_, i) => (i % 20 === 0) === held).map(text);
mkdirSync(out, { recursive: true });
writeFileSync(join(out, "train.jsonl"), part(false).join("\n") + "\n");
writeFileSync(join(out, "held-out.jsonl"), part(true).join("\n") + "\n");
