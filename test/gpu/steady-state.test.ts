/** After the first step, training and decoding create nothing: no buffer, bind group, pipeline or tensor. */
import { afterAll, describe, expect, it } from "vitest";
import { createModel } from "../../models/model.ts";
import { createEngine } from "../../src/generate/engine.ts";
import type { Counters, Device } from "../../src/gpu/device.ts";
import type { LanguageModel } from "../../src/nn/lm.ts";
import { weightedNll } from "../../src/ops/logprob.ts";
import { createAdamW } from "../../src/optim/adamw.ts";
import { backward } from "../../src/optim/gradients.ts";
import { input, record, type Tensor } from "../../src/tensor/tensor.ts";
import { testDevice } from "../support/device.ts";
import { batchInput } from "../support/models.ts";

const CONFIGS = {
  gpt2: { model_type: "gpt2", vocab_size: 61, n_positions: 256, n_layer: 2, n_head: 2, n_embd: 32 },
  llama: {
    model_type: "llama",
    vocab_size: 61,
    max_position_embeddings: 256,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    hidden_size: 32,
    intermediate_size: 48,
    hidden_act: "silu",
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
  },
};
const [B, T] = [3, 16];

const device = await testDevice();
afterAll(() => device.close());

interface Trainer {
  readonly model: LanguageModel;
  /** One step on new data. */
  step(): void;
  loss(): Promise<number>;
  dispose(): void;
}

async function createTrainer(json: object): Promise<Trainer> {
  const model = createModel(device, json as Record<string, unknown>, { trainable: true, seed: 5 });
  const optimizer = await createAdamW(device, model.parameters, { weightDecay: 0.1, gradClip: 1 });
  const program = await record(device, "train step", () => {
    const [batch, targets, weights] = [batchInput(B, T), input([B * T], "u32"), input([B * T])];
    const { logprobs } = model.logprobs(model.hidden(batch).reshape(B * T, -1), targets);
    const loss: Tensor = weightedNll(logprobs, weights);
    backward(loss);
    optimizer.update();
    return { batch, targets, weights, loss };
  });
  const { batch, targets, weights, loss } = program.result;
  batch.positions.write(Array.from({ length: B * T }, (_, i) => i % T));
  batch.range.write(Array.from({ length: 2 * B }, (_, i) => (i % 2) * T));
  weights.write(Array(B * T).fill(1 / (B * T)));
  let steps = 0;
  return {
    model,
    step() {
      const text = Array.from({ length: B * (T + 1) }, (_, i) => (i * 7 + (i >> 3) * steps) % 61);
      batch.ids.write(text.filter((_, i) => i % (T + 1) < T));
      targets.write(text.filter((_, i) => i % (T + 1) > 0));
      optimizer.prepare(1e-3);
      program.run();
      steps++;
    },
    loss: async () => (await loss.read())[0]!,
    dispose() {
      program.dispose();
      optimizer.dispose();
      model.parameters.dispose();
    },
  };
}

const made = ({ counters, bytesAllocated }: Device): Partial<Counters> & { bytes: number } => {
  const { buffers, bindGroups, pipelines, tensors } = counters;
  return { buffers, bindGroups, pipelines, tensors, bytes: bytesAllocated };
};

describe.each(Object.entries(CONFIGS))("%s", (_, json) => {
  it("creates nothing in 200 training steps, and its memory does not grow", async () => {
    const trainer = await createTrainer(json);
    trainer.step();
    const first = await trainer.loss();
    const after = made(device);
    let rss = 0;
    for (let i = 2; i <= 200; i++) {
      trainer.step();
      if (i % 10 === 0) await trainer.loss();
      if (i === 60) rss = process.memoryUsage().rss;
    }
    expect(await trainer.loss()).toBeLessThan(first - 0.5);
    expect(made(device)).toEqual(after);
    expect(process.memoryUsage().rss - rss).toBeLessThan(48 * 2 ** 20);
    trainer.dispose();
  });

  it("creates nothing in 200 decode steps", async () => {
    const model = createModel(device, json, { trainable: false, seed: 5 });
    const engine = await createEngine(model, 4, 8, { maxNewTokens: 201, eosIds: [], temperature: 1 });
    const requests = [0, 1, 2, 3].map((k) => ({ ids: [1, 2, 3 + k], stream: [0, k] as const }));
    const seen: unknown[] = [];
    const options = { seed: 1, onProgress: () => void seen.push(made(device)) };
    const once = await engine.generate(requests, options);
    expect(once.map(({ ids }) => ids.length)).toEqual([201, 201, 201, 201]);
    expect(seen.length).toBeGreaterThanOrEqual(25);
    for (const later of seen.slice(1)) expect(later).toEqual(seen[0]);
    const dispatches = device.counters.dispatches;
    expect(await engine.generate(requests, options)).toEqual(once);
    expect(made(device)).toEqual(seen[0]);
    expect(device.counters.dispatches).toBeGreaterThan(dispatches + 200);
    engine.dispose();
    model.parameters.dispose();
  });

  it("gives the same bits twice over 20 training steps", async () => {
    const bits = async (): Promise<Uint32Array[]> => {
      const trainer = await createTrainer(json);
      for (let i = 0; i < 20; i++) trainer.step();
      const all: Uint32Array[] = [];
      for (const [, tensor] of trainer.model.parameters) all.push(await tensor.readU32());
      trainer.dispose();
      return all;
    };
    const [a, b] = [await bits(), await bits()];
    expect(a.length).toBeGreaterThan(10);
    expect(b).toEqual(a);
  });
});
