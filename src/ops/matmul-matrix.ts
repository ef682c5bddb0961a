/**
 * The matrix product on subgroup matrices (tensor cores): operands rounded to f16 where the unit wants that, sums in f32.
 * Tested with the unit emulated too (test/ops/matmul-matrix.test.ts).
 */
import type { Device } from "../gpu/device.ts";
import { type Kernel, loadKernel, using } from "../gpu/kernel.ts";
import type { MatrixFacts, MatrixShape } from "../gpu/tiers.ts";
import { call } from "../tensor/op.ts";
import { finishBindings, finishConstants, finishing } from "./matmul-finish.ts";
import { flopsOf, type MatmulForm, type Product, unfinished, vectorsOf } from "./matmul-form.ts";
import { type Cut, partsFor, recordParts } from "./matmul-parts.ts";

const kernel = using(await loadKernel("matmul-matrix"), finishing);

/** What a workgroup computes. */
export interface Piece {
  /** Subgroups along m and n. */
  readonly SM: number;
  readonly SN: number;
  /** Values of C a subgroup, along m and n: as many of the unit's matrices as fit. */
  readonly rows: number;
  readonly columns: number;
  /** Depth of the pieces of A and B in workgroup memory, in bytes a row. */
  readonly depth: number;
}

/** Largest first. */
const PIECES = {
  matrix256: { SM: 4, SN: 8, rows: 32, columns: 32, depth: 32 },
  matrix128: { SM: 2, SN: 4, rows: 64, columns: 32, depth: 64 },
  matrix64: { SM: 2, SN: 2, rows: 32, columns: 32, depth: 32 },
} as const satisfies Record<string, Piece>;

/** Workgroups that keep a large GPU busy; the largest pieces, one at a time on each of its processors, want to be several rounds of them. */
const ENOUGH = 128;

/** Matrices of C that leave through workgroup memory at a time, where there are no more subgroups along n. */
const SLOTS = 4;

/** f16 first, which is what the fast units take, and of those the largest. */
export const shapeOf = ({ shapes }: MatrixFacts): MatrixShape => {
  const halves = shapes.filter(({ component }) => component === "f16");
  const volume = ({ M, N, K }: MatrixShape): number => M * N * K;
  return (halves.length > 0 ? halves : shapes).toSorted((x, y) => volume(y) - volume(x))[0]!;
};

/** The constants of the kernel that do not depend on how operands are stored. */
function constantsFor({ component, M, N, K }: MatrixShape, lanes: number, piece: Piece) {
  const { SM, SN, rows, columns, depth } = piece;
  const bytes = component === "f16" ? 2 : 4;
  const [RM, RN] = [Math.max(1, rows / M), Math.max(1, columns / N)];
  const BK = Math.max(K, depth / bytes);
  const [BM, BN, threads] = [SM * RM * M, SN * RN * N, SM * SN * lanes];
  return {
    T: component,
    MM: M,
    NN: N,
    KK: K,
    S: lanes,
    SM,
    SN,
    RM,
    RN,
    BK,
    GAP: 16 / bytes,
    A_LOADS: Math.ceil((BM * BK) / 4 / threads),
    B_LOADS: Math.ceil((BN * BK) / 4 / threads),
    SLOTS: Math.max(SN, Math.min(SM * SN, SLOTS)),
  };
}

/** Bytes of workgroup memory: two pieces of A and B with the gaps between their rows, and some matrices of C. */
export function memoryOf(shape: MatrixShape, piece: Piece): number {
  const { SM, SN, RM, RN, BK, GAP, T, SLOTS: slots } = constantsFor(shape, 32, piece);
  const [BM, BN] = [SM * RM * shape.M, SN * RN * shape.N];
  const gaps = GAP * (Math.max(BM, BK) + Math.max(BN, BK));
  return 2 * ((BM + BN) * BK + gaps) * (T === "f16" ? 2 : 4) + slots * shape.M * shape.N * 4;
}

/** How a product goes to the matrix unit. */
export interface MatrixPlan {
  /** The shape that the unit multiplies. */
  readonly unit: MatrixShape;
  readonly piece: Piece;
  /** Whether the unit loads from vec4s, as present compilers let it (`MatrixFacts.dialect`). */
  readonly wide: boolean;
  /** K in parts, whose results stay apart. */
  readonly cut?: Cut;
  /** The kernel; tests give one whose unit is emulated. */
  readonly code?: Kernel;
}

/** Records the kernel call. */
export function recordMatrix(product: Product, { unit, piece, wide, cut, code = kernel }: MatrixPlan): void {
  const { a, b, bias, batch, M, N, K, shared, transposeA, transposeB } = product;
  const { parts, span, partial: c } = cut ?? { parts: 1, span: K, partial: product.c };
  const constants = constantsFor(unit, a.device.subgroupSize, piece);
  const { SM, SN, RM, RN, MM, NN, BK, T } = constants;
  const finish = finishConstants(product);
  const [BM, BN] = [SM * RM * MM, SN * RN * NN];
  const flat = N % 4 !== 0;
  const whole = M >= BM && N >= BN; // Dawn wants room for a matrix even where none is stored as it is
  const finished = finish["ADD"] || finish["PLUS"] || finish["SLOPE"] || finish["KEEP"];
  call(code, "product", {
    bindings: {
      a,
      b,
      [flat ? "c_flat" : "c"]: c,
      ...(bias && { bias: bias.view }),
      ...finishBindings(product),
    },
    params: { M, N, K, a_batch: M * K, b_batch: shared ? 0 : K * N, span, parts },
    constants: {
      ...constants,
      ...vectorsOf(product),
      ...finish,
      CELL: wide ? `vec4<${T}>` : T,
      W: wide ? 4 : 1,
      FLAT: flat ? 1 : 0,
      DIRECT: wide && whole && !flat && !finished ? 1 : 0,
      BIAS: bias ? 1 : 0,
      A_EVEN: M % BM === 0 && K % BK === 0 ? 1 : 0,
      B_EVEN: N % BN === 0 && K % BK === 0 ? 1 : 0,
      A_T: transposeA ? 1 : 0,
      B_T: transposeB ? 1 : 0,
    },
    workgroups: [Math.ceil(N / BN), Math.ceil(M / BM), batch * parts],
    flops: flopsOf(product),
  });
}

const form = (name: string, choose: (product: Product) => Piece): MatmulForm => ({
  name,
  madeFor: "asked",
  runs: (device) => device.has("matrix"),
  fits: ({ M, N, K, transposeA, transposeB }) =>
    (transposeA ? M : K) % 4 === 0 && (transposeB ? K : N) % 4 === 0,
  finishes: ({ N }) => N % 4 === 0,
  record(product) {
    const facts = product.a.device.matrix!;
    const plan = { unit: shapeOf(facts), piece: choose(product), wide: facts.dialect === "modes" };
    const parts = cuts(product, plan.piece);
    if (parts <= 1) return recordMatrix(product, plan);
    const bare = { ...unfinished(product), bias: undefined };
    recordParts(product, parts, STEP, (cut) => recordMatrix(bare, { ...plan, cut }));
  },
});

/** Parts of K are whole multiples of it: deeper than any piece. */
const STEP = 64;

/** Of the gradient of a weight, none shorter than 8 pieces; other products are not cut. */
const cuts = (product: Product, piece: Piece): number =>
  product.transposeA && product.N % 4 === 0 ? partsFor(groupsOf(product, piece), product.K, 8 * STEP) : 1;

const roomFor = ({ limits, matrix, subgroupSize }: Device, piece: Piece): boolean =>
  memoryOf(shapeOf(matrix!), piece) <= limits.maxComputeWorkgroupStorageSize &&
  piece.SM * piece.SN * subgroupSize <= limits.maxComputeInvocationsPerWorkgroup;

const groupsOf = ({ M, N, batch }: Product, { SM, SN, rows, columns }: Piece): number =>
  Math.ceil(M / (SM * rows)) * Math.ceil(N / (SN * columns)) * batch;

/** The largest piece that the device has room for and of which there are enough: all give the same bits. */
function pieceFor(product: Product): Piece {
  const { device } = product.a;
  const suits = (piece: Piece, enough: number): boolean =>
    groupsOf(product, piece) >= enough && roomFor(device, piece);
  if (suits(PIECES.matrix256, 4 * ENOUGH)) return PIECES.matrix256;
  return suits(PIECES.matrix128, ENOUGH) ? PIECES.matrix128 : PIECES.matrix64;
}

/**
 * Used for operands that are f16 already, else where it is asked for by name, since it rounds them; also each piece by its
 * name, for tests and tuning.
 */
export const matrices: readonly MatmulForm[] = [
  { ...form("matrix", pieceFor), bestFor: ({ a, b }) => a.dtype === "f16" && b.dtype === "f16" },
  ...Object.entries(PIECES).map(([name, piece]) => ({
    ...form(name, () => piece),
    runs: (device: Device) => device.has("matrix") && roomFor(device, piece),
    tunings: () => [{ form: name }],
  })),
];
