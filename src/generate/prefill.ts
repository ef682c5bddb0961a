/**
 * Prefill: the keys and values of prompts, computed once for all rows that continue them. A prompt's last token is
 * left to the first decoding step, which draws from it: prefill needs no head and no sampler, a prompt of one token no
 * prefill at all.
 */
import { bucketLength, padBatch } from "../data/batch.ts";
import type { Program } from "../gpu/program.ts";
import type { KvMemory } from "../nn/kv-cache.ts";
import type { Batch, LanguageModel } from "../nn/lm.ts";
import { NONE } from "../ops/kv-cache.ts";
import { input, record, type Tensor } from "../tensor/tensor.ts";

/** Positions that one prefill computes, about. */
const POSITIONS = 4096;

/** Positions that the prefill of a prompt of `length` tokens has. It depends on the prompt alone, and so do its bits. */
export const prefillLength = (length: number, blockSize: number): number =>
  length < 2 ? 0 : bucketLength(length - 1, blockSize);

/** A row and the prompt that it is to continue. */
export interface PromptRow {
  readonly row: number;
  readonly ids: readonly number[];
}

/** One run of a prefill program: prompts of like length, each without its last token. */
export interface PrefillPlan {
  readonly T: number;
  readonly prompts: readonly (readonly number[])[];
  /** The rows that continue each of them. */
  readonly rows: readonly (readonly number[])[];
}

/** Shares prompts out: each distinct one once, those of one padded length together, as many as memory is fair to. */
export function planPrefill(some: readonly PromptRow[], blockSize: number): PrefillPlan[] {
  const known = new Map<string, { ids: readonly number[]; rows: number[] }>();
  for (const { row, ids } of some) {
    const key = ids.slice(0, -1).join(",");
    const prompt = known.get(key);
    if (prompt) prompt.rows.push(row);
    else known.set(key, { ids: ids.slice(0, -1), rows: [row] });
  }
  const byLength = new Map<number, { ids: readonly number[]; rows: number[] }[]>();
  for (const prompt of known.values()) {
    const T = prefillLength(prompt.ids.length + 1, blockSize);
    if (T > 0) byLength.set(T, [...(byLength.get(T) ?? []), prompt]);
  }
  return [...byLength].flatMap(([T, prompts]) => {
    const most = mostPrompts(T);
    return Array.from({ length: Math.ceil(prompts.length / most) }, (_, i) => {
      const part = prompts.slice(i * most, (i + 1) * most);
      return { T, prompts: part.map((p) => p.ids), rows: part.map((p) => p.rows) };
    });
  });
}

const powerOfTwo = (n: number): number => 2 ** Math.ceil(Math.log2(n));
const mostPrompts = (T: number): number => 2 ** Math.floor(Math.log2(Math.max(1, POSITIONS / T)));

interface PrefillInputs {
  readonly batch: Batch;
  /** u32 [R]: which prompt's cache each row takes; NONE = it keeps its own. */
  readonly source: Tensor;
}

/** Prefill programs, recorded at first use for each number of prompts (a power of two) and length. */
export interface Prefill {
  /** Fills the caches of the rows in `some`. */
  run(some: readonly PromptRow[]): Promise<void>;
  /** Records the program for `prompts` prompts of `length` tokens ahead of its first use. */
  prepare(prompts: number, length: number): Promise<void>;
  dispose(): void;
}

export function createPrefill(model: LanguageModel, memory: KvMemory): Prefill {
  const { blockSize } = model.config;
  const programs = new Map<string, Promise<Program<PrefillInputs>>>();
  const program = (P: number, T: number): Promise<Program<PrefillInputs>> => {
    const key = `${P}x${T}`;
    const known =
      programs.get(key) ??
      record(model.parameters.device, `prefill ${key}`, () => recordPrefill(model, memory, P, T));
    programs.set(key, known);
    return known;
  };
  return {
    async run(some) {
      for (const plan of planPrefill(some, blockSize)) {
        const prefill = await program(powerOfTwo(plan.prompts.length), plan.T);
        writeInputs(prefill.result, plan);
        prefill.run();
      }
    },
    async prepare(prompts, length) {
      const T = prefillLength(length, blockSize);
      if (T > 0) await program(powerOfTwo(Math.min(prompts, mostPrompts(T))), T);
    },
    dispose: () => programs.forEach((prefill) => void prefill.then((p) => p.dispose())),
  };
}

function recordPrefill(model: LanguageModel, memory: KvMemory, P: number, T: number): PrefillInputs {
  const batch = { ids: input([P, T], "u32"), positions: input([P, T], "u32"), range: input([P, 2], "u32") };
  const source = input([memory.rows], "u32", "source");
  model.hidden(batch, memory.prefill(source));
  return { batch, source };
}

function writeInputs({ batch, source }: PrefillInputs, { T, prompts, rows }: PrefillPlan): void {
  const [P, R] = [batch.ids.dim(0), source.size];
  const unused = Array.from({ length: P - prompts.length }, () => [0]);
  const { ids, positions, range } = padBatch([...prompts, ...unused], { padId: 0, length: T });
  batch.ids.write(ids);
  batch.positions.write(positions);
  batch.range.write(range);
  const sources = new Uint32Array(R).fill(NONE);
  rows.forEach((taken, p) => taken.forEach((row) => (sources[row] = p)));
  source.write(sources);
}
