/** Small files to train on. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A fresh folder. */
export const scratch = (): string => mkdtempSync(join(tmpdir(), "vbon-test-"));

/** Writes lines of JSON into a fresh file and answers its path. */
export function jsonl(values: readonly unknown[], name = "data.jsonl"): string {
  const path = join(scratch(), name);
  writeFileSync(path, values.map((v) => `${typeof v === "string" ? v : JSON.stringify(v)}\n`).join(""));
  return path;
}

const words = ["cat", "dog", "sun", "tree", "runs", "sleeps", "shines", "grows", "and", "the", "a", "big"];

/** A text file of `count` short documents, the same each time. */
export function documents(count: number): string {
  const line = (i: number): string =>
    Array.from({ length: 12 }, (_, j) => words[(i * 7 + j * j * 3 + i * j) % words.length]).join(" ");
  const path = join(scratch(), "train.txt");
  writeFileSync(path, Array.from({ length: count }, (_, i) => line(i)).join("\n<|endoftext|>\n"));
  return path;
}

/** Flags of a model that trains in a moment. */
export const TINY: readonly string[] = "--layers 1 --dim 16 --heads 2 --vocab 280 --block 16 --batch 4".split(
  " ",
);

/** Settings of a short training whose knobs do nothing. */
export const PLAIN_TRAINING = {
  schedule: "constant",
  warmup: 0,
  evalEvery: 0,
  saveEvery: 0,
  sampleEvery: 0,
  logEvery: 1,
  batch: 8,
  accumulate: 1,
  weightDecay: 0,
  gradClip: 1,
  betas: [0.9, 0.95],
  seed: 0,
} as const;
