/** Gradient checkpointing: the same bits from less memory. */
import { afterAll, describe, expect, it } from "vitest";
import { createModel } from "../../models/model.ts";
import { mul } from "../../src/ops/binary.ts";
import { sum } from "../../src/ops/reduce.ts";
import { exp } from "../../src/ops/unary.ts";
import { checkpoint } from "../../src/optim/checkpoint.ts";
import { backward } from "../../src/optim/gradients.ts";
import { input, persistent, record, type Tensor } from "../../src/tensor/tensor.ts";
import { gradientsOf } from "../support/align-run.ts";
import { testDevice } from "../support/device.ts";
import { lossProgram } from "../support/models.ts";
import { SMALL, smallBatch } from "../support/small-models.ts";

const device = await testDevice();
afterAll(() => device.close());

const trained = (): Tensor => {
  const x = persistent(device, [3]);
  x.grad = persistent(device, [3]);
  x.write([0.5, -1, 2]);
  return x;
};

describe("checkpoint", () => {
  it("brings gradients to inputs and to the parameters inside", async () => {
    const [x, weight] = [trained(), trained()];
    const program = await record(device, "e", () => {
      const squares = mul(x, x);
      backward(sum(checkpoint((s) => mul(exp(s), mul(weight, s)), squares)));
    });
    program.run();
    const [dx, dw] = [await x.grad!.read(), await weight.grad!.read()];
    [0.5, -1, 2].forEach((v, i) => {
      const s = v * v;
      expect(dw[i]).toBeCloseTo(Math.exp(s) * s, 3);
      expect(dx[i]! / (2 * v * v * Math.exp(s) * (1 + s))).toBeCloseTo(1, 5);
    });
    program.dispose();
  });

  it("records nothing twice where nothing is trained", async () => {
    const program = await record(device, "e", () => {
      const x = input([3]);
      return { y: checkpoint((s) => mul(exp(s), s), x) };
    });
    expect(program.calls.length).toBe(2);
    expect(program.result.y.needsGrad).toBe(false);
    program.dispose();
  });
});

describe.each(Object.entries(SMALL))("%s with checkpointing", (_, json) => {
  it("has the same loss and gradients to the last bit, and a smaller scratch", async () => {
    const model = createModel(device, json, { trainable: true, seed: 3 });
    const batch = smallBatch(3, 24);
    const results = [];
    for (const checkpointing of [false, true]) {
      const program = await lossProgram(model.with(model.parameters, { checkpointing }), batch);
      model.parameters.zeroGrads();
      program.run();
      results.push({
        loss: await program.loss(),
        grads: await gradientsOf(model.parameters),
        scratch: program.memory.scratch,
      });
      program.dispose();
    }
    const [kept, recomputed] = results;
    expect(recomputed!.loss).toBe(kept!.loss);
    expect(recomputed!.grads).toEqual(kept!.grads);
    expect(recomputed!.scratch).toBeLessThan(0.75 * kept!.scratch);
    model.parameters.dispose();
  });
});
