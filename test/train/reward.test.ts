/** Classifiers: the loss is the binary cross-entropy, a rule is learnt, the best weights come back. */
import { afterAll, describe, expect, it } from "vitest";
import { createScalarModel } from "../../models/model.ts";
import type { ScalarModel } from "../../src/nn/lm.ts";
import { createRandom } from "../../src/tensor/random.ts";
import { createBest } from "../../src/train/best.ts";
import {
  classifierTraining,
  createClassifier,
  type ClassifierSettings,
  type LabelledIds,
} from "../../src/train/reward.ts";
import { testDevice } from "../support/device.ts";
import { PLAIN_TRAINING } from "../support/training.ts";

const device = await testDevice();
afterAll(() => device.close());

const gpt2 = { model_type: "gpt2", vocab_size: 16, n_positions: 24, n_layer: 1, n_head: 2, n_embd: 16 };
const model = (): ScalarModel => createScalarModel(device, gpt2, { trainable: true, seed: 5 });
const settings: ClassifierSettings = {
  ...PLAIN_TRAINING,
  tokenDropout: 0,
  steps: 1,
  lr: 1e-2,
};

const random = createRandom(2, "classifier test");
/** Good texts hold token 3, bad ones token 4. */
const texts: LabelledIds[] = Array.from({ length: 120 }, (_, i) => {
  const ids = Array.from({ length: 3 + (i % 19) }, () => 5 + random.integer(11));
  const label = (i % 2) as 0 | 1;
  ids[random.integer(ids.length)] = label === 1 ? 3 : 4;
  return { ids, label };
});

const crossEntropy = (score: number, label: number): number =>
  Math.log1p(Math.exp(label === 1 ? -score : score));

describe("classifier", () => {
  it("has the mean of -log sigmoid(±score) as its loss", async () => {
    const made = model();
    const some = texts.slice(0, 8);
    const classifier = createClassifier(made, 3);
    const scores = await classifier.scores(some.map(({ ids }) => ids));
    const expected = scores.reduce((sum, s, i) => sum + crossEntropy(s, some[i]!.label), 0) / 8;
    const results = await classifier.evaluate(some);
    const right = scores.filter((s, i) => s > 0 === (some[i]!.label === 1)).length;
    expect(results.evalAccuracy).toBe(right / 8);
    expect(Math.abs(results.evalLoss - expected)).toBeLessThan(1e-6);
    const training = await classifierTraining(made, { train: some }, settings);
    let loss = NaN;
    await training.run({ onRecord: (record) => void (loss = record["loss"] as number) });
    expect(Math.abs(loss - expected)).toBeLessThan(1e-5);
  });

  it("scores a text the same in every batch", async () => {
    const made = model();
    const [small, large] = [createClassifier(made, 1), createClassifier(made, 64)];
    const some = texts.slice(0, 30);
    const ids = some.map((text) => text.ids);
    const [one, many] = [await small.scores(ids), await large.scores(ids)];
    one.forEach((score, i) => expect(Math.abs(score - many[i]!), `text ${i}`).toBeLessThan(1e-6));
  });

  it("learns a rule and generalises", async () => {
    const made = model();
    const training = await classifierTraining(
      made,
      { train: texts.slice(0, 96), heldOut: texts.slice(96) },
      { ...settings, steps: 60, lr: 2e-2 },
    );
    await training.run({});
    expect((await training.evaluate())["evalAccuracy"]).toBe(1);
  });

  it("leaves tokens out for the item and the step, whatever its batch", async () => {
    const losses = async (change: Partial<ClassifierSettings>): Promise<number[]> => {
      const found: number[] = [];
      const training = await classifierTraining(
        model(),
        { train: texts },
        { ...settings, steps: 3, ...change },
      );
      await training.run({ onRecord: (record) => void found.push(record["loss"] as number) });
      return found;
    };
    const [whole, parts, none] = [
      await losses({ tokenDropout: 0.5 }),
      await losses({ tokenDropout: 0.5, batch: 2, accumulate: 4 }),
      await losses({}),
    ];
    whole.forEach((loss, i) => expect(Math.abs(loss - parts[i]!), `step ${i + 1}`).toBeLessThan(1e-5));
    expect(whole).not.toEqual(none);
  });

  it("refuses texts without tokens or beyond the context", async () => {
    const long = { ids: Array.from({ length: 25 }, () => 5), label: 1 as const };
    await expect(classifierTraining(model(), { train: [...texts, long] }, settings)).rejects.toThrow(
      "has 25 tokens; expected 1 to 24",
    );
    await expect(
      classifierTraining(model(), { train: [...texts, { ids: [], label: 0 }] }, settings),
    ).rejects.toThrow("has 0 tokens");
  });
});

describe("best", () => {
  it("keeps the weights of the best evaluation and counts the others", async () => {
    const { parameters } = model();
    const best = createBest(parameters, 2);
    const good = await parameters.hash();
    expect(best.consider(10, 0.7)).toBe(false);
    parameters.initialise(99);
    expect(best.consider(20, 0.7)).toBe(false);
    expect(best.consider(30, 0.6)).toBe(true);
    expect(best.state).toEqual({ bestStep: 10, bestScore: 0.7, worse: 2 });
    best.takeBack();
    expect(await parameters.hash()).toBe(good);
  });
});
