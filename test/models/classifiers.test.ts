/** Heads of classifiers over language models, and the folders of every family, saved and loaded. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { loadModel, loadScalarModel, saveModel } from "../../models/load.ts";
import { createModel, createScalarModel } from "../../models/model.ts";
import { openSafetensors, writeSafetensors } from "../../src/data/weights/safetensors.ts";
import { scale } from "../../src/ops/binary.ts";
import { slice } from "../../src/ops/layout.ts";
import { input, record, type Tensor } from "../../src/tensor/tensor.ts";
import { preferenceLoss } from "../../src/train/preference.ts";
import { classifierRun } from "../support/classifiers.ts";
import { testDevice } from "../support/device.ts";
import { DECODER_CONFIGS, ENCODER_CONFIGS } from "../support/family-configs.ts";
import { expectAllClose, expectClose, golden } from "../support/golden.ts";
import { type AdamWGolden, checkAdamW, checkGradients } from "../support/golden-checks.ts";
import type { Padded } from "../support/models.ts";
import { randomise } from "../support/reference-check.ts";

const device = await testDevice();
const folder = await mkdtemp(join(tmpdir(), "vbon-classifiers-"));
afterAll(async () => {
  await rm(folder, { recursive: true });
  await device.close();
});
const frozen = { trainable: false } as const;

it("give the golden's Bradley-Terry loss, gradients and AdamW steps (GPT-NeoX)", async () => {
  const name = "gpt-neox-reward-tiny";
  const fixture = new URL(`../fixtures/models/${name}`, import.meta.url).pathname;
  const expected = golden<{
    right_padded: Padded;
    loss: { value: number };
    rewards: number[];
    adamw: AdamWGolden;
  }>(`models/${name}/expected.json`);
  const model = await loadScalarModel(device, fixture, { trainable: true });
  // Rows 0 and 1 are the chosen answers, 2 and 3 the rejected ones; each of the two pairs weighs a half.
  const bradleyTerry = (logits: Tensor, _: Tensor, weights: Tensor): Tensor =>
    preferenceLoss(logits.reshape(-1), scale(slice(weights, 0, 0, 2), 2));
  const batch = { padded: expected.right_padded, labels: [0, 0, 0, 0] };
  const run = await classifierRun(model, batch, bradleyTerry);
  model.parameters.zeroGrads();
  run.run();
  expectAllClose(await run.logits(), expected.rewards, 1e-5, "rewards");
  expectClose(await run.loss(), expected.loss.value, 1e-6, "loss");
  const tensors = await openSafetensors(join(fixture, "expected.safetensors"));
  await checkGradients(model.parameters, tensors);
  await checkAdamW(model.parameters, run, expected.adamw, tensors);
});

describe("the head of a language model's classifier", () => {
  const json = { ...DECODER_CONFIGS[0]!.json, architectures: ["GPT2ForSequenceClassification"] };

  /** Scores of the hidden states (1, 0, …), (0, 1, …) and 0. */
  const scoresOf = async (model: ReturnType<typeof createScalarModel>): Promise<number[]> => {
    const program = await record(device, "scores", () => {
      const hidden = input([3, 32]);
      return { hidden, scores: model.scores(hidden) };
    });
    program.result.hidden.write(Array.from({ length: 96 }, (_, i) => (i === 0 || i === 33 ? 1 : 0)));
    program.run();
    return [...(await program.result.scores.read())];
  };

  it("has a bias where its checkpoint has one, and keeps it", async () => {
    const one = { ...json, id2label: { 0: "LABEL_0" } };
    const model = createScalarModel(device, one, { trainable: false, seed: 1 });
    expect(model.parameters.has("score.bias")).toBe(false);
    await saveModel(join(folder, "plain"), model);
    const values = await model.parameters.readAll();
    const tensors = model.specs.map(({ name, shape }) => ({
      name,
      dtype: "F32" as const,
      shape,
      data: values.get(name)!,
    }));
    const bias = { name: "score.bias", dtype: "F32" as const, shape: [1], data: Float32Array.of(0.75) };
    await writeSafetensors(join(folder, "plain", "model.safetensors"), [...tensors, bias]);
    const biased = await loadScalarModel(device, join(folder, "plain"), frozen);
    const weight = values.get("score.weight")!;
    expectAllClose(await scoresOf(biased), [weight[0]! + 0.75, weight[1]! + 0.75, 0.75], 1e-6, "scores");
    await saveModel(join(folder, "biased"), biased);
    const again = await loadScalarModel(device, join(folder, "biased"), frozen);
    expect(await again.parameters.hash()).toBe(await biased.parameters.hash());
  });

  it("scores two labels by the log-odds of the second, and refuses more", async () => {
    const two = createScalarModel(device, json, { trainable: false, seed: 1 }); // two where the config says nothing
    expect([two.labels, two.reads]).toEqual([2, "last"]);
    const weight = await two.parameters.get("score.weight").read();
    expectAllClose(
      await scoresOf(two),
      [weight[32]! - weight[0]!, weight[33]! - weight[1]!, 0],
      1e-6,
      "scores",
    );
    expect(() => createScalarModel(device, { ...json, id2label: {} }, frozen)).toThrow("id2label is empty");
    const three = createScalarModel(device, { ...json, num_labels: 3 }, frozen);
    await expect(scoresOf(three)).rejects.toThrow("the classifier has 3 labels; expected one, or two");
  });
});

describe.each([...DECODER_CONFIGS, ...ENCODER_CONFIGS])("$what", ({ what, json }) => {
  it("keeps every bit when saved", async () => {
    const isDecoder = DECODER_CONFIGS.some((decoder) => decoder.what === what);
    const [create, load] = isDecoder ? [createModel, loadModel] : [createScalarModel, loadScalarModel];
    const model = create(device, json, frozen);
    randomise(model.parameters, 6);
    await saveModel(join(folder, what), model);
    const again = await load(device, join(folder, what), frozen);
    expect(await again.parameters.hash()).toBe(await model.parameters.hash());
    expect(again.config).toEqual(model.config);
    expect(again.toHf()).toMatchObject(model.toHf());
  });

  it("keeps every bit of its classifier", async () => {
    const model = createScalarModel(device, json, { trainable: false, seed: 3 });
    const path = join(folder, `${what} classifier`);
    await saveModel(path, model);
    const again = await loadScalarModel(device, path, frozen);
    expect([await again.parameters.hash(), again.labels]).toEqual([await model.parameters.hash(), 1]);
    expect([again.reads, again.toHf()]).toMatchObject([model.reads, model.toHf()]);
  });
});
