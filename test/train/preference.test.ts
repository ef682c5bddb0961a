/** Rewards from preferences: Bradley-Terry's loss against the oracle, a preference that is learnt, West-of-N from a cache. */
import { afterAll, describe, expect, it } from "vitest";
import { createScalarModel } from "../../models/model.ts";
import { createParameters } from "../../src/nn/parameters.ts";
import { backward } from "../../src/optim/gradients.ts";
import { createRandom } from "../../src/tensor/random.ts";
import { input, record } from "../../src/tensor/tensor.ts";
import {
  createPairJudge,
  type PairIds,
  preferenceLoss,
  preferenceTraining,
} from "../../src/train/preference.ts";
import { gradientsOf } from "../support/align-run.ts";
import { testDevice } from "../support/device.ts";
import { PLAIN_TRAINING } from "../support/training.ts";
import { expectAllClose, expectClose, golden } from "../support/golden.ts";

const device = await testDevice();
afterAll(() => device.close());

interface BradleyTerry {
  readonly chosen: readonly number[];
  readonly rejected: readonly number[];
  readonly cases: readonly {
    readonly margin: number;
    readonly loss: number;
    readonly grad_chosen: readonly number[];
    readonly grad_rejected: readonly number[];
  }[];
}

it("has the oracle's loss and gradients, also where a margin is huge", async () => {
  const { chosen, rejected, cases } = golden<BradleyTerry>("bradley_terry.json");
  const want = cases.find(({ margin }) => margin === 0)!;
  const specs = [{ name: "scores", shape: [10], init: "zeros", decay: false } as const];
  const parameters = createParameters(device, specs, { trainable: true });
  parameters.get("scores").write([...chosen, ...rejected]);
  const program = await record(device, "preference loss", () => {
    const weights = input([5], "f32", "weights");
    const loss = preferenceLoss(parameters.get("scores"), weights);
    backward(loss);
    return { weights, loss: loss.detach() };
  });
  program.result.weights.write([0.2, 0.2, 0.2, 0.2, 0.2]);
  program.run();
  expectClose((await program.result.loss.read())[0]!, want.loss, 1e-5);
  const gradient = (await gradientsOf(parameters)).get("scores")!;
  expectAllClose(gradient, [...want.grad_chosen, ...want.grad_rejected], 1e-6);
});

describe("training", () => {
  const random = createRandom(4, "preference test");
  /** Of two texts the one with more threes is chosen. */
  const pairs = Array.from({ length: 160 }, (): PairIds => {
    const text = (): number[] => Array.from({ length: 2 + random.integer(9) }, () => 3 + random.integer(4));
    const threes = (ids: readonly number[]): number => ids.filter((id) => id === 3).length;
    for (;;) {
      const [a, b] = [text(), text()];
      if (threes(a) !== threes(b))
        return threes(a) > threes(b) ? { chosen: a, rejected: b } : { chosen: b, rejected: a };
    }
  });
  const gpt2 = { model_type: "gpt2", vocab_size: 16, n_positions: 24, n_layer: 1, n_head: 2, n_embd: 16 };
  const model = createScalarModel(device, gpt2, { trainable: true, seed: 5 });
  const settings = {
    ...PLAIN_TRAINING,
    tokenDropout: 0,
    steps: 120,
    lr: 1e-2,
  } as const;

  it("learns what is preferred, and tells it of pairs that it has not seen", async () => {
    const [train, heldOut] = [pairs.slice(0, 120), pairs.slice(120)];
    const training = await preferenceTraining(model, { train, heldOut }, settings);
    const losses: number[] = [];
    await training.run({
      onRecord: (record) => void ("loss" in record && losses.push(Number(record["loss"]))),
    });
    expectClose(losses[0]!, Math.log(2), 0.3);
    const judge = createPairJudge(model, 16);
    const { evalAccuracy, evalLoss } = await judge.evaluate(heldOut);
    expect(evalAccuracy).toBeGreaterThan(0.9);
    expect(evalLoss).toBeLessThan(0.35);
    const turned = heldOut.map(({ chosen, rejected }) => ({ chosen: rejected, rejected: chosen }));
    expectClose((await judge.evaluate(turned)).evalAccuracy, 1 - evalAccuracy, 1e-12);
    judge.dispose();
    training.dispose();
  });
});
