/**
 * The product on subgroup matrices where there are none: the unit is emulated, each lane keeping whole matrices, so that
 * everything around it (pieces, edges, transpositions, batches, bias) is computed for real.
 */
import { afterAll, describe, expect, it } from "vitest";
import { openDevice } from "../../src/gpu/device.ts";
import { type Kernel, loadKernel } from "../../src/gpu/kernel.ts";
import type { MatrixShape } from "../../src/gpu/tiers.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { memoryOf, recordMatrix } from "../../src/ops/matmul-matrix.ts";
import { f16ToF32Bits, f32ToF16Bits } from "../../src/tensor/half.ts";
import { empty, input, record, type Shape } from "../../src/tensor/tensor.ts";

const device = await openDevice({ validation: true });
afterAll(() => device.close());

const EMULATION = `
alias Left = array<T, MM * KK>;
alias Right = array<T, KK * NN>;
alias Result = array<f32, MM * NN>;
fn left(at: u32, row: u32, column: u32) -> Left {
  var x: Left;
  for (var i = 0u; i < MM * KK; i++) { x[i] = a_piece[at + i / KK * row + i % KK * column]; }
  return x;
}
fn right(at: u32, row: u32, column: u32) -> Right {
  var x: Right;
  for (var i = 0u; i < KK * NN; i++) { x[i] = b_piece[at + i / NN * row + i % NN * column]; }
  return x;
}
fn multiply(a: Left, b: Right, c: Result) -> Result {
  var x = a; var y = b; var z = c;
  for (var i = 0u; i < MM * NN; i++) {
    for (var k = 0u; k < KK; k++) { z[i] += f32(x[i / NN * KK + k]) * f32(y[k * NN + i % NN]); }
  }
  return z;
}
fn keep(at: u32, c: Result, stride: u32) {
  var z = c;
  for (var i = 0u; i < MM * NN; i++) { c_piece[at + i / NN * stride + i % NN] = z[i]; }
}
`;

/** The kernel with the unit's statements replaced by calls of the emulation. */
async function emulated(): Promise<Kernel> {
  const { name, source } = await loadKernel("matmul-matrix");
  const code = source
    .replace(/^(?:enable (?:subgroups|chromium\w+)|diagnostic.*);$/gm, "")
    .replace(/subgroup_matrix_result<f32, NN, MM>/g, "Result")
    .replace(
      /subgroupMatrixLoad<subgroup_matrix_(left|right)<[^>]*>, row_major>\(&\w+, (.*), (\w+)\);/g,
      "$1($2, $3, 1u);",
    )
    .replace(
      /subgroupMatrixLoad<subgroup_matrix_(left|right)<[^>]*>, col_major>\(&\w+, (.*), (\w+)\);/g,
      "$1($2, 1u, $3);",
    )
    .replace("subgroupMatrixMultiplyAccumulate", "multiply")
    .replace("subgroupMatrixStore<row_major>(&c_piece, ", "keep(")
    .replace("@compute", `${EMULATION}\n@compute`);
  expect(code).not.toMatch(/subgroup_?[mM]atrix/);
  return { name: `${name}, emulated`, source: code };
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

const UNITS: readonly MatrixShape[] = [
  { component: "f32", result: "f32", M: 8, N: 8, K: 8 },
  { component: "f16", result: "f32", M: 16, N: 8, K: 8 },
];

describe.each(UNITS)("a unit of $M x $N x $K, $component", (unit) => {
  const kernel = emulated();
  it.each([
    { M: 5, N: 12, K: 8, batch: 1 },
    { M: 72, N: 68, K: 40, batch: 1 },
    { M: 12, N: 20, K: 44, batch: 2 },
  ])(
    "$batch x $M x $N x $K, each operand straight and turned",
    async ({ M, N, K, batch }) => {
      const code = await kernel;
      for (const [transposeA, transposeB] of [
        [false, false],
        [false, true],
        [true, false],
      ] as const) {
        if (transposeA && M % 4) continue; // its rows are no whole vec4s: another form's work
        const shapes = [
          [batch, ...(transposeA ? [K, M] : [M, K])],
          [batch, ...(transposeB ? [N, K] : [K, N])],
          [N],
        ] as const;
        const data = shapes.map(values);
        const program = await record(device, "matrix", () => {
          const [a, b, bias] = shapes.map((shape) => input(shape)) as [never, never, never];
          const c = empty([batch, M, N], "f32", "c");
          const product = { a, b, bias, c, batch, M, N, K, transposeA, transposeB, shared: false };
          recordMatrix(product, unit, { side: 16, depth: 32 }, code);
          return { inputs: [a, b, bias], c };
        });
        program.result.inputs.forEach((x: ReturnType<typeof input>, i) => x.write(data[i]!));
        program.run();
        const got = await program.result.c.read();
        const arrays = shapes.map((shape, i) => ({ shape, data: data[i]! }));
        const [expected] = matmul.reference(arrays, { transposeA, transposeB });
        const worst = Math.max(...Array.from(expected!.data, (x, i) => Math.abs(got[i]! - x)));
        expect(worst, `A ${transposeA}, B ${transposeB}`).toBeLessThan(1e-5);
        program.dispose();
      }
    },
    120_000,
  );
});

it("says how much workgroup memory a piece takes", () => {
  // 64 x 64 of C, 32 deep: two pieces of 64 rows of 32 + 8 or 32 rows of 64 + 8, at most; four matrices of 16 x 16.
  const f16 = { component: "f16", result: "f32", M: 16, N: 16, K: 16 } as const;
  expect(memoryOf(f16, { side: 32, depth: 64 })).toBeLessThanOrEqual(16384);
  expect(memoryOf(f16, { side: 64, depth: 64 })).toBeGreaterThan(16384);
});
