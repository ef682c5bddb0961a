/** What a language model is trained on: blocks of a stream of documents, or rows of which only a part counts. */
import { bucketLength, gatherBlocks, type PackedDocuments, padBatch } from "../data/batch.ts";
import { ConfigError } from "../errors.ts";
import { hashIds, hexOf } from "../tensor/hash.ts";

/** Token ids of which those from `from` on are to be learnt: the response and its end token after a prompt. */
export interface TrainingRow {
  readonly ids: readonly number[];
  /** At least 1: the first token has nothing to be predicted from. */
  readonly from: number;
}

/** B rows of T tokens and what follows each of them. */
export interface LmBatch {
  readonly B: number;
  readonly T: number;
  /** [B, T] */
  readonly ids: Uint32Array;
  /** [B, T] */
  readonly positions: Uint32Array;
  /** [B, 2] */
  readonly range: Uint32Array;
  /** [B·T]: the token after each one. */
  readonly targets: Uint32Array;
  /** [B·T]: 1 where the target counts. */
  readonly mask: Float32Array;
  /** How many count. */
  readonly tokens: number;
}

/** Items to train on. */
export interface LmSource {
  readonly count: number;
  /** Longest batch, in tokens. */
  readonly longest: number;
  /** One batch of these items, in this order. */
  gather(items: readonly number[]): LmBatch;
  /** Hash of all tokens, by which a resumed run knows its data again. */
  readonly hash: string;
}

/** Every token of every block counts. */
export function blockSource(packed: PackedDocuments): LmSource {
  const T = packed.blockSize;
  return {
    count: packed.blocks,
    longest: T,
    hash: hexOf(hashIds(packed.stream)),
    gather(items) {
      const { B, ids, targets } = gatherBlocks(packed, items);
      const positions = Uint32Array.from({ length: B * T }, (_, i) => i % T);
      const range = Uint32Array.from({ length: B * 2 }, (_, i) => (i % 2) * T);
      return { B, T, ids, positions, range, targets, mask: new Float32Array(B * T).fill(1), tokens: B * T };
    },
  };
}

/** Lengths of padded batches are multiples of this: few lengths, few programs. */
const BUCKET = 32;

/**
 * Rows padded to the longest of their batch.
 * @throws ConfigError when a row is too short, or longer than `blockSize` tokens and their last target
 */
export function rowSource(rows: readonly TrainingRow[], blockSize: number): LmSource {
  const bad = rows.findIndex(
    ({ ids, from }) => !(from >= 1 && from < ids.length && ids.length <= blockSize + 1),
  );
  if (bad >= 0) {
    const { ids, from } = rows[bad]!;
    throw new ConfigError(
      `train: row ${bad}: expected 2 to ${blockSize + 1} tokens with 1 <= from < length, got ${ids.length} and from ${from}`,
    );
  }
  const bucket = (longest: number): number => bucketLength(longest - 1, blockSize, BUCKET);
  return {
    count: rows.length,
    longest: bucket(rows.reduce((n, { ids }) => Math.max(n, ids.length), 2)),
    hash: hexOf(hashIds(rows.flatMap(({ ids, from }) => [from, ids.length, ...ids]))),
    gather(items) {
      const some = items.map((i) => rows[i]!);
      const T = bucket(Math.max(...some.map(({ ids }) => ids.length)));
      const { B, ids, positions, range } = padBatch(
        some.map((row) => row.ids.slice(0, -1)),
        { padId: 0, length: T },
      );
      const targets = padBatch(
        some.map((row) => row.ids.slice(1)),
        { padId: 0, length: T },
      ).ids;
      const mask = new Float32Array(B * T);
      for (const [b, row] of some.entries()) mask.fill(1, b * T + row.from - 1, b * T + row.ids.length - 1);
      const tokens = some.reduce((n, row) => n + row.ids.length - row.from, 0);
      return { B, T, ids, positions, range, targets, mask, tokens };
    },
  };
}
