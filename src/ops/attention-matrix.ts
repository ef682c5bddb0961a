/**
 * Attention on subgroup matrices (tensor cores), for mixed precision: queries, keys, values, weights and their gradients enter the
 * products in f16, sums and softmax are f32. Tested with the unit emulated too (test/ops/attention-matrix.test.ts).
 */
import type { Device } from "../gpu/device.ts";
import { loadKernel } from "../gpu/kernel.ts";
import type { MatrixFacts, MatrixShape } from "../gpu/tiers.ts";
import { type AttentionEntry, type AttentionForm, attentionKernel } from "./attention-form.ts";
import { shapeOf } from "./matmul-matrix.ts";

/** Subgroups a workgroup, and rows of the other side that it meets at a time. */
interface Team {
  readonly SUBS: number;
  readonly COLS: number;
}

/** The fastest first, as measured on an H200 (docs/performance.md): more rows at a time need more registers than there are. */
const TEAMS: readonly Team[] = [16, 32].flatMap((COLS) => [4, 2, 1].map((SUBS) => ({ SUBS, COLS })));

/** Larger heads have too few registers for their sums; forward, which walks over the keys twice, is slower than f32 tiles before (128: 1.4 times). */
const mostOf = (entry: AttentionEntry): number => (entry === "forward" ? 64 : 128);

/** Matrices of weights that the way back keeps of each key: those of the values, and the slopes. */
const outsOf = (entry: AttentionEntry): number => (entry === "keys" ? 2 : 1);

/** Two matrices of the other side: keys and values, or queries and gradients. */
const MATRICES = 2;

/** Bytes of workgroup memory. */
function memoryOf(
  entry: AttentionEntry,
  { SUBS, COLS }: Team,
  { M, component }: MatrixShape,
  D: number,
): number {
  const bytes = component === "f16" ? 2 : 4;
  const rows = SUBS * M;
  const far = MATRICES * COLS * (D + 8) * bytes;
  return far + rows * ((COLS + 4) * 4 + outsOf(entry) * (COLS + 8) * bytes) + 8 * Math.max(rows, COLS);
}

/** The first team that the device has room for, whose parts are whole matrices. */
function teamFor(
  entry: AttentionEntry,
  D: number,
  { limits, matrix, subgroupSize }: Device,
): Team | undefined {
  const unit = shapeOf(matrix!);
  const { M, N, K } = unit;
  return TEAMS.find(
    (team) =>
      [M, N, K].every((size) => team.COLS % size === 0) &&
      (M * team.COLS) % subgroupSize === 0 &&
      team.SUBS * subgroupSize <= limits.maxComputeInvocationsPerWorkgroup &&
      memoryOf(entry, team, unit, D) <= limits.maxComputeWorkgroupStorageSize,
  );
}

/** The constants of the kernels, for a unit that is spoken to by `facts`, of subgroups of S lanes. */
export function constantsFor(
  entry: AttentionEntry,
  { SUBS, COLS }: Team,
  { dialect }: Pick<MatrixFacts, "dialect">,
  { M: MM, N: NN, K: KK, component: T }: MatrixShape,
  S: number,
): Record<string, number | string> {
  const wide = dialect === "modes";
  const cells = { T, CELL: wide ? `vec4<${T}>` : T, W: wide ? 4 : 1 };
  return { ...cells, MM, NN, KK, S, SUBS, COLS, EACH: (MM * COLS) / S, MATRICES, OUTS: outsOf(entry) };
}

/** Head dimensions that are whole matrices. It rounds: for whoever computes in mixed precision. */
export const matrix: AttentionForm = {
  name: "matrix",
  kernel: attentionKernel(await loadKernel("attention-matrix")),
  madeFor: "asked",
  runs: (device) => device.has("matrix"),
  fits(entry, D, device) {
    const { N, K } = shapeOf(device.matrix!);
    const whole = D % N === 0 && D % K === 0 && D <= mostOf(entry);
    return whole && teamFor(entry, D, device) !== undefined;
  },
  launch(entry, { D }, device) {
    const [facts, team] = [device.matrix!, teamFor(entry, D, device)!];
    const unit = shapeOf(facts);
    return {
      rows: team.SUBS * unit.M,
      constants: constantsFor(entry, team, facts, unit, device.subgroupSize),
    };
  },
};
