/** Frozen weights held in f16: half the memory, and the numbers of the rounded weights, in every family. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { loadModel, saveModel } from "../../models/load.ts";
import { createModel, createScalarModel } from "../../models/model.ts";
import { createEngine } from "../../src/generate/engine.ts";
import { lastLayers } from "../../src/nn/last-layers.ts";
import type { LanguageModel } from "../../src/nn/lm.ts";
import { adaptedParameters } from "../../src/nn/lora.ts";
import { createParameters, type Parameters } from "../../src/nn/parameters.ts";
import { hasHalves } from "../../src/ops/cast.ts";
import { createClassifier } from "../../src/train/reward.ts";
import { createSequenceScorer } from "../../src/train/score.ts";
import { gradientsOf } from "../support/align-run.ts";
import { testDevice } from "../support/device.ts";
import { DECODER_CONFIGS, ENCODERS, LLAMA_KIN } from "../support/family-configs.ts";
import { expectAllClose } from "../support/golden.ts";
import { lossProgram, scoreProgram } from "../support/models.ts";
import { bertLogits } from "../support/reference-bert.ts";
import { randomise } from "../support/reference-check.ts";
import { logProb } from "../support/reference-layers.ts";
import { llamaLogits } from "../support/reference-llama.ts";
import { smallBatch } from "../support/small-models.ts";

const device = await testDevice();
const folder = mkdtempSync(join(tmpdir(), "vbon-halves-"));
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await device.close();
});

const batch = smallBatch(3, 12);
const rows = batch.input_ids.map((ids, b) => ids.filter((_, t) => batch.attention_mask[b]![t] === 1));
const halves = { trainable: false, halves: true } as const;

/** Random weights, and what is stored of them. */
async function stored(parameters: Parameters): Promise<Map<string, Float64Array>> {
  randomise(parameters, 3);
  return new Map([...(await parameters.readAll())].map(([name, w]) => [name, Float64Array.from(w)]));
}

/** A model over f32 copies of the weights that another holds. */
async function widened(model: LanguageModel, trainable: boolean): Promise<LanguageModel> {
  const wide = createParameters(device, model.specs, { trainable });
  await wide.takeFrom(model.parameters);
  return model.with(wide);
}

describe.runIf(hasHalves(device))("frozen weights in f16", () => {
  it.each(LLAMA_KIN)("$what: log-probabilities of float64 over the stored values", async ({ json }) => {
    const model = createModel(device, json, halves);
    const weights = await stored(model.parameters);
    const scorer = createSequenceScorer(model);
    const got = await scorer.score(rows);
    rows.forEach((ids, b) => {
      const logits = llamaLogits(json, weights, ids);
      expectAllClose(got[b]!, ids.slice(1).map((id, t) => logProb(logits[t]!, id)), 1e-4, `row ${b}`); // prettier-ignore
    });
    scorer.dispose();
    model.parameters.dispose();
  });

  it.each(ENCODERS)("$what: scores of float64 over the stored values", async ({ json }) => {
    const prefix = json.model_type === "bert" ? "Bert" : "Roberta";
    const architectures = [`${prefix}ForSequenceClassification`];
    const config = { ...json, id2label: { 0: "bad", 1: "good" }, architectures };
    const model = createScalarModel(device, config, halves);
    const weights = await stored(model.parameters);
    const classifier = createClassifier(model, 3);
    const got = await classifier.scores(rows);
    const want = rows.map((ids) => bertLogits(json, weights, ids)).map(([bad, good]) => good! - bad!);
    expectAllClose(got, want, 1e-4, "scores");
    classifier.dispose();
  });

  it.each(DECODER_CONFIGS)(
    "$what: the bits of f32 weights of the same values, and half the memory",
    async ({ json }) => {
      const before = device.bytesAllocated;
      const model = createModel(device, json, halves);
      const bytes = device.bytesAllocated - before;
      for (const { name, shape } of model.specs)
        expect(model.parameters.get(name).dtype, name).toBe(shape.length > 1 ? "f16" : "f32");
      randomise(model.parameters, 3);
      const wide = await widened(model, false);
      expect(bytes).toBeLessThan(0.65 * (device.bytesAllocated - before - bytes));
      expect(await model.parameters.hash()).toBe(await wide.parameters.hash());
      const got = await scoreProgram(model, batch);
      expect(got).toEqual(await scoreProgram(wide, batch));
      const draw = async (from: LanguageModel): Promise<readonly number[][]> => {
        const engine = await createEngine(from, 3, 12, { maxNewTokens: 8, eosIds: [], temperature: 1 });
        const samples = await engine.generate(rows.map((ids, i) => ({ ids, stream: [7, i] })), { seed: 1 }); // prettier-ignore
        engine.dispose();
        return samples.map(({ ids }) => ids);
      };
      expect(await draw(model)).toEqual(await draw(wide));
      for (const { parameters } of [model, wide]) parameters.dispose();
    },
  );

  it.each(DECODER_CONFIGS.slice(0, 3))(
    "$what: what is trained on them has the gradients of f32",
    async ({ json }) => {
      const model = createModel(device, json, halves);
      randomise(model.parameters, 3);
      const wide = await widened(model, false);
      const gradients = async (policy: LanguageModel): Promise<Map<string, Float32Array>> => {
        const program = await lossProgram(policy, batch);
        program.run();
        const grads = await gradientsOf(policy.parameters);
        program.dispose();
        return grads;
      };
      const lora = { pattern: "all-linear", rank: 2, alpha: 4 };
      for (const make of [
        (on: LanguageModel) => lastLayers(on, { count: 1 }, { seed: 0 }),
        (on: LanguageModel) => Promise.resolve(adaptedParameters(on, lora, { seed: 0 })),
      ]) {
        const [got, want] = [
          await gradients(model.with(await make(model))),
          await gradients(wide.with(await make(wide))),
        ];
        expect(got.size).toBeGreaterThan(3);
        expect(got).toEqual(want);
      }
    },
  );

  it("come from a checkpoint rounded to nearest, and go back widened", async () => {
    const json = LLAMA_KIN[0]!.json;
    const full = createModel(device, json, { trainable: false, seed: 3 });
    await saveModel(join(folder, "full"), full);
    const model = await loadModel(device, join(folder, "full"), halves);
    const [exact, held] = [await full.parameters.readAll(), await model.parameters.readAll()];
    for (const [name, values] of exact)
      values.forEach((x, i) => expect(Math.abs(held.get(name)![i]! - x)).toBeLessThanOrEqual(2 ** -11 * Math.abs(x) + 2 ** -25)); // prettier-ignore
    await saveModel(join(folder, "held"), model);
    const again = await loadModel(device, join(folder, "held"), { trainable: false });
    expect(await again.parameters.readAll()).toEqual(held);
  });

  it("are refused where f16 has no such number", async () => {
    const json = LLAMA_KIN[0]!.json;
    const full = createModel(device, json, { trainable: false, seed: 3 });
    const { name } = full.specs.find(({ shape }) => shape.length > 1)!;
    const tensor = full.parameters.get(name);
    tensor.write(Float32Array.from({ length: tensor.size }, (_, i) => (i === 5 ? 65519 : 0)));
    await saveModel(join(folder, "large"), full);
    await loadModel(device, join(folder, "large"), halves);
    tensor.write(Float32Array.from({ length: tensor.size }, (_, i) => (i === 5 ? -70000 : 0)));
    await saveModel(join(folder, "large"), full);
    await expect(loadModel(device, join(folder, "large"), halves)).rejects.toThrow(
      /model\.embed_tokens\.weight holds -70000; f16 ends at 65504, .* Hold it in f32/,
    );
  });

  it("are no place for copyFrom of f32, which says so", () => {
    const json = LLAMA_KIN[0]!.json;
    const [half, full] = [createModel(device, json, halves), createModel(device, json, { trainable: false })];
    expect(() => half.parameters.copyFrom(full.parameters)).toThrow(
      /is f32 there and f16 here; use takeFrom/,
    );
  });

  it("are only what is not trained", () => {
    const json = LLAMA_KIN[0]!.json;
    const model = createModel(device, json, { trainable: (name) => name.includes("layers.1"), halves: true });
    for (const { name, shape } of model.specs)
      expect(model.parameters.get(name).dtype, name).toBe(
        shape.length > 1 && !name.includes("layers.1") ? "f16" : "f32",
      );
  });
});
