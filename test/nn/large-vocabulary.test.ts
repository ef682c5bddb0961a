/**
 * Embeddings that are larger than one binding: a model trains and writes as on an adapter that holds them whole. The
 * limit here is a small one, so that a small table exceeds it as GPT-2 small's does 128 MiB.
 */
import { afterAll, expect, it } from "vitest";
import { createModel } from "../../models/model.ts";
import { createEngine } from "../../src/generate/engine.ts";
import { type Device, openDevice } from "../../src/gpu/device.ts";
import { weightedNll } from "../../src/ops/logprob.ts";
import { createAdamW } from "../../src/optim/adamw.ts";
import { backward } from "../../src/optim/gradients.ts";
import { input, record } from "../../src/tensor/tensor.ts";
import { worstOf } from "../../src/bench/check.ts";
import { testDevice } from "../support/device.ts";
import { expectClose } from "../support/golden.ts";
import { batchInput } from "../support/models.ts";

const LIMIT = 2 ** 16;
const whole = await testDevice();
const limited = await openDevice({ validation: true, bindingBytes: LIMIT });
afterAll(() => Promise.all([whole.close(), limited.close()]));

const SIZES = { model_type: "gpt2", vocab_size: 1031, n_positions: 24, n_layer: 1, n_head: 2, n_embd: 32 };
const [B, T, STEPS] = [3, 24, 3];

interface Run {
  readonly losses: number[];
  /** Of the embedding, in the first step. */
  readonly gradient: Float32Array;
  readonly text: readonly number[];
}

async function train(device: Device): Promise<Run> {
  const model = createModel(device, SIZES, { trainable: true, seed: 3 });
  const optimizer = await createAdamW(device, model.parameters, { gradClip: 1, weightDecay: 0.1 });
  const program = await record(device, "step", () => {
    const [batch, targets, weights] = [batchInput(B, T), input([B * T], "u32"), input([B * T])];
    const { logprobs } = model.logprobs(model.hidden(batch).reshape(B * T, -1), targets);
    const loss = weightedNll(logprobs, weights);
    backward(loss);
    return { batch, targets, weights, loss };
  });
  const { batch, targets, weights, loss } = program.result;
  batch.ids.write(Array.from({ length: B * T }, (_, i) => (i * i * 13) % SIZES.vocab_size));
  batch.positions.write(Array.from({ length: B * T }, (_, i) => i % T));
  batch.range.write(Array.from({ length: 2 * B }, (_, i) => (i % 2) * T));
  targets.write(Array.from({ length: B * T }, (_, i) => (i * 401 + 7) % SIZES.vocab_size));
  weights.write(new Float32Array(B * T).fill(1 / (B * T)));
  const embedding = model.parameters.get("transformer.wte.weight");
  const losses: number[] = [];
  let gradient: Float32Array | undefined;
  for (let i = 0; i < STEPS; i++) {
    program.run();
    losses.push((await loss.read())[0]!);
    gradient ??= await embedding.grad!.read();
    optimizer.step(1e-2);
  }
  const settings = { maxNewTokens: 5, eosIds: [], temperature: 1, greedy: true };
  const engine = await createEngine(model, 2, 4, settings);
  const [sample] = await engine.generate([{ ids: [5, 900, 3], stream: [0, 0] }], { seed: 1 });
  for (const thing of [engine, program, optimizer, model.parameters]) thing.dispose();
  return { losses, gradient: gradient!, text: sample!.ids };
}

it("trains and generates with a table of twice what a binding holds", async () => {
  expect(SIZES.vocab_size * SIZES.n_embd * 4).toBeGreaterThan(2 * LIMIT);
  const [want, got] = [await train(whole), await train(limited)];
  expect(want.losses[0]! - want.losses.at(-1)!).toBeGreaterThan(0.1);
  got.losses.forEach((loss, i) => expectClose(loss, want.losses[i]!, 1e-6, `loss ${i}`));
  expect(worstOf(got.gradient, want.gradient, 0).error).toBeLessThan(1e-5);
  expect(got.text).toEqual(want.text);
});

it("says what to do where only whole logits would have a gradient", async () => {
  const model = createModel(limited, SIZES, { trainable: true, seed: 3 });
  const recorded = record(limited, "logits", () => {
    const batch = batchInput(1, 4);
    const logits = model.logits(model.hidden(batch).reshape(4, -1));
    backward(weightedNll(logits.reshape(-1), input([4 * SIZES.vocab_size])));
  });
  await expect(recorded).rejects.toThrow("use logprobs()");
  model.parameters.dispose();
});
