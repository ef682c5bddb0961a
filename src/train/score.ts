/** What a language model says of given sequences, token by token; batched by length. */
import { batchesByLength, bucketLength, padBatch } from "../data/batch.ts";
import { ConfigError } from "../errors.ts";
import type { Batch, LanguageModel } from "../nn/lm.ts";
import { input, type Tensor } from "../tensor/tensor.ts";
import { type Programs, programsByLength } from "./training.ts";

/** Scores sequences. */
export interface SequenceScorer {
  /**
   * For each sequence the log-probabilities of its tokens but the first, in nats: entry t is
   * log p(ids[t + 1] | ids[0 .. t]). A sequence of one token or none gives none.
   * @param rows each of at most `blockSize` tokens
   * @throws ConfigError for one that is longer, or holds an id beyond the vocabulary
   */
  score(rows: readonly (readonly number[])[]): Promise<Float32Array[]>;
  dispose(): void;
}

/** Positions a batch holds, about. */
const POSITIONS = 4096;

/** Makes a scorer; programs are recorded once for each length bucket. */
export function createSequenceScorer(model: LanguageModel): SequenceScorer {
  const { blockSize, vocabSize } = model.config;
  const rowsAt = (T: number): number => Math.max(1, Math.floor(POSITIONS / T));
  const programs = programsByLength(model.parameters.device, "score", (T) =>
    recordLogprobs(model, rowsAt(T), T),
  );
  return {
    async score(rows) {
      for (const row of rows) check(row, blockSize, vocabSize);
      const out: Float32Array[] = Array.from({ length: rows.length }, () => new Float32Array(0));
      const several = rows.flatMap((row, i) => (row.length > 1 ? [i] : []));
      const bucket = (length: number): number => bucketLength(length, blockSize, 32);
      const lengths = several.map((i) => rows[i]!.length);
      for (const batch of batchesByLength(lengths, (longest) => rowsAt(bucket(longest)))) {
        const some = batch.map((b) => rows[several[b]!]!);
        const T = bucket(some[0]!.length);
        const found = await run(programs, some, rowsAt(T), T);
        batch.forEach((b, r) => (out[several[b]!] = found[r]!));
      }
      return out;
    },
    dispose: () => programs.dispose(),
  };
}

interface LogprobProgram {
  readonly batch: Batch;
  readonly targets: Tensor;
  readonly logprobs: Tensor;
}

function recordLogprobs(model: LanguageModel, B: number, T: number): LogprobProgram {
  const batch = {
    ids: input([B, T], "u32", "ids"),
    positions: input([B, T], "u32", "positions"),
    range: input([B, 2], "u32", "range"),
  };
  const targets = input([B * T], "u32", "targets");
  const { logprobs } = model.logprobs(model.hidden(batch).reshape(B * T, -1), targets);
  return { batch, targets, logprobs: logprobs.detach() };
}

async function run(
  programs: Programs<LogprobProgram>,
  rows: readonly (readonly number[])[],
  B: number,
  T: number,
): Promise<Float32Array[]> {
  const program = await programs.at(T);
  const { batch, targets, logprobs } = program.result;
  const filled = [...rows, ...Array.from({ length: B - rows.length }, () => [0])];
  const { ids, positions, range } = padBatch(filled, { padId: 0, length: T });
  batch.ids.write(ids);
  batch.positions.write(positions);
  batch.range.write(range);
  targets.write(ids.map((_, i) => ids[i + 1] ?? 0));
  program.run();
  const found = await logprobs.read();
  return rows.map((row, b) => found.slice(b * T, b * T + row.length - 1));
}

function check(row: readonly number[], blockSize: number, vocabSize: number): void {
  if (row.length > blockSize) {
    throw new ConfigError(
      `score: a sequence has ${row.length} tokens; expected at most ${blockSize}, the model's context. Cut it first`,
    );
  }
  const beyond = row.find((id) => !(id >= 0 && id < vocabSize));
  if (beyond !== undefined)
    throw new ConfigError(`score: token id ${beyond} is not in the model's vocabulary of ${vocabSize}`);
}
