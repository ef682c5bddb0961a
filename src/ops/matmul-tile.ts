/**
 * The matrix product for GPUs, without subgroups: tiles of C in registers, pieces of A and B through workgroup memory.
 * On an H200 it reaches half of the arithmetic ceiling (docs/performance.md).
 */
import type { Device } from "../gpu/device.ts";
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
  /** Teams of BM/TM x BN/TN threads that share K out. */
  readonly TEAMS: number;
  /** vec4s left free after each k, so that stores of 4 by 4 blocks meet other banks. */
  readonly PAD: number;
}

/** Largest first. Larger ones, 8 x 8 values a thread, have too few registers for their sums (docs/performance.md). */
const TILES = {
  tile64: { BM: 64, BN: 64, BK: 16, TM: 8, TN: 4, TEAMS: 1, PAD: 1 },
  tile32: { BM: 32, BN: 32, BK: 16, TM: 4, TN: 4, TEAMS: 4, PAD: 0 },
  tile16: { BM: 16, BN: 32, BK: 16, TM: 4, TN: 4, TEAMS: 8, PAD: 0 },
  tile8: { BM: 8, BN: 32, BK: 8, TM: 4, TN: 4, TEAMS: 8, PAD: 0 },
} as const satisfies Record<string, Tile>;

/** Length of the sums that are added up: one number for every tile, so that all of them give the same bits. */
const CHUNK = 128;
/** Workgroups that keep a large GPU busy. */
const ENOUGH = 256;

const groupsOf = ({ M, N, batch }: Product, { BM, BN }: Tile): number =>
  Math.ceil(M / BM) * Math.ceil(N / BN) * batch;

/** vec4s of workgroup memory: the pieces of A and B, and at the end the teams' sums. */
function memoryOf({ BM, BN, BK, TEAMS, PAD }: Tile): number {
  const pieces = TEAMS * BK * ((BM + BN) / 4 + PAD);
  return TEAMS === 1 ? pieces : Math.max(pieces, (TEAMS * BM * BN) / 4);
}

/** 16 KiB are on every adapter; `tile16` wants more. */
const roomFor = (shape: Tile, { limits }: Device): boolean =>
  16 * memoryOf(shape) <= limits.maxComputeWorkgroupStorageSize;

/** The largest tile of which there are enough, the narrow one for a few rows. */
function tileFor(product: Product): Tile {
  const { M, a } = product;
  if (M <= 8) return TILES.tile8;
  const enough = (shape: Tile): boolean => groupsOf(product, shape) >= ENOUGH / 2;
  const small = roomFor(TILES.tile16, a.device) ? TILES.tile16 : TILES.tile32;
  return [TILES.tile64, TILES.tile32].find(enough) ?? small;
}

/** 4 by 4 blocks of the pieces that a thread brings. */
const blocksOf = ({ BM, BN, BK, TM, TN }: Tile): number =>
  Math.ceil((((BM + BN) / 4) * (BK / 4)) / ((BM / TM) * (BN / TN)));

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
  call(kernel, `${tile.TEAMS > 1 ? "teams" : "tile"}${flat}`, {
    bindings: { a, b, bias: biasView(product), [`c${flat}`]: c, ...finishBindings(product) },
    params: paramsOf(product, tile, parts, span),
    constants: {
      ...tile, ...vectorsOf(product), ...finishConstants(product), CHUNK, MEMORY: memoryOf(tile), ROLLED: a.device.software ? 1 : 0,
      BLOCKS: blocksOf(tile), FLAT: flat ? 1 : 0,
      A_T: transposeA ? 1 : 0, B_T: transposeB ? 1 : 0,
      A_VEC: (transposeA ? M : K) % 4 === 0 ? 1 : 0,
      B_VEC: (transposeB ? K : N) % 4 === 0 ? 1 : 0,
    }, // prettier-ignore
    workgroups: [Math.ceil(N / tile.BN), Math.ceil(M / tile.BM), batch * parts],
    flops: flopsOf(product),
  });
}

const whole = (product: Product, tile: Tile): void => recordTiles(product, tile, product.c, 1, product.K);

/** Every product; the tile that suits its size. */
export const tile: MatmulForm = {
  name: "tile",
  madeFor: "gpu",
  runs: (device) => device.has("tile"),
  fits: () => true,
  finishes: ({ N }) => N % 4 === 0,
  record: (product) => whole(product, tileFor(product)),
};

/** Each tile by its name, for tests and tuning. */
export const tiles: readonly MatmulForm[] = Object.entries(TILES).map(([name, shape]) => ({
  ...tile,
  name,
  runs: (device) => device.has("tile") && roomFor(shape, device),
  record: (product) => whole(product, shape),
  tunings: () => [{ form: name }],
}));

/** None shorter than two chunks. */
const cuts = (product: Product): number => partsFor(groupsOf(product, TILES.tile64), product.K, 2 * CHUNK);

/** The gradient of a weight: few values, each a long sum over tokens. */
export const split: MatmulForm = {
  ...tile,
  name: "split",
  tunings: (mode) => (mode === "tn" ? [{ form: "split" }] : []),
  fits: (product) => product.transposeA && product.N % 4 === 0 && cuts(product) > 1,
  record(product) {
    recordParts(product, cuts(product), CHUNK, ({ parts, span, partial }) =>
      recordTiles(unfinished(product), TILES.tile64, partial, parts, span),
    );
  },
};
