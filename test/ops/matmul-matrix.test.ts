/**
 * The product on subgroup matrices where there are none: the unit is emulated, each lane keeping whole matrices, so that
 * everything around it (pieces, edges, transpositions, batches, bias) is computed for real.
 */
import { afterAll, expect, it } from "vitest";
import { openDevice } from "../../src/gpu/device.ts";
import { type Kernel, loadKernel, using } from "../../src/gpu/kernel.ts";
import type { MatrixShape } from "../../src/gpu/tiers.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { type Finish, finishing } from "../../src/ops/matmul-finish.ts";
import { unfinished } from "../../src/ops/matmul-form.ts";
import { memoryOf, type Piece, recordMatrix } from "../../src/ops/matmul-matrix.ts";
import { recordParts } from "../../src/ops/matmul-parts.ts";
import { f16ToF32Bits, f32ToF16Bits } from "../../src/tensor/half.ts";
import { empty, input, record, type Shape, type Tensor } from "../../src/tensor/tensor.ts";
import { emulatedUnit } from "../support/emulated-unit.ts";

const device = await openDevice({ validation: true });
afterAll(() => device.close());

const EMULATION = `
${emulatedUnit("params.K")}

fn left(at: u32, row: u32, column: u32) -> Left {
  var x: Left;
  for (var i = 0u; i < upto(MM * KK); i++) {
    let from_a = at * W + i / KK * row + i % KK * column;
    //: for vector in 0..W/4
    x[i] = a_piece[from_a / 4u][from_a % 4u];
    //: end
    //: for scalar in 0..1-W/4
    x[i] = a_piece[from_a];
    //: end
  }
  return x;
}
fn right(at: u32, row: u32, column: u32) -> Right {
  var x: Right;
  for (var i = 0u; i < upto(KK * NN); i++) {
    let from_b = at * W + i / NN * row + i % NN * column;
    //: for vector in 0..W/4
    x[i] = b_piece[from_b / 4u][from_b % 4u];
    //: end
    //: for scalar in 0..1-W/4
    x[i] = b_piece[from_b];
    //: end
  }
  return x;
}
fn initial(at: u32, stride: u32) -> Result {
  var x: Result;
  for (var i = 0u; i < upto(MM * NN); i++) { x[i] = c_piece[at + i / NN * stride + i % NN]; }
  return x;
}
fn store(at: u32, sums: Result, stride: u32) {
  var z = sums;
  //: for direct in 0..DIRECT
  for (var i = 0u; i < upto(MM * NN); i += 4u) {
    c[at + i / NN * stride + i % NN / 4u] = vec4f(z[i], z[i + 1u], z[i + 2u], z[i + 3u]);
  }
  //: end
}
fn keep(at: u32, sums: Result, stride: u32) {
  var z = sums;
  for (var i = 0u; i < upto(MM * NN); i++) { c_piece[at + i / NN * stride + i % NN] = z[i]; }
}
`;

/** The kernel with the unit's statements replaced by calls of the emulation. */
async function emulated(): Promise<Kernel> {
  const { name, source } = await loadKernel("matmul-matrix");
  const code = source
    .replace(/^(?:enable (?:subgroups|chromium\w+)|diagnostic.*);$/gm, "")
    .replace(/subgroup_matrix_result<f32, NN, MM>/g, "Result")
    .replace(
      /subgroupMatrixLoad<subgroup_matrix_(left|right)<[^>]*>, row_major>\(&\w+, (.*), (\w+) \/ W\);/g,
      "$1($2, $3, 1u);",
    )
    .replace(
      /subgroupMatrixLoad<subgroup_matrix_(left|right)<[^>]*>, col_major>\(&\w+, (.*), (\w+) \/ W\);/g,
      "$1($2, 1u, $3);",
    )
    .replace("subgroupMatrixMultiplyAccumulate", "multiply")
    .replace(/subgroupMatrixLoad<Result, row_major>\(&c_piece, (.*), (\w+)\);/g, "initial($1, $2);")
    .replace("subgroupMatrixStore<row_major>(&c_piece, ", "keep(")
    .replace("subgroupMatrixStore<row_major>(&c, ", "store(")
    .replace("@compute", `${EMULATION}\n@compute`);
  expect(code).not.toMatch(/subgroup_?[mM]atrix/);
  return using({ name: `${name}, emulated`, source: code }, finishing);
}

const bits = new Float32Array(1);
const asBits = new Uint32Array(bits.buffer);
function rounded(x: number): number {
  bits[0] = x;
  asBits[0] = f16ToF32Bits(f32ToF16Bits(asBits[0]!));
  return bits[0];
}

const values = (shape: Shape, seed: number): Float64Array =>
  Float64Array.from({ length: shape.reduce((n, d) => n * d, 1) }, (_, i) =>
    rounded((((i + 1) * 7919 + seed * 104729) % 1009) / 504.5 - 1),
  );

const F32: MatrixShape = { component: "f32", result: "f32", M: 8, N: 8, K: 8 };
const F16: MatrixShape = { component: "f16", result: "f32", M: 16, N: 8, K: 8 };

/** Several subgroups and several matrices each, as few as possible: compilers for software adapters take long over them. */
const PIECE: Piece = { SM: 2, SN: 1, rows: 8, columns: 16, depth: 16 };

interface Trial {
  readonly M: number;
  readonly N: number;
  readonly K: number;
  readonly batch?: number;
  /** With a tensor added, and the result kept after relu. */
  readonly finished?: boolean;
  /** Parts that K is cut in. */
  readonly parts?: number;
  readonly wide?: boolean;
  readonly depth?: number;
}

/** [transposeA, transposeB] */
const STORED = [
  [false, false],
  [false, true],
  [true, false],
] as const;

/** The largest error of a product with a bias, of operands stored so, against float64. */
async function errorOf(
  { M, N, K, batch = 1, finished = false, parts = 1, wide = true, depth = 16 }: Trial,
  [transposeA, transposeB]: (typeof STORED)[number],
  unit: MatrixShape,
  code: Kernel,
): Promise<number> {
  const shapes = [
    [batch, ...(transposeA ? [K, M] : [M, K])],
    [batch, ...(transposeB ? [N, K] : [K, N])],
    [N],
    [batch, M, N],
  ] as const;
  const data = shapes.map(values);
  const plan = { unit, piece: { ...PIECE, depth }, wide, code };
  const program = await record(device, "matrix", () => {
    const [a, b, bias, plus] = shapes.map((shape) => input(shape)) as [Tensor, Tensor, Tensor, Tensor];
    const [c, activated] = [empty([batch, M, N], "f32", "c"), empty([batch, M, N], "f32", "f(c)")];
    const finish: Finish = finished ? { plus, activated, kind: "relu" } : {};
    const product = { a, b, bias, c, batch, M, N, K, transposeA, transposeB, shared: false, ...finish };
    const bare = { ...unfinished(product), bias: undefined };
    if (parts === 1) recordMatrix(product, plan);
    else recordParts(product, parts, 16, (cut) => recordMatrix(bare, { ...plan, cut }));
    return { inputs: [a, b, bias, plus], c, activated: finished ? activated : c };
  });
  program.result.inputs.forEach((x, i) => x.write(data[i]!));
  program.run();
  const [got, activated] = [await program.result.c.read(), await program.result.activated.read()];
  program.dispose();
  const arrays = shapes.map((shape, i) => ({ shape, data: data[i]! }));
  const [expected] = matmul.reference(arrays.slice(0, 3), { transposeA, transposeB });
  const errors = Array.from(expected!.data, (product, i) => {
    const exact = finished ? product + data[3]![i]! : product;
    return Math.max(Math.abs(got[i]! - exact), finished ? Math.abs(activated[i]! - Math.max(0, exact)) : 0);
  });
  return Math.max(...errors);
}

/** Rows that are whole vec4s; others are another form's work. */
const suits = ({ M, N, K }: Trial, [transposeA, transposeB]: (typeof STORED)[number]): boolean =>
  (transposeA ? M : K) % 4 === 0 && (transposeB ? K : N) % 4 === 0;

const RAGGED: Trial = { M: 72, N: 68, K: 40 };
const WHOLE: Trial = { M: 64, N: 32, K: 48, batch: 2 };

/** Every way through the kernel with one unit, the edges with the other. */
const TRIALS: readonly (readonly [MatrixShape, Trial])[] = [
  [F32, RAGGED],
  [F16, RAGGED],
  [F16, { ...WHOLE, depth: 32 }],
  [F16, { ...RAGGED, finished: true }],
  [F16, { ...RAGGED, wide: false }],
  [F16, WHOLE],
  [F16, { ...WHOLE, batch: 1, parts: 2, finished: true }],
  [F16, { M: 5, N: 13, K: 8 }],
  [F16, { M: 12, N: 20, K: 44, batch: 2 }],
];

const kernel = emulated();

it.each(TRIALS)(
  "%j: %j",
  async (unit, trial) => {
    const code = await kernel;
    for (const stored of STORED.filter((way) => suits(trial, way)))
      expect(await errorOf(trial, stored, unit, code), `transposed: ${stored}`).toBeLessThan(1e-5);
  },
  120_000,
);

it("says how much workgroup memory a piece takes", () => {
  // 64 x 64 of C, 16 deep: two pieces of 64 rows of 16 + 8, or 16 rows of 64 + 8, at most; four matrices on their way out.
  const f16 = { component: "f16", result: "f32", M: 16, N: 16, K: 16 } as const;
  expect(memoryOf(f16, { SM: 2, SN: 2, rows: 32, columns: 32, depth: 32 })).toBe(16384);
  expect(memoryOf(f16, { SM: 2, SN: 4, rows: 64, columns: 32, depth: 64 })).toBe(45056);
});
