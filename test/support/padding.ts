/** The same texts laid out in several ways. */
import { padBatch } from "../../src/data/batch.ts";
import type { Padded } from "./models.ts";

/** Texts of random tokens, of these lengths. */
export const someRows = (lengths: readonly number[], vocabSize: number): number[][] =>
  lengths.map((length, b) => Array.from({ length }, (_, t) => (b * 7 + t * 5 + ((t * t) >> 2)) % vocabSize));

/** Padded on a side, as the goldens spell it. Padding holds a real token's id: only the mask decides. */
export function padded(rows: readonly (readonly number[])[], side: "left" | "right"): Padded {
  const { B, T, ids, positions, mask } = padBatch(rows, { padId: 3, side });
  const lines = (values: ArrayLike<number>): number[][] =>
    Array.from({ length: B }, (_, b) => Array.from({ length: T }, (__, t) => values[b * T + t]!));
  return { input_ids: lines(ids), position_ids: lines(positions), attention_mask: lines(mask) };
}
