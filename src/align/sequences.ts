/** Prompts with their responses as padded batches: position t of a row predicts the row's token t + 1. */
import { padBatch } from "../data/batch.ts";
import type { Batch } from "../nn/lm.ts";
import { input, type Tensor } from "../tensor/tensor.ts";

/** A prompt and one response to it, as token ids; both have at least one token. */
export interface Sequence {
  readonly query: readonly number[];
  readonly response: readonly number[];
}

/** Inputs of a program over B sequences of T positions. */
export interface SequenceInputs {
  readonly batch: Batch;
  /** u32 [B·T]: the token after each position. */
  readonly targets: Tensor;
  readonly B: number;
  readonly T: number;
}

/** Inputs for the program being recorded. */
export function sequenceInputs(B: number, T: number): SequenceInputs {
  const batch = { ids: input([B, T], "u32"), positions: input([B, T], "u32"), range: input([B, 2], "u32") };
  return { batch, targets: input([B * T], "u32", "targets"), B, T };
}

/** Positions that a batch of these sequences needs. */
export function positionsOf(sequences: readonly Sequence[]): number {
  return sequences.reduce((most, s) => Math.max(most, s.query.length + s.response.length - 1), 1);
}

/** Writes up to B sequences; rows beyond them are one token of padding. */
export function writeSequences(
  { batch, targets, B, T }: SequenceInputs,
  sequences: readonly Sequence[],
): void {
  const rows = Array.from({ length: B }, (_, b) => {
    const s = sequences[b];
    return s ? [...s.query, ...s.response] : [0, 0];
  });
  const padded = padBatch(
    rows.map((row) => row.slice(0, -1)),
    { padId: 0, length: T },
  );
  batch.ids.write(padded.ids);
  batch.positions.write(padded.positions);
  batch.range.write(padded.range);
  targets.write(
    padBatch(
      rows.map((row) => row.slice(1)),
      { padId: 0, length: T },
    ).ids,
  );
}

/**
 * Per-token numbers of responses laid out as [B, T], each at the position that predicts its token; `fill`
 * elsewhere.
 * @param rows row b holds one number for each token of response b
 */
export function spread(
  sequences: readonly Sequence[],
  rows: readonly ArrayLike<number>[],
  { B, T }: { readonly B: number; readonly T: number },
  fill = 0,
): Float32Array {
  const out = new Float32Array(B * T).fill(fill);
  sequences.forEach((s, b) => {
    const from = b * T + s.query.length - 1;
    for (let t = 0; t < s.response.length; t++) out[from + t] = rows[b]![t]!;
  });
  return out;
}

/** The inverse of {@link spread}: row b of the result holds the numbers at the tokens of response b. */
export function collect(sequences: readonly Sequence[], values: Float32Array, T: number): Float32Array[] {
  return sequences.map((s, b) => {
    const from = b * T + s.query.length - 1;
    return values.slice(from, from + s.response.length);
  });
}
