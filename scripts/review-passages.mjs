#!/usr/bin/env node
// Cuts movie_reviews.jsonl into passages of three lines with their review's label, for a second reward that knows other texts
// than the first; every 20th review is left out, as in split-reviews.mjs.
// usage: node scripts/review-passages.mjs movie_reviews.jsonl > passages.jsonl
import { readFileSync } from "node:fs";

const [input] = process.argv.slice(2);
if (!input) {
  console.error("usage: node scripts/review-passages.mjs movie_reviews.jsonl > passages.jsonl");
  process.exit(2);
}
const LINES = 3;
const reviews = readFileSync(input, "utf8")
  .trimEnd()
  .split("\n")
  .map((line) => JSON.parse(line));
for (const { text, label } of reviews.filter((_, i) => i % 20 !== 0)) {
  const lines = text
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);
  for (let i = 0; i < lines.length; i += LINES)
    console.log(JSON.stringify({ text: lines.slice(i, i + LINES).join(" "), label }));
}
