/** The last blocks of every family trained on the rest of it: which, their gradients, and that all else stays as it is. */
import { afterAll, describe, expect, it } from "vitest";
import { createModel, createScalarModel } from "../../models/model.ts";
import { type LayerSettings, lastLayers, lastLayerSpecs } from "../../src/nn/last-layers.ts";
import type { LanguageModel } from "../../src/nn/lm.ts";
import { createAdamW } from "../../src/optim/adamw.ts";
import { gradientsOf } from "../support/align-run.ts";
import { testDevice } from "../support/device.ts";
import { DECODER_CONFIGS } from "../support/family-configs.ts";
import { lossProgram, scoreProgram } from "../support/models.ts";
import { padded, someRows } from "../support/padding.ts";
import { randomise } from "../support/reference-check.ts";
import { SMALL } from "../support/small-models.ts";

const device = await testDevice();
afterAll(() => device.close());

const batch = padded(someRows([13, 9, 2], 64), "right");

async function gradients(model: LanguageModel): Promise<Map<string, Float32Array>> {
  const program = await lossProgram(model, batch);
  model.parameters.zeroGrads();
  program.run();
  const grads = await gradientsOf(model.parameters);
  program.dispose();
  return grads;
}

const namesOf = (model: LanguageModel, settings: LayerSettings): string[] =>
  lastLayerSpecs(model, settings).map(({ name }) => name);

describe.each(DECODER_CONFIGS)("$what", ({ json }) => {
  const base = createModel(device, json, { trainable: false });
  randomise(base.parameters, 8);

  it("trains the last block and what follows it, no embedding", () => {
    const names = namesOf(base, { count: 1 });
    const untied = base.specs.at(-1)!.name;
    expect(names.filter((name) => /\.1\./.test(name)).length).toBeGreaterThan(5);
    expect(names.filter((name) => /\.0\.|wte|wpe|embed_tokens|embed_in/.test(name))).toEqual([]);
    expect(names.at(-1)).toBe(untied);
    expect(namesOf(base, { count: 2 })).toEqual(
      base.specs.filter(({ name }) => !/wte|wpe|embed_tokens|embed_in/.test(name)).map(({ name }) => name),
    );
  });

  it("starts as the base, has the gradients of a model that is trained whole, and leaves the base alone", async () => {
    const parameters = await lastLayers(base, { count: 1 }, { seed: 4 });
    const model = base.with(parameters);
    const before = await base.parameters.hash();
    const start = await scoreProgram(base, batch);
    expect(await scoreProgram(model, batch)).toEqual(start);
    const whole = createModel(device, json, { trainable: true });
    whole.parameters.copyFrom(base.parameters);
    const want = await gradients(whole);
    for (const checkpointing of [false, true]) {
      const got = await gradients(model.with(parameters, { checkpointing }));
      expect([...got.keys()]).toEqual(namesOf(base, { count: 1 }));
      for (const [name, grad] of got) expect(grad, name).toEqual(want.get(name));
    }
    const adamw = await createAdamW(device, parameters);
    adamw.step(0.01);
    expect(await scoreProgram(base, batch)).toEqual(start);
    expect(await base.parameters.hash()).toBe(before);
    expect(await scoreProgram(model, batch)).not.toEqual(start);
    adamw.dispose();
    parameters.dispose();
    expect(await base.parameters.hash()).toBe(before);
  });
});

describe("the table of positions", () => {
  const gpt2 = createModel(device, SMALL.gpt2, { trainable: false, seed: 1 });

  it("is trained where that is asked for, on a copy of its own", async () => {
    const parameters = await lastLayers(gpt2, { count: 1, positions: true }, { seed: 4 });
    const before = await gpt2.parameters.hash();
    const grad = (await gradients(gpt2.with(parameters))).get("transformer.wpe.weight")!;
    expect(grad.some((g) => g !== 0)).toBe(true);
    (await createAdamW(device, parameters)).step(0.01);
    expect(await gpt2.parameters.hash()).toBe(before);
    expect(await parameters.get("transformer.wpe.weight").read()).not.toEqual(
      await gpt2.parameters.get("transformer.wpe.weight").read(),
    );
  });

  it.each([
    [0, /0 of a gpt2 model with 3; expected a whole number from 1 to 3/],
    [4, /4 of a gpt2 model with 3/],
    [1.5, /1\.5 of/],
  ])("%d layers are refused", async (count, message) => {
    await expect(lastLayers(gpt2, { count }, { seed: 0 })).rejects.toThrow(message);
  });

  it("is refused where there is none", async () => {
    const llama = createModel(device, SMALL.llama, { trainable: false });
    await expect(lastLayers(llama, { count: 1, positions: true }, { seed: 0 })).rejects.toThrow(
      /a llama model has no table of positions to train; leave --train-positions out/,
    );
  });
});

it("trains a classifier's head with the last block", () => {
  const model = createScalarModel(device, SMALL.llama, { trainable: false, seed: 1 });
  const names = lastLayerSpecs(model, { count: 1 }).map(({ name }) => name);
  expect(names.at(-1)).toBe("score.weight");
});
