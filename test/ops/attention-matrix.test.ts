/**
 * Attention on subgroup matrices where there are none: the unit is emulated, each lane keeping whole matrices, so that everything
 * around it (what is brought, masks, softmax, edges, grouped heads) is computed for real. Against the plain form, in f32.
 */
import { afterAll, expect, it } from "vitest";
import { openDevice } from "../../src/gpu/device.ts";
import { type Kernel, loadKernel } from "../../src/gpu/kernel.ts";
import type { MatrixShape } from "../../src/gpu/tiers.ts";
import { attentionOp } from "../../src/ops/attention.ts";
import { type AttentionForm, attentionKernel } from "../../src/ops/attention-form.ts";
import { constantsFor } from "../../src/ops/attention-matrix.ts";
import { backwardFrom } from "../../src/optim/gradients.ts";
import { sample } from "../../src/bench/check.ts";
import { input, persistent, record } from "../../src/tensor/tensor.ts";
import { emulatedUnit } from "../support/emulated-unit.ts";

const device = await openDevice({ validation: true });
afterAll(() => device.close());

/** `name(at, row, column)`: a matrix of R x C from `array`, cells of W values apart. */
const loader = (
  name: string,
  type: string,
  [R, C]: readonly string[],
  array: string,
  cells: string,
): string => `
fn ${name}(at: u32, row: u32, column: u32) -> ${type} {
  var x: ${type};
  for (var i = 0u; i < upto(${R} * ${C}); i++) {
    let from_x = at * ${cells} + i / ${C} * row + i % ${C} * column;
    x[i] = ${array === "far" ? "cell(from_x)" : `${array}[from_x]`};
  }
  return x;
}`;

const EMULATION = `
${emulatedUnit("params.B")}
fn cell(at: u32) -> T {
  //: for vector in 0..W/4
  return far[at / 4u][at % 4u];
  //: end
  //: for scalar in 0..1-W/4
  return far[at];
  //: end
}
${loader("left_far", "Left", ["MM", "KK"], "far", "W")}
${loader("left_weights", "Left", ["MM", "KK"], "weights", "1u")}
${loader("right_far", "Right", ["KK", "NN"], "far", "W")}
fn store(at: u32, sums: Result, stride: u32) {
  var z = sums;
  for (var i = 0u; i < upto(MM * NN); i++) { scores[at + i / NN * stride + i % NN] = z[i]; }
}
`;

/** The kernel with the unit's statements replaced by calls of the emulation. */
async function emulated(): Promise<Kernel> {
  const { name, source } = await loadKernel("attention-matrix");
  const code = source
    .replace(/^(?:enable (?:subgroups|chromium\w+)|diagnostic.*);$/gm, "")
    .replace(/subgroup_matrix_(left|right)<T, \w\w, \w\w>/g, (_, side: string) =>
      side === "left" ? "Left" : "Right",
    )
    .replace(/subgroup_matrix_result<f32, NN, MM>/g, "Result")
    .replace(
      /subgroupMatrixLoad<(Left|Right), (row|col)_major>\(&(\w+), (.*), (\w+)(?: \/ W)?\);/g,
      (...found: string[]) => {
        const [, side, order, array, at, stride] = found as [string, string, string, string, string, string];
        return `${side.toLowerCase()}_${array}(${at}, ${order === "row" ? `${stride}, 1u` : `1u, ${stride}`});`;
      },
    )
    .replaceAll("subgroupMatrixMultiplyAccumulate", "multiply")
    .replaceAll("subgroupMatrixStore<row_major>(&scores, ", "store(")
    .replace("@compute", `${EMULATION}\n@compute`);
  expect(code).not.toMatch(/subgroup_?[mM]atrix/);
  return attentionKernel({ name: `${name}, emulated`, source: code });
}

const kernel = await emulated();

interface Trial {
  readonly T: number;
  readonly H: number;
  readonly G: number;
  readonly causal: boolean;
  /** First and one past the last real token of each row. */
  readonly ranges: readonly (readonly [number, number])[];
}

const D = 16;
const TEAM = { SUBS: 2, COLS: 8 };
const LANES = 8;

/** The form on an emulated unit. */
const formOf = (unit: MatrixShape, dialect: "modes" | "flags"): AttentionForm => ({
  name: "matrix",
  kernel,
  madeFor: "asked",
  runs: () => true,
  fits: () => true,
  launch: (entry) => ({
    rows: TEAM.SUBS * unit.M,
    constants: constantsFor(entry, TEAM, { dialect }, unit, LANES),
  }),
});

/** y and the gradient of qkv, by a form. */
async function computed(
  { T, H, G, causal, ranges }: Trial,
  variant: string | AttentionForm,
): Promise<Float32Array[]> {
  const B = ranges.length;
  const program = await record(device, "attention", () => {
    const [qkv, range, dy] = [input([B, T, H + 2 * G, D]), input([B, 2], "u32"), input([B, T, H, D])];
    qkv.grad = persistent(device, qkv.shape);
    const y = attentionOp(qkv, range, { kvHeads: G, causal, variant });
    backwardFrom(y, dy);
    return { qkv, range, dy, y, dqkv: qkv.grad };
  });
  const { qkv, range, dy, y, dqkv } = program.result;
  qkv.write(sample(1, qkv.size).map((x) => 2 * x));
  dy.write(sample(2, dy.size));
  range.write(ranges.flat());
  program.run();
  const found = [await y.read(), await dqkv.read()];
  program.dispose();
  device.destroyBuffer(dqkv.storage.place!.buffer);
  return found;
}

const unitOf = (component: "f32" | "f16"): MatrixShape => ({ component, result: "f32", M: 8, N: 8, K: 8 });

const TRIALS: readonly Trial[] = [
  { T: 21, H: 2, G: 1, causal: true, ranges: [[0, 21], [3, 18]] },
  { T: 18, H: 1, G: 1, causal: false, ranges: [[2, 17]] },
]; // prettier-ignore

const largest = (x: Float32Array): number => x.reduce((most, v) => Math.max(most, Math.abs(v)), 0);

it.each([
  ["f32", "flags", 2e-6],
  ["f16", "modes", 3e-3],
] as const)(
  "computes what the plain form does, rounded to %s",
  { timeout: 120_000 },
  async (component, dialect, tolerance) => {
    if (component === "f16" && !device.has("f16")) return;
    for (const trial of TRIALS) {
      const [got, expected] = [
        await computed(trial, formOf(unitOf(component), dialect)),
        await computed(trial, "plain"),
      ];
      for (const [i, what] of ["y", "dqkv"].entries()) {
        const error = largest(got[i]!.map((x, n) => x - expected[i]![n]!));
        expect(error, `${what} of ${JSON.stringify(trial)}`).toBeLessThan(tolerance * largest(expected[i]!));
      }
    }
  },
);

it("gives a text the same bits wherever it is padded", { timeout: 120_000 }, async () => {
  const form = formOf(unitOf("f32"), "flags");
  const at = (ranges: Trial["ranges"]): Trial => ({ T: 24, H: 1, G: 1, causal: true, ranges });
  const [y] = await computed(at([[0, 9], [0, 24]]), form); // prettier-ignore
  const [alone] = await computed(at([[0, 9]]), form); // prettier-ignore
  expect(y!.slice(0, 9 * D)).toEqual(alone!.slice(0, 9 * D));
});
