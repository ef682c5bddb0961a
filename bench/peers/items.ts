/** The work that is compared: the same shapes for ours and for every peer, as records that go to their processes. */
import {
  GPT2_SMALL,
  LARGE_PRODUCT,
  PRODUCTS,
  type Sizes,
  SMALL_GPT,
  STORIES,
  TINY_GPT,
} from "../../src/bench/models.ts";

export type Mode = "nn" | "nt" | "tn";

/** What a process is asked to do. */
export type Work =
  /** Products [M, K]·[K, N] of every shape [M, N, K]; nt and tn take one operand transposed, as gradients do. */
  | {
      readonly kind: "matmul";
      readonly shapes: readonly (readonly [number, number, number])[];
      readonly modes: readonly Mode[];
      readonly precision?: "mixed";
    }
  /** Forward, backward, AdamW on `rows` rows of `length` tokens; mixed: ours in f16 and f32, against bf16 too. */
  | {
      readonly kind: "train";
      readonly model: Sizes;
      readonly rows: number;
      readonly length: number;
      readonly precision?: "mixed";
    }
  /** `tokens` tokens to each of `rows` copies of a prompt of `prompt` tokens, drawn at temperature 1. */
  | {
      readonly kind: "decode";
      readonly model: Sizes;
      readonly rows: number;
      readonly prompt: number;
      readonly tokens: number;
    }
  /** A new process of the command line with an empty shader cache, until its first token. */
  | { readonly kind: "start" };

/** A line of the table. */
export interface Item {
  readonly id: string;
  readonly title: string;
  readonly unit: "GFLOP/s" | "tokens/s" | "s";
  /** GPUs get larger work than processors. */
  readonly on: "software" | "gpu";
  readonly work: Work;
}

export const ITEMS: readonly Item[] = [
  {
    id: "matmul",
    title: "matmul nn, nt, tn; mean over 12 shapes of small GPTs",
    unit: "GFLOP/s",
    on: "software",
    work: { kind: "matmul", shapes: PRODUCTS, modes: ["nn", "nt", "tn"] },
  },
  {
    id: "train-tiny",
    title: "training step, GPT 4 layers d128 h4 T64 B32 V512",
    unit: "tokens/s",
    on: "software",
    work: { kind: "train", model: TINY_GPT, rows: 32, length: 64 },
  },
  {
    id: "train-small",
    title: "training step, GPT 6 layers d384 h6 T128 B8 V8192",
    unit: "tokens/s",
    on: "software",
    work: { kind: "train", model: SMALL_GPT, rows: 8, length: 128 },
  },
  {
    id: "decode-stories",
    title: "decode stories260K, 64 sequences of 64 tokens after a prompt of 9",
    unit: "tokens/s",
    on: "software",
    work: { kind: "decode", model: STORIES, rows: 64, prompt: 9, tokens: 64 },
  },
  {
    id: "train-stories",
    title: "training step stories260K, 64 sequences of 56 tokens",
    unit: "tokens/s",
    on: "software",
    work: { kind: "train", model: STORIES, rows: 64, length: 56 },
  },
  {
    id: "start",
    title: "cold start of `vbon generate`: empty shader cache, until the first token",
    unit: "s",
    on: "software",
    work: { kind: "start" },
  },
  {
    id: "matmul-4096",
    title: "matmul 4096x4096x4096",
    unit: "GFLOP/s",
    on: "gpu",
    work: { kind: "matmul", shapes: [LARGE_PRODUCT], modes: ["nn"] },
  },
  {
    id: "matmul-4096-f16",
    title: "matmul 4096x4096x4096 on matrix units, sums in f32",
    unit: "GFLOP/s",
    on: "gpu",
    work: { kind: "matmul", shapes: [LARGE_PRODUCT], modes: ["nn"], precision: "mixed" },
  },
  {
    id: "train-gpt2",
    title: "training step, GPT-2 124M, B=8 T=1024",
    unit: "tokens/s",
    on: "gpu",
    work: { kind: "train", model: GPT2_SMALL, rows: 8, length: 1024 },
  },
  {
    id: "train-gpt2-mixed",
    title: "training step, GPT-2 124M, B=8 T=1024, mixed precision",
    unit: "tokens/s",
    on: "gpu",
    work: { kind: "train", model: GPT2_SMALL, rows: 8, length: 1024, precision: "mixed" },
  },
  {
    id: "decode-gpt2",
    title: "decode GPT-2 124M, 64 sequences of 128 tokens after a prompt of 32",
    unit: "tokens/s",
    on: "gpu",
    work: { kind: "decode", model: GPT2_SMALL, rows: 64, prompt: 32, tokens: 128 },
  },
];
