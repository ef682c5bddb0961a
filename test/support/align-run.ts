/** Runs, updates and comparisons that the tests of the alignment loop share. */
import { expect } from "vitest";
import { type AlignOptions, type AlignRun, createAlignRun, type PpoSettings } from "../../src/align/loop.ts";
import { findObjective, resolveSettings } from "../../src/align/objectives/index.ts";
import { createUpdater, type Experience, type UpdateOptions } from "../../src/align/update/ppo.ts";
import type { UpdateStats } from "../../src/align/update/stats.ts";
import type { Device } from "../../src/gpu/device.ts";
import type { Parameters } from "../../src/nn/parameters.ts";
import type { Optimizer } from "../../src/optim/adamw.ts";
import { CLIP_WIDTH } from "../../src/optim/clip.ts";
import { persistent } from "../../src/tensor/tensor.ts";
import * as table from "./table-model.ts";

/** Small enough for tests; each says what it changes. */
export const ppo: PpoSettings = {
  episodes: 64,
  rolloutSize: 32,
  minibatch: 16,
  microBatch: 16,
  ppoEpochs: 1,
  lr: 0.01,
  valueLr: 0.01,
  lrSchedule: "linear",
  betas: [0.9, 0.95],
  weightDecay: 0,
  gradClip: 1,
  clipRange: 0.2,
  clipRangeValue: 0.2,
  vfCoef: 1,
  gamma: 1,
  lam: 0.95,
  value: "separate",
  valueEpochs: 1,
  averageLast: 0,
  seed: 0,
};

/** TL-1 through the real trainer: exact vBoN at n = 4 with exact F, unless told otherwise. */
export function tableRun(
  device: Device,
  options: Partial<Omit<AlignOptions, "ppo">> & { readonly ppo?: Partial<PpoSettings> } = {},
): Promise<AlignRun> {
  return createAlignRun({
    refPolicy: table.tableModel(device),
    tokenizer: table.tokenizer,
    reward: table.reward,
    prompts: [table.prompt],
    cache: table.exactCache(),
    cdf: { smoothing: "paper" },
    objective: findObjective("vbon"),
    settings: resolveSettings({ n: 4 }),
    generate: table.settings,
    rows: options.ppo?.rolloutSize ?? ppo.rolloutSize,
    ...options,
    ppo: { ...ppo, ...options.ppo },
  });
}

/** An optimizer that leaves parameters and gradients as they are, so that a test can read the gradients. */
export function idleOptimizer(device: Device): Optimizer {
  const nothing = (): void => {};
  const clip = persistent(device, [CLIP_WIDTH]);
  return {
    steps: 0,
    tensors: new Map(),
    clip,
    update: nothing,
    prepare: nothing,
    step: nothing,
    dispose: nothing,
  };
}

/** The gradients that one minibatch leaves in policy and value function, by name, and the update's statistics. */
export async function updateGradients(
  options: Omit<UpdateOptions, "optimizer" | "valueOptimizer">,
  minibatch: readonly Experience[],
): Promise<{ policy: Map<string, Float32Array>; value: Map<string, Float32Array>; stats: UpdateStats }> {
  const { policy, value } = options;
  const optimizer = idleOptimizer(policy.parameters.device);
  const updater = await createUpdater({ ...options, optimizer, valueOptimizer: undefined });
  policy.parameters.zeroGrads();
  value?.parameters.zeroGrads();
  await updater.step(minibatch, { lr: 0, valueLr: 0 });
  const stats = await updater.stats();
  const grads = {
    policy: await gradientsOf(policy.parameters),
    value: value ? await gradientsOf(value.parameters) : new Map<string, Float32Array>(),
  };
  updater.dispose();
  return { ...grads, stats };
}

/** All gradients by name. */
export async function gradientsOf(parameters: Parameters): Promise<Map<string, Float32Array>> {
  const named = new Map<string, Float32Array>();
  for (const [name, tensor] of parameters) named.set(name, await tensor.grad!.read());
  return named;
}

/** Asserts ||got - want|| <= max(limit ||want||, floor). */
export function expectRelative(
  got: Float32Array,
  want: ArrayLike<number>,
  limit: number,
  floor: number,
  name: string,
): void {
  const norm = (x: ArrayLike<number>): number => Math.sqrt(Array.from(x).reduce((sum, v) => sum + v * v, 0));
  const error = norm(got.map((v, i) => v - want[i]!));
  const allowed = Math.max(limit * norm(want), floor);
  expect(got.length, name).toBe(want.length);
  expect(error, `${name}: error ${error} of norm ${norm(want)}`).toBeLessThanOrEqual(allowed);
}
