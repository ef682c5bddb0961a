/**
 * The matrix product on subgroup matrices (tensor cores): operands rounded to f16 where the unit wants that, sums in f32.
 * Designed from what others measured (docs/kernels.md, "GPUs"); here it is only known to compile, and to be right with the
 * unit emulated (test/ops/matmul-matrix.test.ts).
 */
import { type Kernel, loadKernel } from "../gpu/kernel.ts";
import type { MatrixShape } from "../gpu/tiers.ts";
import { call } from "../tensor/op.ts";
import { biasView, flopsOf, type MatmulForm, type Product, vectorsOf } from "./matmul-form.ts";

const kernel = await loadKernel("matmul-matrix");

/** What a workgroup of 2 x 2 subgroups computes. */
interface Piece {
  /** Largest side of C a subgroup, along m and n: as many of the unit's matrices as fit. */
  readonly side: number;
  /** Depth of the pieces of A and B in workgroup memory, in bytes a row. */
  readonly depth: number;
}

/** All within 16 KiB of workgroup memory but the large one. */
const PIECES = {
  matrix128: { side: 64, depth: 64 },
  matrix64: { side: 32, depth: 64 },
} as const satisfies Record<string, Piece>;

const SUBGROUPS = { SM: 2, SN: 2 };
/** Workgroups that keep a large GPU busy. */
const ENOUGH = 128;

/** f16 first, which is what the fast units take. */
const shapeOf = (shapes: readonly MatrixShape[]): MatrixShape | undefined =>
  shapes.find(({ component }) => component === "f16") ?? shapes[0];

/** The constants of the kernel that do not depend on how operands are stored. */
function constantsFor({ component, M, N, K }: MatrixShape, lanes: number, { side, depth }: Piece) {
  const bytes = component === "f16" ? 2 : 4;
  return {
    T: component,
    MM: M,
    NN: N,
    KK: K,
    S: lanes,
    ...SUBGROUPS,
    RM: Math.max(1, side / M),
    RN: Math.max(1, side / N),
    BK: Math.max(K, depth / bytes),
  };
}

/** Bytes of workgroup memory: pieces of A and B with the gaps between their rows, and one matrix of C a subgroup. */
export function memoryOf(shape: MatrixShape, piece: Piece): number {
  const { SM, SN, RM, RN, BK, T } = constantsFor(shape, 32, piece);
  const [BM, BN] = [SM * RM * shape.M, SN * RN * shape.N];
  const gaps = 8 * (Math.max(BM, BK) + Math.max(BN, BK));
  return ((BM + BN) * BK + gaps) * (T === "f16" ? 2 : 4) + SM * SN * shape.M * shape.N * 4;
}

/**
 * Records the kernel call.
 * @param unit the shape that the matrix unit multiplies
 * @param code the kernel; tests give one whose unit is emulated
 */
export function recordMatrix(product: Product, unit: MatrixShape, piece: Piece, code: Kernel = kernel): void {
  const { a, b, c, bias, batch, M, N, K, shared, transposeA, transposeB } = product;
  const constants = constantsFor(unit, a.device.subgroupSize, piece);
  const { SM, SN, RM, RN, MM, NN } = constants;
  call(code, "product", {
    bindings: { a, b, c, bias: biasView(product) },
    params: { M, N, K, a_batch: M * K, b_batch: shared ? 0 : K * N, bias: bias ? 1 : 0 },
    constants: {
      ...constants,
      ...vectorsOf(product),
      A_T: transposeA ? 1 : 0,
      B_T: transposeB ? 1 : 0,
    },
    workgroups: [Math.ceil(N / (SN * RN * NN)), Math.ceil(M / (SM * RM * MM)), batch],
    flops: flopsOf(product),
  });
}

const form = (name: string, choose: (product: Product) => Piece): MatmulForm => ({
  name,
  madeFor: "asked",
  runs: (device) => device.has("matrix"),
  fits: ({ M, N, K, transposeA, transposeB }) =>
    (transposeA ? M : K) % 4 === 0 && (transposeB ? K : N) % 4 === 0,
  record: (product) => recordMatrix(product, shapeOf(product.a.device.matrix!.shapes)!, choose(product)),
});

/** The large piece where workgroup memory holds it and there are enough of them: both give the same bits. */
function pieceFor({ a, M, N, batch }: Product): Piece {
  const unit = shapeOf(a.device.matrix!.shapes)!;
  const room = memoryOf(unit, PIECES.matrix128) <= a.device.limits.maxComputeWorkgroupStorageSize;
  return room && Math.ceil(M / 128) * Math.ceil(N / 128) * batch >= ENOUGH
    ? PIECES.matrix128
    : PIECES.matrix64;
}

/**
 * Used for operands that are f16 already, else where it is asked for by name, since it rounds them; also each piece by its
 * name, for tests and tuning.
 */
export const matrices: readonly MatmulForm[] = [
  { ...form("matrix", pieceFor), bestFor: ({ a, b }) => a.dtype === "f16" && b.dtype === "f16" },
  form("matrix64", () => PIECES.matrix64),
  {
    ...form("matrix128", () => PIECES.matrix128),
    runs: (device) =>
      device.has("matrix") &&
      memoryOf(shapeOf(device.matrix!.shapes)!, PIECES.matrix128) <=
        device.limits.maxComputeWorkgroupStorageSize,
  },
];
