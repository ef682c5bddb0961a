/**
 * Attention for GPUs, without subgroups: tiles in workgroup memory. Designed from what others measured (docs/kernels.md, "GPUs");
 * measured on an H200 (docs/performance.md).
 */
import type { Device } from "../gpu/device.ts";
import { loadKernel } from "../gpu/kernel.ts";
import { type AttentionEntry, type AttentionForm, attentionKernel } from "./attention-form.ts";

/** Rows a workgroup owns, and rows of the other side that it meets at a time. */
interface Tile {
  readonly ROWS: number;
  readonly COLS: number;
}

/** Largest first. */
const TILES: readonly Tile[] = [64, 32, 16].flatMap((ROWS) => [32, 16, 8, 4].map((COLS) => ({ ROWS, COLS })));
/** Scores a thread makes of each of its rows: more need too many registers. */
const MOST_NEAR = 4;
/** Every WebGPU adapter runs as many threads a workgroup; more than half of them would leave few registers to each. */
const MOST_THREADS = 128;

const matricesOf = (entry: AttentionEntry): number => (entry === "forward" ? 1 : 2);

/** Bytes of workgroup memory: forward keeps one matrix of each side, the others two, keys two sets of scores. */
function memoryOf(entry: AttentionEntry, { ROWS, COLS }: Tile, D: number): number {
  const scores = entry === "keys" ? 2 : 1;
  const row = D * 4 + 16;
  return matricesOf(entry) * (ROWS + COLS) * row + scores * ROWS * (COLS + 1) * 4 + ROWS * 4;
}

const nearOf = ({ COLS }: Tile, D: number): number => Math.ceil(COLS / (D / 4));

/** The largest that fits; the smallest where a software adapter's compiler would take long over more. */
function tileFor(entry: AttentionEntry, D: number, { limits, software }: Device): Tile | undefined {
  const fits = (shape: Tile): boolean =>
    (shape.ROWS / 4) * (D / 4) <= MOST_THREADS &&
    nearOf(shape, D) <= MOST_NEAR &&
    memoryOf(entry, shape, D) <= limits.maxComputeWorkgroupStorageSize;
  return software ? TILES.findLast(fits) : TILES.find(fits);
}

/** Head dimensions up to 128, and more where there is much workgroup memory. */
export const tile: AttentionForm = {
  name: "tile",
  kernel: attentionKernel(await loadKernel("attention-tile")),
  madeFor: "gpu",
  runs: (device) => device.has("tile"),
  fits: (entry, D, device) => tileFor(entry, D, device) !== undefined,
  launch(entry, { D }, device) {
    const shape = tileFor(entry, D, device)!;
    return { rows: shape.ROWS, constants: { ...shape, NEAR: nearOf(shape, D), MATRICES: matricesOf(entry) } };
  },
};
