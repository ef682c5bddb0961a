/** The gradient of rows by number: its order of summation, to the last bit. */
import { afterAll, expect, it } from "vitest";
import { embedding } from "../../src/ops/embedding.ts";
import { backwardFrom } from "../../src/optim/gradients.ts";
import { input, persistent, record } from "../../src/tensor/tensor.ts";
import { sample } from "../../src/bench/check.ts";
import { testDevice } from "../support/device.ts";

const device = await testDevice();
afterAll(() => device.close());

/** The sum in increasing position, rounded to f32 after every addition; ids beyond the end mean the last row. */
function inOrder(dy: ArrayLike<number>, ids: readonly number[], V: number, C: number): Float32Array {
  const sums = new Float32Array(V * C);
  ids.forEach((id, t) => {
    const row = Math.min(id, V - 1) * C;
    for (let c = 0; c < C; c++) sums[row + c] = Math.fround(sums[row + c]! + dy[t * C + c]!);
  });
  return sums;
}

it.each([
  { V: 40, C: 12, T: 1500 },
  { V: 300, C: 3, T: 700 },
])("sums embedding gradients in order of position: %o", async ({ V, C, T }) => {
  // Half of the positions hold one padding token, most rows are named by none, and one id lies beyond the end.
  const ids = Array.from({ length: T }, (_, t) => (t % 2 ? 3 : t === 8 ? V + 5 : (t * t * 7) % 11));
  const dy = sample(7, T * C);
  const program = await record(device, "embedding gradient", () => {
    const weight = input([V, C]);
    weight.grad = persistent(device, [V, C]);
    const tokens = input([T], "u32");
    const seed = input([T, C]);
    backwardFrom(embedding(weight, tokens), seed);
    return { tokens, seed, grad: weight.grad };
  });
  const { tokens, seed, grad } = program.result;
  tokens.write(ids);
  seed.write(dy);
  program.run();
  expect(await grad.read()).toEqual(inOrder(dy, ids, V, C));
  program.dispose();
});
