/** Tiles: whichever computes it, and however many rows there are, a row's result has the same bits. */
import { afterAll, expect, it } from "vitest";
import { matmul } from "../../src/ops/matmul.ts";
import type { MatmulAttrs } from "../../src/ops/product.ts";
import { input, record, type Shape } from "../../src/tensor/tensor.ts";
import { sample } from "../../src/bench/check.ts";
import { testDevice } from "../support/device.ts";

const device = await testDevice();
afterAll(() => device.close());

async function product(a: Shape, b: Shape, attrs: MatmulAttrs): Promise<Float32Array> {
  const program = await record(device, "product", () => {
    const operands = [input(a), input(b)] as const;
    return { operands, c: matmul(...operands, undefined, attrs) };
  });
  const { operands, c } = program.result;
  operands.forEach((x, seed) => x.write(sample(seed + 1, x.size)));
  program.run();
  const values = await c.read();
  program.dispose();
  return values;
}

it("gives a row the same bits in every tile, alone and among others", { timeout: 120_000 }, async () => {
  const [K, N] = [700, 36];
  const all = await product([70, K], [K, N], { variant: "tile64" });
  for (const variant of ["tile32", "tile"]) {
    for (const rows of [1, 9, 70]) {
      const some = await product([rows, K], [K, N], { variant });
      expect(some, `${variant}, ${rows} rows`).toEqual(all.slice(0, rows * N));
    }
  }
});
