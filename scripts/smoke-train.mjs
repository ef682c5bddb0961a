/** A tiny model trained for a few steps with the built package, on whichever runtime this is: its losses must agree. */
import { createModel } from "../dist/models/model.js";
import { openDevice } from "../dist/src/gpu/device.js";
import { runtime } from "../dist/src/host.js";
import { weightedNll } from "../dist/src/ops/logprob.js";
import { createAdamW } from "../dist/src/optim/adamw.js";
import { backward } from "../dist/src/optim/gradients.js";
import { input, record } from "../dist/src/tensor/tensor.js";

const SIZES = { model_type: "gpt2", vocab_size: 64, n_positions: 32, n_layer: 2, n_head: 2, n_embd: 32 };
const [B, T, STEPS] = [4, 32, 10];

/**
 * @typedef {{ runtime: string, adapter: string, subgroups: number, losses: number[], dispatchesPerStep: number,
 *   firstMs: number, stepMs: number, memory: string }} SmokeResult
 * @returns {Promise<SmokeResult>} losses in nats, times in milliseconds
 */
export async function smokeTrain() {
  const device = await openDevice();
  const model = createModel(device, SIZES, { trainable: true, seed: 1 });
  const optimizer = await createAdamW(device, model.parameters, { gradClip: 1, weightDecay: 0.1 });
  const step = await record(device, "step", () => {
    const batch = { ids: input([B, T], "u32"), positions: input([B, T], "u32"), range: input([B, 2], "u32") };
    const [targets, weights] = [input([B * T], "u32"), input([B * T])];
    const { logprobs } = model.logprobs(model.hidden(batch).reshape(B * T, -1), targets);
    const loss = weightedNll(logprobs, weights);
    backward(loss);
    optimizer.update();
    return { batch, targets, weights, loss };
  });
  const { batch, targets, weights, loss } = step.result;
  const text = Array.from({ length: B * T + 1 }, (_, i) => (i * i + 3 * i) % 61);
  batch.ids.write(text.slice(0, -1));
  targets.write(text.slice(1));
  batch.positions.write(text.slice(1).map((_, i) => i % T));
  batch.range.write(Array.from({ length: 2 * B }, (_, i) => (i % 2) * T));
  weights.write(Array(B * T).fill(1 / (B * T)));
  const losses = [];
  const times = [];
  for (let i = 0; i < STEPS; i++) {
    const start = performance.now();
    optimizer.prepare(1e-2);
    step.run();
    losses.push((await loss.read())[0]);
    times.push(performance.now() - start);
  }
  const stepMs = times.slice(1).sort((a, b) => a - b)[STEPS >> 1];
  const result = {
    runtime: runtime(),
    adapter: device.name,
    subgroups: device.subgroupSize,
    losses,
    dispatchesPerStep: step.calls.length,
    firstMs: times[0],
    stepMs,
    memory: String(device.memory),
  };
  await device.close();
  return result;
}
