/** The loop over a real model: accumulation, logging, the steady state, and what stops it. */
import { afterAll, describe, expect, it } from "vitest";
import { createModel } from "../../models/model.ts";
import { packDocuments } from "../../src/data/batch.ts";
import type { LanguageModel } from "../../src/nn/lm.ts";
import { createRandom } from "../../src/tensor/random.ts";
import { blockSource, rowSource } from "../../src/train/examples.ts";
import type { StepRecord } from "../../src/train/metrics.ts";
import { languageModelTraining, type SftSettings, trainLanguageModel } from "../../src/train/sft.ts";
import { testDevice } from "../support/device.ts";

const device = await testDevice();
afterAll(() => device.close());

const llama = {
  model_type: "llama",
  vocab_size: 32,
  hidden_size: 16,
  intermediate_size: 32,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  max_position_embeddings: 32,
  tie_word_embeddings: true,
};
const model = (): LanguageModel => createModel(device, llama, { trainable: true, seed: 3 });

const settings: SftSettings = {
  steps: 6,
  lr: 1e-2,
  schedule: "constant",
  warmup: 0,
  evalEvery: 0,
  saveEvery: 0,
  sampleEvery: 0,
  logEvery: 1,
  batch: 4,
  accumulate: 1,
  weightDecay: 0.1,
  gradClip: 1,
  betas: [0.9, 0.95],
  seed: 0,
  evalItems: 8,
};

const random = createRandom(1, "loop test");
/** A number counts up modulo 8 from a random start: easy to learn. */
const stream = Array.from({ length: 40 }, () => random.integer(8)).flatMap((from) =>
  Array.from({ length: 16 }, (_, i) => (from + i) % 8),
);
const blocks = blockSource(packDocuments([stream], { blockSize: 16, eosId: 31 }));
const rows = rowSource(
  Array.from({ length: 24 }, (_, i) => ({
    ids: Array.from({ length: 4 + (i % 9) }, (_, t) => (i + t) % 8),
    from: 1 + (i % 3),
  })),
  32,
);

async function lossesOf(
  data: typeof blocks,
  change: Partial<SftSettings>,
): Promise<{ losses: number[]; weights: Map<string, Float32Array> }> {
  const made = model();
  const losses: number[] = [];
  await trainLanguageModel(
    made,
    { train: data },
    { ...settings, ...change },
    { onRecord: (r) => void losses.push(r["loss"] as number) },
  );
  const weights = await made.parameters.readAll();
  made.parameters.dispose();
  return { losses, weights };
}

describe("training", () => {
  it.each([
    ["blocks", blocks],
    ["rows of unequal length", rows],
  ])("gives 1 x 4 the result of 4 x 1: %s", async (_, data) => {
    const whole = await lossesOf(data, { batch: 4, accumulate: 1 });
    const parts = await lossesOf(data, { batch: 1, accumulate: 4 });
    whole.losses.forEach((loss, i) =>
      expect(Math.abs(parts.losses[i]! - loss), `loss of step ${i + 1}`).toBeLessThan(2e-5 * loss),
    );
    for (const [name, values] of whole.weights) {
      const most = values.reduce((m, v, i) => Math.max(m, Math.abs(v - parts.weights.get(name)![i]!)), 0);
      expect(most, name).toBeLessThan(2e-4);
    }
  });

  it("begins at the loss of a uniform guess and learns", async () => {
    const { losses } = await lossesOf(blocks, { steps: 60 });
    expect(Math.abs(losses[0]! - Math.log(32))).toBeLessThan(0.05);
    expect(losses.at(-1)!).toBeLessThan(0.6);
  });

  it("counts the loss of rows on their responses only", async () => {
    const [row] = [{ ids: [1, 2, 3, 4, 5], from: 3 }];
    const batch = rowSource([row, { ids: [7, 8], from: 1 }], 8).gather([1, 0]);
    expect(batch).toMatchObject({ B: 2, T: 8, tokens: 3 });
    expect(Array.from(batch.targets.subarray(0, 9))).toEqual([8, 0, 0, 0, 0, 0, 0, 0, 2]);
    expect(Array.from(batch.mask)).toEqual([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0]);
    expect(Array.from(batch.range)).toEqual([0, 1, 0, 4]);
  });

  it("creates nothing in the steady state: no buffer, bind group, pipeline or tensor over 200 steps", async () => {
    const made = model();
    const training = await languageModelTraining(
      made,
      { train: blocks },
      { ...settings, steps: 210, logEvery: 10 },
    );
    let before: object | undefined;
    await training.run({
      onRecord({ step }) {
        if (step === 10) before = { ...device.counters, submits: 0, dispatches: 0 };
      },
    });
    expect({ ...device.counters, submits: 0, dispatches: 0 }).toEqual(before);
    training.dispose();
    made.parameters.dispose();
  });

  it("stops after the step at hand, having saved it", async () => {
    const controller = new AbortController();
    const saved: number[] = [];
    const records: StepRecord[] = [];
    const events = {
      signal: controller.signal,
      save: async (step: number) => void saved.push(step),
      onRecord(record: StepRecord) {
        records.push(record);
        if (record.step === 3) controller.abort();
      },
    };
    const made = model();
    const result = await trainLanguageModel(
      made,
      { train: blocks, heldOut: blocks },
      { ...settings, saveEvery: 2, evalEvery: 2 },
      events,
    );
    expect(result).toEqual({ step: 4, end: "stopped" });
    expect(saved).toEqual([2, 4]);
    expect(records.filter((r) => "evalLoss" in r).map((r) => r.step)).toEqual([2, 4]);
    made.parameters.dispose();
  });

  it("skips a step that overflows, says so, and goes on at half the scale", async () => {
    const made = model();
    const records: StepRecord[] = [];
    const { grad, size } = made.parameters.get("model.norm.weight");
    const onRecord = (record: StepRecord): void => {
      records.push(record);
      // Step 3 adds to what lies there.
      if (record.step === 2) grad!.write(new Float32Array(size).fill(Infinity));
    };
    await trainLanguageModel(made, { train: blocks }, { ...settings, lossScale: {} }, { onRecord });
    expect(records.map((record) => record["skipped"])).toEqual([0, 0, 1, 1, 1, 1]);
    expect(records.map((record) => record["lossScale"])).toEqual([
      ...Array(3).fill(65536),
      ...Array(3).fill(32768),
    ]);
    expect(records.map((record) => "gradNorm" in record)).toEqual([true, true, false, true, true, true]);
    expect(records.every((record) => Number.isFinite(record["loss"]))).toBe(true);
    for (const [name, values] of await made.parameters.readAll())
      expect(values.every(Number.isFinite), name).toBe(true);
    made.parameters.dispose();
  });

  it("in mixed precision finds the scale that f16 takes, and learns", async () => {
    const made = model();
    const records: StepRecord[] = [];
    await trainLanguageModel(
      made.with(made.parameters, { precision: "mixed" }),
      { train: blocks },
      { ...settings, steps: 60, lossScale: { initial: 2 ** 40 } },
      { onRecord: (record) => void records.push(record) },
    );
    const { skipped, lossScale } = records.at(-1)!;
    // A gradient of softmax over 64 tokens is under 1/64: 2^22 of it is the first that f16 may not have.
    expect(skipped).toBeGreaterThan(40 - 24);
    expect(skipped).toBeLessThan(30);
    expect(lossScale).toBe(2 ** (40 - Number(skipped)));
    expect(records[0]!["loss"]).toBeCloseTo(Math.log(32), 1);
    expect(records.at(-1)!["loss"]).toBeLessThan(1.5);
    made.parameters.dispose();
  });

  it("says so when training diverges although its loss is scaled", async () => {
    const lossScale = { initial: 4 };
    await expect(lossesOf(blocks, { lr: 1e30, gradClip: 0, steps: 20, lossScale })).rejects.toThrow(
      /step \d+ has loss [\d.]+ and gradient norm NaN; training diverged/,
    );
  });

  it("says so when training diverges", async () => {
    await expect(lossesOf(blocks, { lr: 1e30, gradClip: 0, steps: 20 })).rejects.toThrow(
      /step \d+ has loss [\d.]+ and gradient norm NaN; training diverged/,
    );
  });
});
