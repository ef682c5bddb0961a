/** Every family computes the same bits when its blocks are computed again on the way back. */
import { afterAll, describe, expect, it } from "vitest";
import { createModel, createScalarModel } from "../../models/model.ts";
import { sum } from "../../src/ops/reduce.ts";
import { gradientsOf } from "../support/align-run.ts";
import { classifierRun } from "../support/classifiers.ts";
import { testDevice } from "../support/device.ts";
import { DECODER_CONFIGS, ENCODER_CONFIGS } from "../support/family-configs.ts";
import { lossProgram } from "../support/models.ts";
import { padded, someRows } from "../support/padding.ts";
import { randomise } from "../support/reference-check.ts";

const device = await testDevice();
afterAll(() => device.close());

const batch = padded(someRows([13, 9, 2], 64), "right");

describe.each(DECODER_CONFIGS)("$what", ({ json }) => {
  it("has the same gradients with checkpointing", async () => {
    const model = createModel(device, json, { trainable: true });
    randomise(model.parameters, 8);
    const results = [];
    for (const checkpointing of [false, true]) {
      const program = await lossProgram(model.with(model.parameters, { checkpointing }), batch);
      model.parameters.zeroGrads();
      program.run();
      results.push({ loss: await program.loss(), grads: await gradientsOf(model.parameters) });
      program.dispose();
    }
    expect(results[1]).toEqual(results[0]);
  });
});

describe.each(ENCODER_CONFIGS)("$what", ({ json }) => {
  it("has the same gradients with checkpointing", async () => {
    const model = createScalarModel(device, json, { trainable: true });
    randomise(model.parameters, 8);
    const results = [];
    for (const checkpointing of [false, true]) {
      const trained = model.with(model.parameters, { checkpointing });
      // Cross-entropy tells one label nothing: the scores' sum is the loss.
      const run = await classifierRun(trained, { padded: batch, labels: [0, 0, 0] }, (logits) => sum(logits));
      model.parameters.zeroGrads();
      run.run();
      results.push({ loss: await run.loss(), grads: await gradientsOf(model.parameters) });
    }
    expect(results[1]).toEqual(results[0]);
  });
});
