/**
 * Token ids made rectangular: padded batches with masks and ranges, documents packed into blocks, and the order in which
 * epochs visit them.
 */
import { ConfigError, ShapeError } from "../errors.ts";
import { createRandom } from "../tensor/random.ts";

/** B rows of T tokens. Arrays are row-major. */
export interface PaddedBatch {
  readonly B: number;
  readonly T: number;
  /** Token ids [B, T]; the padding id where there is no token. */
  readonly ids: Uint32Array;
  /** Position of each token in its row's text [B, T], from 0 at the first real token; 0 on padding. */
  readonly positions: Uint32Array;
  /** First real token of each row, and one past its last [B, 2]. */
  readonly range: Uint32Array;
  /** 1 on real tokens, 0 on padding [B, T]. */
  readonly mask: Float32Array;
}

/** How to pad: to `length` exactly, or to the longest row rounded up to a multiple of `multiple` (default 1). */
export interface PadOptions {
  readonly padId: number;
  readonly length?: number;
  readonly multiple?: number;
  /** Where the padding goes. Default "right". */
  readonly side?: "left" | "right";
}

/**
 * Pads `rows` into one batch. An empty row is all padding, with an empty range at the row's start.
 * Throws ShapeError when a row is longer than `length` or there is no row.
 */
export function padBatch(rows: readonly (readonly number[])[], options: PadOptions): PaddedBatch {
  const { padId, multiple = 1, side = "right" } = options;
  const longest = rows.reduce((length, row) => Math.max(length, row.length), 0);
  const T = options.length ?? Math.ceil(longest / multiple) * multiple;
  const B = rows.length;
  if (B === 0 || longest > T || !Number.isInteger(T)) {
    throw new ShapeError(
      `padBatch: expected at least one row and none longer than ${T} tokens, got ${B} rows, the longest of ${longest}; cut the rows first`,
    );
  }
  const batch = {
    B,
    T,
    ids: new Uint32Array(B * T).fill(padId),
    positions: new Uint32Array(B * T),
    range: new Uint32Array(B * 2),
    mask: new Float32Array(B * T),
  };
  for (const [b, row] of rows.entries()) {
    fillRow(batch, b, row, side === "left" ? T - row.length : 0);
  }
  return batch;
}

/**
 * The ranges [B, 2] (first 1, one past the last) of a mask [B, T] of zeros and ones; [0, 0] for a row of zeros.
 * Throws ShapeError when the ones of a row are not contiguous: attention takes ranges, and a hole would be seen.
 */
export function maskToRange(mask: ArrayLike<number>, B: number, T: number): Uint32Array {
  if (mask.length !== B * T) {
    throw new ShapeError(`maskToRange: expected a mask of [${B}, ${T}], got ${mask.length} values`);
  }
  const range = new Uint32Array(B * 2);
  for (let b = 0; b < B; b++) {
    const row = Array.from({ length: T }, (_, t) => mask[b * T + t] as number);
    const start = Math.max(0, row.indexOf(1));
    const end = row.lastIndexOf(1) + 1;
    if (row.some((value, t) => value !== (t >= start && t < end ? 1 : 0))) {
      throw new ShapeError(
        `maskToRange: row ${b}: expected zeros around one run of ones, got ${row.slice(0, 32).join("")}; pad on one side only`,
      );
    }
    range.set([start, end], b * 2);
  }
  return range;
}

/**
 * `n` tokens rounded up to a multiple of `multiple`, at most `max`: few lengths mean few recorded programs.
 * Throws ShapeError when `n` exceeds `max`.
 */
export function bucketLength(n: number, max: number, multiple = 16): number {
  if (n > max) {
    throw new ShapeError(`bucketLength: ${n} tokens exceed the longest allowed, ${max}; cut the text`);
  }
  return Math.min(max, Math.max(1, Math.ceil(n / multiple)) * multiple);
}

/**
 * Rows in batches of like length: indices, longest first (the earlier one among equals), so that little is padded.
 * @param rowsFor how many rows a batch takes whose longest has this length, at least 1
 */
export function batchesByLength(
  lengths: readonly number[],
  rowsFor: (longest: number) => number,
): number[][] {
  const order = lengths.map((_, i) => i).toSorted((a, b) => lengths[b]! - lengths[a]!);
  const batches: number[][] = [];
  for (let at = 0; at < order.length;) {
    const batch = order.slice(at, at + rowsFor(lengths[order[at]!]!));
    batches.push(batch);
    at += batch.length;
  }
  return batches;
}

/** Documents joined into one stream, cut into blocks. */
export interface PackedDocuments {
  readonly blockSize: number;
  /** Number of blocks. */
  readonly blocks: number;
  /** All tokens: each document followed by the end token. */
  readonly stream: Uint32Array;
}

/**
 * Joins `documents` (ids), each followed by `eosId`, into one stream of N tokens, which makes floor((N - 1) / blockSize)
 * blocks: the target of a block's last token is the first of the next, so that no token goes unpredicted.
 * Throws ConfigError when there is not one block.
 */
export function packDocuments(
  documents: Iterable<readonly number[]>,
  { blockSize, eosId }: { readonly blockSize: number; readonly eosId: number },
): PackedDocuments {
  const kept = [...documents];
  const stream = new Uint32Array(kept.reduce((sum, ids) => sum + ids.length + 1, 0));
  let at = 0;
  for (const ids of kept) {
    stream.set(ids, at);
    stream[at + ids.length] = eosId;
    at += ids.length + 1;
  }
  const blocks = Math.floor((stream.length - 1) / blockSize);
  if (!(blocks >= 1)) {
    throw new ConfigError(
      `packDocuments: expected at least ${blockSize + 1} tokens for a block of ${blockSize}, got ${stream.length}; use a smaller block or more text`,
    );
  }
  return { blockSize, blocks, stream };
}

/** B blocks of T tokens and what follows each token, both [B, T]. */
export interface TokenBatch {
  readonly B: number;
  readonly T: number;
  readonly ids: Uint32Array;
  /** targets[b, t] is the token after ids[b, t]. */
  readonly targets: Uint32Array;
}

/** The blocks numbered `indices` as one batch. Throws ShapeError for a block that does not exist. */
export function gatherBlocks(packed: PackedDocuments, indices: ArrayLike<number>): TokenBatch {
  const { blockSize: T, stream, blocks } = packed;
  const B = indices.length;
  const batch = { B, T, ids: new Uint32Array(B * T), targets: new Uint32Array(B * T) };
  for (let b = 0; b < B; b++) {
    const block = indices[b] as number;
    if (!(block >= 0 && block < blocks)) {
      throw new ShapeError(`gatherBlocks: expected a block from 0 to ${blocks - 1}, got ${block}`);
    }
    batch.ids.set(stream.subarray(block * T, block * T + T), b * T);
    batch.targets.set(stream.subarray(block * T + 1, block * T + T + 1), b * T);
  }
  return batch;
}

/** Which items make up which batch: a pure function of the batch's number, so that a run resumes at any of them. */
export interface EpochPlan {
  /** Full batches in one epoch; the items left over are dropped, other ones each epoch. */
  readonly batchesPerEpoch: number;
  /** Items [batchSize] of batch `position`, which counts from 0 through all epochs. */
  at(position: number): number[];
}

/**
 * Plans epochs over `count` items, each in its own order drawn from `seed`.
 * Throws ConfigError when there are fewer items than one batch takes, or for a position that is not a whole number.
 */
export function planEpochs(
  count: number,
  { batchSize, seed }: { readonly batchSize: number; readonly seed: number },
): EpochPlan {
  const batchesPerEpoch = Math.floor(count / batchSize);
  if (!(Number.isInteger(batchSize) && batchSize >= 1 && batchesPerEpoch >= 1)) {
    throw new ConfigError(
      `batch: ${count} items do not fill a batch of ${batchSize}; expected a smaller batch or more data`,
    );
  }
  let latest: { epoch: number; order: readonly number[] } | undefined;
  const orderOf = (epoch: number): readonly number[] => {
    if (latest?.epoch === epoch) return latest.order;
    latest = { epoch, order: createRandom(seed, `epoch ${epoch}`).permutation(count) };
    return latest.order;
  };
  const at = (position: number): number[] => {
    if (!Number.isSafeInteger(position) || position < 0) {
      throw new ConfigError(`batch: expected a position that is a whole number, got ${position}`);
    }
    const first = (position % batchesPerEpoch) * batchSize;
    return orderOf(Math.floor(position / batchesPerEpoch)).slice(first, first + batchSize);
  };
  return { batchesPerEpoch, at };
}

function fillRow(batch: PaddedBatch, b: number, row: readonly number[], start: number): void {
  const offset = b * batch.T + start;
  batch.ids.set(row, offset);
  batch.mask.fill(1, offset, offset + row.length);
  for (let t = 0; t < row.length; t++) batch.positions[offset + t] = t;
  batch.range.set(row.length === 0 ? [0, 0] : [start, start + row.length], b * 2);
}
