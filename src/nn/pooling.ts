/** Which token of a text a classifier reads. */

/** The first token ([CLS], in encoders, which see the whole text from everywhere), or the last (in decoders). */
export type Reads = "first" | "last";

/** The row of hidden states [B·T, C] that is read of right-padded row `b`, which has `length` tokens. */
export function readIndex(reads: Reads, b: number, T: number, length: number): number {
  return b * T + (reads === "first" ? 0 : length - 1);
}

/** `ids` without their beginning, so that at most `most` are left; a first token that is read stays. */
export function cutStart(reads: Reads, ids: readonly number[], most: number): readonly number[] {
  if (ids.length <= most) return ids;
  return reads === "last" ? ids.slice(-most) : [ids[0]!, ...ids.slice(ids.length - most + 1)];
}
