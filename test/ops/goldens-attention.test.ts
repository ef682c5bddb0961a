/** Attention against an independent float64 oracle: both paddings, grouped heads, both ways, any head dimension. */
import { afterAll, expect, it } from "vitest";
import { attention } from "../../src/ops/attention.ts";
import { backwardFrom } from "../../src/optim/gradients.ts";
import { maskToRange } from "../../src/data/batch.ts";
import { input, persistent, readAll, record } from "../../src/tensor/tensor.ts";
import { testDevice } from "../support/device.ts";
import { golden } from "../support/golden.ts";

const device = await testDevice();
afterAll(() => device.close());

/** [B][heads][T][D]; null where a row is padding. */
type Heads = readonly (readonly (readonly (readonly (number | null)[] | null)[])[])[];
type Name = "q" | "k" | "v" | "dy" | "y" | "dq" | "dk" | "dv";
type Case = { name: string; causal: boolean; key_mask: number[][] } & Record<Name, Heads>;

/** Row-major [B, T, heads, D], as our tensors are; NaN where the oracle says nothing. */
function tokensFirst(x: Heads): { shape: number[]; data: Float64Array } {
  const [B, H, T] = [x.length, x[0]!.length, x[0]![0]!.length];
  const D = x.flat(2).find((row) => row !== null)!.length;
  const data = new Float64Array(B * T * H * D);
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      for (let t = 0; t < T; t++) {
        for (let d = 0; d < D; d++) data[((b * T + t) * H + h) * D + d] = x[b]![h]![t]?.[d] ?? NaN;
      }
    }
  }
  return { shape: [B, T, H, D], data };
}

for (const test of golden<{ cases: Case[] }>("ops/attention.json").cases) {
  it(test.name, async () => {
    const [q, k, v, dy] = (["q", "k", "v", "dy"] as const).map((name) => tokensFirst(test[name]));
    const program = await record(device, test.name, () => {
      const inputs = [q!, k!, v!].map(({ shape }) => {
        const x = input(shape);
        x.grad = persistent(device, shape);
        return x;
      });
      const range = input([test.key_mask.length, 2], "u32");
      const y = attention(inputs[0]!, inputs[1]!, inputs[2]!, range, { causal: test.causal });
      const seed = input(y.shape);
      backwardFrom(y, seed);
      return { inputs, range, y, seed };
    });
    const { inputs, range, y, seed } = program.result;
    inputs.forEach((x, i) => x.write([q!, k!, v!][i]!.data));
    range.write(maskToRange(test.key_mask.flat(), test.key_mask.length, test.key_mask[0]!.length));
    seed.write(dy!.data);
    program.run();
    const got = await readAll(device, [y, ...inputs.map((x) => x.grad!)]);
    for (const [i, name] of (["y", "dq", "dk", "dv"] as const).entries()) {
      const want = tokensFirst(test[name]).data;
      const scale = want.reduce((most, x) => (Number.isNaN(x) ? most : Math.max(most, Math.abs(x))), 0);
      const worst = want.reduce(
        (most, x, j) => (Number.isNaN(x) ? most : Math.max(most, Math.abs(got[i]![j]! - x))),
        0,
      );
      expect(worst / scale, `${name}: worst error of the largest entry`).toBeLessThan(1e-5);
    }
    program.dispose();
  });
}
