/**
 * The matrix product for GPUs, without subgroups: tiles of C in registers, pieces of A and B through workgroup memory.
 * On an H200 it reaches half of the arithmetic ceiling (docs/performance.md).
 */
import { loadKernel, using } from "../gpu/kernel.ts";
import { call } from "../tensor/op.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { finishBindings, finishConstants, finishing } from "./matmul-finish.ts";
import { biasView, flopsOf, type MatmulForm, type Product, unfinished, vectorsOf } from "./matmul-form.ts";
import { partsFor, recordParts } from "./matmul-parts.ts";

const kernel = using(await loadKernel("matmul-tile"), finishing);

/** What a workgroup computes, and how its threads share it. */
interface Tile {
  /** Values of C a workgroup, along m and n. */
  readonly BM: number;
  readonly BN: number;
  /** Depth of the pieces of A and B in workgroup memory. */
  readonly BK: number;
  /** Values of C a thread. */
  readonly TM: number;
  readonly TN: number;
}

/** Larger ones, 8 x 8 values a thread, have too few registers for their sums; lower ones gain nothing (docs/performance.md). */
const TILES = {
  tile64: { BM: 64, BN: 64, BK: 16, TM: 8, TN: 4 },
  tile32: { BM: 32, BN: 64, BK: 16, TM: 4, TN: 4 },
} as const satisfies Record<string, Tile>;

/**
 * Length of the sums that are added up. It knows K alone, so that every tile gives the same bits, and whoever computes the sums
 * of a row: short enough for few rows to be shared out by them, and at most 24.
 */
const chunkOf = (K: number): number => 128 * Math.ceil(K / 3072);

/** Workgroups that keep a large GPU busy. */
const ENOUGH = 128;

/** vec4s left free after each k in workgroup memory, so that stores of 4 by 4 blocks meet other banks. */
const PAD = 1;

const groupsOf = ({ M, N, batch }: Product, { BM, BN }: Tile): number =>
  Math.ceil(M / BM) * Math.ceil(N / BN) * batch;

/** The lower tile for rows that fill no more. */
const tileFor = ({ M }: Product): Tile => (M <= TILES.tile32.BM ? TILES.tile32 : TILES.tile64);

/** 4 by 4 blocks of the pieces that a thread brings. */
const blocksOf = ({ BM, BN, BK, TM, TN }: Tile): number =>
  Math.ceil((((BM + BN) / 4) * (BK / 4)) / ((BM / TM) * (BN / TN)));

/** Neighbouring threads along n and m: 32, where there are as many. */
const neighbours = ({ BM, BN, TM, TN }: Tile) => ({ WX: Math.min(8, BN / TN), WY: Math.min(4, BM / TM) });

const paramsOf = (product: Product, { BK }: Tile, parts: number, span: number): Record<string, number> => {
  const { M, N, K, shared, bias } = product;
  return {
    M,
    N,
    K,
    span,
    parts,
    a_batch: M * K,
    b_batch: shared ? 0 : K * N,
    bias: bias && parts === 1 ? 1 : 0,
    four: 4,
    deep: BK,
  };
};

/** Records one call: the product, or `parts` partial ones of `span` values of k each. */
function recordTiles(product: Product, tile: Tile, c: Tensor, parts: number, span: number): void {
  const { a, b, batch, M, N, K, transposeA, transposeB } = product;
  const flat = N % 4 === 0 ? "" : "_flat";
  call(kernel, `tile${flat}`, {
    bindings: { a, b, bias: biasView(product), [`c${flat}`]: c, ...finishBindings(product) },
    params: paramsOf(product, tile, parts, span),
    constants: {
      ...tile, ...neighbours(tile), PAD, MEMORY: tile.BK * ((tile.BM + tile.BN) / 4 + PAD), BLOCKS: blocksOf(tile),
      ...vectorsOf(product), ...finishConstants(product), CHUNK: chunkOf(K), ROLLED: a.device.software ? 1 : 0, FLAT: flat ? 1 : 0,
      A_T: transposeA ? 1 : 0, B_T: transposeB ? 1 : 0,
      A_VEC: (transposeA ? M : K) % 4 === 0 ? 1 : 0,
      B_VEC: (transposeB ? K : N) % 4 === 0 ? 1 : 0,
    }, // prettier-ignore
    workgroups: [Math.ceil(N / tile.BN), Math.ceil(M / tile.BM), batch * parts],
    flops: flopsOf(product),
  });
}

/** The whole product, or where that makes too few workgroups, each chunk of its sums by itself. */
function recordBy(product: Product, tile: Tile): void {
  const { K, N, c } = product;
  const chunk = chunkOf(K);
  const parts = Math.ceil(K / chunk);
  const few = groupsOf(product, tile) < ENOUGH && parts > 1 && N % 4 === 0;
  if (few) recordPieces(product, tile, parts, chunk);
  else recordTiles(product, tile, c, 1, K);
}

/** `count` partial products at most, each of whole chunks. */
function recordPieces(product: Product, tile: Tile, count: number, chunk: number): void {
  recordParts(product, count, chunk, ({ parts, span, partial }) =>
    recordTiles(unfinished(product), tile, partial, parts, span),
  );
}

/** Every product; the tile that suits its size. */
export const tile: MatmulForm = {
  name: "tile",
  madeFor: "gpu",
  runs: (device) => device.has("tile"),
  fits: () => true,
  finishes: ({ N }) => N % 4 === 0,
  record: (product) => recordBy(product, tileFor(product)),
};

/** Each tile by its name, for tests and tuning. */
export const tiles: readonly MatmulForm[] = Object.entries(TILES).map(([name, shape]) => ({
  ...tile,
  name,
  record: (product) => recordBy(product, shape),
  tunings: () => [{ form: name }],
}));

/** None shorter than two chunks. */
const cuts = (product: Product): number =>
  partsFor(groupsOf(product, TILES.tile64), product.K, 2 * chunkOf(product.K));

/** The gradient of a weight: few values, each a long sum over tokens, whose order may depend on how many there are. */
export const split: MatmulForm = {
  ...tile,
  name: "split",
  tunings: (mode) => (mode === "tn" ? [{ form: "split" }] : []),
  fits: (product) => product.transposeA && product.N % 4 === 0 && cuts(product) > 1,
  record: (product) => recordPieces(product, TILES.tile64, cuts(product), chunkOf(product.K)),
};
