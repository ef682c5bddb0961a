/** DistilBERT against its golden; BERT and RoBERTa against float64, with random weights. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { createModel, createScalarModel } from "../../models/model.ts";
import { loadModel, loadScalarModel, saveModel } from "../../models/load.ts";
import { openSafetensors, writeSafetensors } from "../../src/data/weights/safetensors.ts";
import { createKvMemory } from "../../src/nn/kv-cache.ts";
import { record } from "../../src/tensor/tensor.ts";
import { classifierRun } from "../support/classifiers.ts";
import { testDevice } from "../support/device.ts";
import { ENCODERS } from "../support/family-configs.ts";
import { expectAllClose, expectClose, golden } from "../support/golden.ts";
import {
  type AdamWGolden,
  checkAdamW,
  checkGradients as checkGoldenGradients,
} from "../support/golden-checks.ts";
import { batchInput, type Padded } from "../support/models.ts";
import { bertLogits } from "../support/reference-bert.ts";
import { checkGradients, randomise } from "../support/reference-check.ts";
import { logProb, type Weights } from "../support/reference-layers.ts";
import { smallBatch } from "../support/small-models.ts";

const device = await testDevice();
const folder = await mkdtemp(join(tmpdir(), "vbon-encoders-"));
afterAll(async () => {
  await rm(folder, { recursive: true });
  await device.close();
});
const frozen = { trainable: false } as const;

describe("DistilBERT", () => {
  const name = "distilbert-classifier-tiny";
  const fixture = new URL(`../fixtures/models/${name}`, import.meta.url).pathname;
  const {
    right_padded: padded,
    labels,
    ...expected
  } = golden<{
    right_padded: Padded;
    labels: number[];
    logits: number[][];
    loss: { value: number };
    adamw: AdamWGolden;
  }>(`models/${name}/expected.json`);

  it("gives the golden's logits", async () => {
    const model = await loadScalarModel(device, fixture, frozen);
    expect([model.reads, model.labels]).toEqual(["first", 2]);
    const run = await classifierRun(model, { padded, labels });
    run.run();
    expectAllClose(await run.logits(), expected.logits.flat(), 1e-5, "logits");
  });

  it("gives its loss, gradients and five AdamW steps", async () => {
    const tensors = await openSafetensors(`${fixture}/expected.safetensors`);
    const model = await loadScalarModel(device, fixture, { trainable: true });
    const run = await classifierRun(model, { padded, labels });
    model.parameters.zeroGrads();
    run.run();
    expectClose(await run.loss(), expected.loss.value, 1e-6, "loss");
    await checkGoldenGradients(model.parameters, tensors);
    await checkAdamW(model.parameters, run, expected.adamw, tensors);
  });

  it("keeps every bit and its labels when saved", async () => {
    const model = await loadScalarModel(device, fixture, frozen);
    await saveModel(join(folder, name), model);
    const again = await loadScalarModel(device, join(folder, name), frozen);
    expect(await again.parameters.hash()).toBe(await model.parameters.hash());
    expect(again.toHf()).toMatchObject(golden<object>(`models/${name}/config.json`));
  });

  it("is no language model, and decodes over no cache", async () => {
    await expect(loadModel(device, fixture, frozen)).rejects.toThrow(/expected a language model/);
    expect(() => createModel(device, { ...golden<object>(`models/${name}/config.json`) }, frozen)).toThrow(
      'expected a language model, got "distilbert", an encoder',
    );
    const model = await loadScalarModel(device, fixture, frozen);
    const memory = createKvMemory(device, model.config, 1, 8);
    const decode = record(device, "x", () => model.hidden(batchInput(1, 1), memory.extend));
    await expect(decode).rejects.toThrow("distilbert: an encoder reads whole texts");
    memory.dispose();
  });
});

describe.each(ENCODERS)("$what", ({ json, labels: count }) => {
  const id2label = Object.fromEntries(Array.from({ length: count }, (_, i) => [i, `LABEL_${i}`]));
  const prefix = json.model_type === "bert" ? "Bert" : "Roberta";
  const config = { ...json, id2label, architectures: [`${prefix}ForSequenceClassification`] };
  const model = createScalarModel(device, config, { trainable: true });
  const weights = randomise(model.parameters, 5);
  const padded = smallBatch(3, 12);
  const labels = [1, 0, count - 1];
  const types =
    json.model_type === "bert"
      ? padded.input_ids.map((row) => row.map((_, t) => (t > 6 ? 1 : 0)))
      : undefined;
  const texts = padded.input_ids.map((row, b) => row.filter((_, t) => padded.attention_mask[b]![t] === 1));
  const logitsOf = (w: Weights): number[][] =>
    texts.map((ids, b) => bertLogits(json, w, ids, types?.[b]!.slice(0, ids.length)));
  const loss = (w: Weights): number =>
    logitsOf(w).reduce((sum, row, b) => sum - logProb(row, labels[b]!) / labels.length, 0);

  it("gives the reference's logits, loss and gradients", async () => {
    const run = await classifierRun(model, { padded, labels, ...(types && { types }) });
    model.parameters.zeroGrads();
    run.run();
    expectAllClose(await run.logits(), logitsOf(weights).flat(), 1e-5, "logits");
    expectClose(await run.loss(), loss(weights), 1e-6, "loss");
    await checkGradients(model.parameters, weights, loss);
  });

  it("takes a batch without types for one of the first type", async () => {
    const run = await classifierRun(model, { padded, labels });
    run.run();
    const want = texts.map((ids) => bertLogits(json, weights, ids));
    expectAllClose(await run.logits(), want.flat(), 1e-5, "logits");
  });

  it("holds as many tokens as it has positions", () => {
    expect(model.config.blockSize).toBe(json.model_type === "bert" ? 20 : 18);
  });
});

describe("checkpoints of encoders", () => {
  it("may be masked language models, with older names", async () => {
    const json = { ...ENCODERS[0]!.json, architectures: ["BertForMaskedLM"] };
    const model = createScalarModel(device, json, { trainable: false, seed: 1 });
    expect([model.labels, model.toHf()["architectures"]]).toEqual([1, ["BertForSequenceClassification"]]);
    const older = (name: string): string =>
      name.replace(/^bert\./, "").replace(/LayerNorm\.weight$/, "LayerNorm.gamma").replace(/LayerNorm\.bias$/, "LayerNorm.beta"); // prettier-ignore
    const kept = model.specs.filter(({ name }) => !name.startsWith("classifier."));
    const extra = ["cls.predictions.bias", "embeddings.position_ids"];
    await mkdir(join(folder, "masked"));
    await writeSafetensors(join(folder, "masked", "model.safetensors"), [
      ...kept.map(({ name, shape }) => ({ name: older(name), dtype: "F32" as const, shape, data: () => model.parameters.get(name).read() })), // prettier-ignore
      ...extra.map((name) => ({ name, dtype: "F32" as const, shape: [1], data: new Float32Array(1) })),
    ]);
    await writeFile(join(folder, "masked", "config.json"), JSON.stringify(json));
    const again = await loadScalarModel(device, join(folder, "masked"), { trainable: false, seed: 1 });
    expect(await again.parameters.hash()).toBe(await model.parameters.hash());
    await expect(loadModel(device, join(folder, "masked"), frozen)).rejects.toThrow('got "bert", an encoder');
  });

  it.each([
    [{ is_decoder: true }, "is_decoder is true"],
    [{ position_embedding_type: "relative_key" }, 'position_embedding_type is "relative_key"'],
    [{ hidden_act: "mish" }, 'hidden_act is "mish"'],
    [{ num_attention_heads: 5 }, "hidden_size 32 is not a multiple of num_attention_heads 5"],
  ])("are refused where their config says %o", (change, message) => {
    expect(() => createScalarModel(device, { ...ENCODERS[0]!.json, ...change }, frozen)).toThrow(message);
  });
});
