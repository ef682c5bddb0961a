/** Twenty training steps, twice: the same bits in every weight, with and without checkpointing, tied head and grouped keys. */
import { afterAll, describe, expect, it } from "vitest";
import { createModel } from "../../models/model.ts";
import { createAdamW } from "../../src/optim/adamw.ts";
import { testDevice } from "../support/device.ts";
import { lossProgram } from "../support/models.ts";
import { SMALL, smallBatch } from "../support/small-models.ts";

const device = await testDevice();
afterAll(() => device.close());

describe.each(Object.entries(SMALL))("%s", (_, json) => {
  it.each([false, true])("twice the same, checkpointing %s", async (checkpointing) => {
    const run = async (): Promise<Map<string, Float32Array>> => {
      const model = createModel(device, json, { trainable: true, seed: 4 });
      const optimizer = await createAdamW(device, model.parameters, { weightDecay: 0.1, gradClip: 1 });
      const program = await lossProgram(model.with(model.parameters, { checkpointing }), smallBatch(3, 24));
      for (let step = 0; step < 20; step++) {
        program.run();
        optimizer.step(1e-2);
      }
      const weights = new Map<string, Float32Array>();
      for (const [name, tensor] of model.parameters) weights.set(name, await tensor.read());
      program.dispose();
      optimizer.dispose();
      return weights;
    };
    const [first, second] = [await run(), await run()];
    for (const [name, weight] of first) {
      expect(second.get(name), name).toEqual(weight);
      expect(weight.every(Number.isFinite), name).toBe(true);
    }
  });
});
