/** Products that go on with their sums have the bits of the ops one by one, in every form that a device runs. */
import { afterAll, describe, expect, it } from "vitest";
import { sample } from "../../src/bench/check.ts";
import { add } from "../../src/ops/binary.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { mlp } from "../../src/ops/mlp.ts";
import { residualMatmul } from "../../src/ops/residual.ts";
import { unary } from "../../src/ops/unary.ts";
import { backwardFrom } from "../../src/optim/gradients.ts";
import { input, persistent, record, type Tensor } from "../../src/tensor/tensor.ts";
import { testDevice } from "../support/device.ts";

const device = await testDevice();
afterAll(() => device.close());

// More than one block of K for both products, and rows that are no multiple of a tile's.
const SHAPES = {
  x: [37, 132],
  up: [132, 72],
  upBias: [72],
  down: [72, 20],
  downBias: [20],
  residual: [37, 20],
};
type Inputs = Readonly<Record<keyof typeof SHAPES, Tensor>>;

/** The value, and the gradients of all inputs, as bits. */
async function bitsOf(compute: (inputs: Inputs) => Tensor): Promise<Record<string, Uint32Array>> {
  const program = await record(device, "fused", () => {
    const entries = Object.entries(SHAPES).map(([name, shape]) => {
      const x = input(shape);
      x.grad = persistent(device, shape);
      return [name, x] as const;
    });
    const y = compute(Object.fromEntries(entries) as Inputs);
    const dy = input(y.shape);
    backwardFrom(y, dy);
    return { entries, y, dy };
  });
  const { entries, y, dy } = program.result;
  entries.forEach(([, x], seed) => {
    x.write(sample(seed + 1, x.size));
    x.grad!.write(new Float32Array(x.size));
  });
  dy.write(sample(9, dy.size));
  program.run();
  const bits = async (x: Tensor): Promise<Uint32Array> => new Uint32Array((await x.read()).buffer);
  const found: Record<string, Uint32Array> = { y: await bits(y) };
  for (const [name, x] of entries) found[name] = await bits(x.grad!);
  program.dispose();
  return found;
}

describe.each(mlp.variants!(device))("%s", (variant) => {
  it("mlp", async () => {
    const attrs = { kind: "gelu_tanh", variant } as const;
    const fused = await bitsOf((p) => mlp(p.x, p.up, p.upBias, p.down, p.downBias, p.residual, attrs));
    const apart = await bitsOf((p) => {
      const inner = unary(matmul(p.x, p.up, p.upBias, { variant }), { kind: "gelu_tanh" });
      return add(p.residual, matmul(inner, p.down, p.downBias, { variant }));
    });
    expect(fused).toEqual(apart);
  });

  it("residualMatmul", async () => {
    const product = (p: Inputs): Tensor => matmul(p.x, p.up, p.upBias, { variant });
    const fused = await bitsOf((p) =>
      residualMatmul(product(p), p.down, p.downBias, p.residual, { variant }),
    );
    const apart = await bitsOf((p) => add(p.residual, matmul(product(p), p.down, p.downBias, { variant })));
    expect(fused).toEqual(apart);
  });
});
