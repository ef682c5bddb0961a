/** Dynamic loss scaling: the bits of unscaled training, overflows that leave no trace, a scale that follows. */
import { afterAll, describe, expect, it } from "vitest";
import { createModel } from "../../models/model.ts";
import { createParameters, type Parameters } from "../../src/nn/parameters.ts";
import { createAdamW, type Optimizer } from "../../src/optim/adamw.ts";
import { outcomesIn } from "../../src/optim/clip.ts";
import { createLossScale, type LossScale, type LossScaleOptions } from "../../src/optim/loss-scale.ts";
import { carriedOf, findCheckpoint, loadCheckpoint, saveCheckpoint } from "../../src/train/checkpoint.ts";
import { testDevice } from "../support/device.ts";
import { lossProgram } from "../support/models.ts";
import { SMALL, smallBatch } from "../support/small-models.ts";
import { scratch } from "../support/training.ts";

const device = await testDevice();
afterAll(() => device.close());

const sizes = [5000, 3, 64];

interface Setup {
  readonly parameters: Parameters;
  readonly optimizer: Optimizer;
  readonly lossScale: LossScale | undefined;
}

async function made(scaling?: LossScaleOptions, seed = 1): Promise<Setup> {
  const specs = sizes.map((n, i) => {
    return { name: `w${i}`, shape: [n], init: "normal" as const, decay: i === 0 };
  });
  const parameters = createParameters(device, specs, { trainable: true, seed });
  const lossScale = scaling && createLossScale(device, scaling);
  const settings = { gradClip: 1, weightDecay: 0.1, lossScale };
  return { parameters, optimizer: await createAdamW(device, parameters, settings), lossScale };
}

/** The gradients of step `i`, times the scale as it is; element `at` of w1 is `bad`, if given. */
async function step({ parameters, optimizer, lossScale }: Setup, i: number, bad?: number): Promise<void> {
  const scale = lossScale ? (await lossScale.state.read())[0]! : 1;
  for (const [name, { size, grad }] of parameters) {
    const values = Float32Array.from({ length: size }, (_, j) => scale * Math.fround(Math.sin(i * 7 + j)));
    if (bad !== undefined && name === "w1") values[1] = bad;
    grad!.write(values);
  }
  optimizer.step(0.01);
}

const stateOf = async ({ parameters, optimizer }: Setup): Promise<Map<string, Float32Array>> => {
  const moments = [...optimizer.tensors].filter(([name]) => name !== "lossScale");
  const read = moments.map(async ([name, tensor]) => [name, await tensor.read()] as const);
  return new Map([...(await parameters.readAll()), ...(await Promise.all(read))]);
};

describe.each(Object.entries(SMALL))("%s, scaled by powers of two", (_, json) => {
  it("takes the steps of unscaled training, to the last bit of weights and norms", async () => {
    const run = async (
      lossScale: LossScale | undefined,
    ): Promise<{ norms: number[]; weights: Map<string, Float32Array> }> => {
      const model = createModel(device, json, { trainable: true, seed: 4 });
      const settings = { weightDecay: 0.1, gradClip: 1, lossScale };
      const optimizer = await createAdamW(device, model.parameters, settings);
      const program = await lossProgram(model, smallBatch(3, 24), lossScale);
      const norms: number[] = [];
      for (let i = 0; i < 20; i++) {
        program.run();
        optimizer.step(1e-2);
        norms.push((await optimizer.clip.read())[0]!);
      }
      const weights = await model.parameters.readAll();
      [program, optimizer, model.parameters].forEach((x) => x.dispose());
      return { norms, weights };
    };
    const plain = await run(undefined);
    // It doubles every third step on the way, up to 2^22.
    expect(await run(createLossScale(device, { growEvery: 3 }))).toEqual(plain);
  });
});

describe("an overflow", () => {
  it.each([Infinity, -Infinity, NaN])("of %f skips its step alone, and leaves no trace", async (bad) => {
    const [a, b] = [await made({}), await made()];
    for (let i = 0; i < 3; i++) await Promise.all([step(a, i), step(b, i)]);
    const before = await stateOf(a);
    expect(before).toEqual(await stateOf(b));
    await step(a, 3, bad);
    expect(await stateOf(a)).toEqual(before);
    for (const [name, { grad }] of a.parameters)
      expect(
        (await grad!.read()).every((g) => g === 0),
        name,
      ).toBe(true);
    const [outcome] = outcomesIn(await a.optimizer.clip.read(), 1);
    expect(outcome).toMatchObject({ skipped: true, diverged: false, lossScale: 65536, skips: 1 });
    expect(await a.lossScale!.state.read()).toEqual(Float32Array.of(32768, 0, 1));
    // Bias corrections and moments are as if the step had not been.
    for (let i = 4; i < 9; i++) await Promise.all([step(a, i), step(b, i)]);
    expect(await stateOf(a)).toEqual(await stateOf(b));
    expect([a.optimizer.steps, b.optimizer.steps]).toEqual([9, 8]);
  });

  it("at the first steps of all leaves none either", async () => {
    const [a, b] = [await made({}), await made()];
    for (let i = 0; i < 16; i++) await step(a, i, Infinity);
    expect((await a.lossScale!.state.read())[0]).toBe(1);
    for (let i = 0; i < 3; i++) await Promise.all([step(a, i), step(b, i)]);
    expect(await stateOf(a)).toEqual(await stateOf(b));
  });

  it("at scale 1 is called divergence, and the scale stays", async () => {
    const a = await made({ initial: 1 });
    await step(a, 0, NaN);
    expect(outcomesIn(await a.optimizer.clip.read(), 1)[0]).toMatchObject({ skipped: true, diverged: true });
    expect((await a.lossScale!.state.read())[0]).toBe(1);
  });

  it("without scaling is passed on, as ever", async () => {
    const a = await made();
    await step(a, 0, NaN);
    expect(outcomesIn(await a.optimizer.clip.read(), 1)[0]).toMatchObject({ skipped: false, gradNorm: NaN });
    expect((await a.parameters.get("w1").read())[1]).toBeNaN();
  });
});

describe("the scale", () => {
  it("doubles after so many steps in a row, counted anew after an overflow", async () => {
    const a = await made({ initial: 8, growEvery: 3 });
    const scales: number[] = [];
    for (let i = 0; i < 9; i++) {
      await step(a, i, i === 4 ? Infinity : undefined);
      scales.push((await a.lossScale!.state.read())[0]!);
    }
    expect(scales).toEqual([8, 8, 16, 16, 8, 8, 8, 16, 16]);
  });

  it("ends at 2^126, whose inverse f32 still has", async () => {
    const a = await made({ initial: 2 ** 126, growEvery: 1 });
    for (const [, { grad, size }] of a.parameters) grad!.write(new Float32Array(size).fill(2 ** 126));
    a.optimizer.step(0.01);
    expect((await a.lossScale!.state.read())[0]).toBe(2 ** 126);
    expect((await a.optimizer.clip.read())[0]).toBeCloseTo(Math.hypot(...sizes.map(Math.sqrt)), 4);
  });

  it("refuses what is no power of two, and no count", () => {
    for (const initial of [0, 0.5, 3, Infinity, NaN])
      expect(() => createLossScale(device, { initial })).toThrow(
        `initial is ${initial}; expected a power of two from 1 to 2^126`,
      );
    for (const growEvery of [0, 1.5, 2 ** 24])
      expect(() => createLossScale(device, { growEvery })).toThrow(`growEvery is ${growEvery}; expected`);
  });
});

describe("a checkpoint", () => {
  it("carries scale, count and skips: a resumed run is the uninterrupted one", async () => {
    const run = scratch();
    const scaling = { initial: 64, growEvery: 4 };
    const [a, b] = [await made(scaling), await made(scaling, 2)];
    const walk = async (setup: Setup, from: number, to: number): Promise<void> => {
      for (let i = from; i < to; i++) await step(setup, i, i % 5 === 2 ? NaN : undefined);
    };
    await walk(a, 0, 6);
    await saveCheckpoint(run, carriedOf(a.parameters, a.optimizer), { step: 6 });
    await loadCheckpoint((await findCheckpoint(run))!, carriedOf(b.parameters, b.optimizer));
    expect(await b.lossScale!.state.read()).toEqual(Float32Array.of(32, 3, 1));
    await Promise.all([walk(a, 6, 14), walk(b, 6, 14)]);
    expect(await stateOf(b)).toEqual(await stateOf(a));
    expect(await b.lossScale!.state.read()).toEqual(await a.lossScale!.state.read());
    expect((await a.lossScale!.state.read())[2]).toBe(3);
  });

  it("of a run without scaling is refused by one with", async () => {
    const run = scratch();
    const [a, b] = [await made(), await made({})];
    await saveCheckpoint(run, carriedOf(a.parameters, a.optimizer), { step: 0 });
    await expect(
      loadCheckpoint((await findCheckpoint(run))!, carriedOf(b.parameters, b.optimizer)),
    ).rejects.toThrow("it has no lossScale; was the run started with other settings?");
  });
});
