/**
 * The public API. What is not here may change without notice.
 * @example
 * const device = await openDevice();
 * const program = await record(device, "square", () => { const x = input([3]); return { x, y: ops.mul(x, x) }; });
 * program.result.x.write([1, 2, 3]);
 * program.run();
 * await program.result.y.read(); // 1, 4, 9
 */

// The GPU, tensors, gradients.
export { UserError } from "./errors.ts";
export { type Device, openDevice } from "./gpu/device.ts";
export type { Program } from "./gpu/program.ts";
export * as ops from "./ops/functions.ts";
export { createAdamW, type Optimizer } from "./optim/adamw.ts";
export { backward } from "./optim/gradients.ts";
export { createLossScale, type LossScale } from "./optim/loss-scale.ts";
export { schedule } from "./optim/schedule.ts";
export { empty, input, record, type Tensor } from "./tensor/tensor.ts";

// Ops of your own (examples/my-kernel.mjs).
export { checkOp } from "./bench/check.ts";
export { kernelFromSource } from "./gpu/kernel.ts";
export { call, defineOp, need, type Op, strided } from "./tensor/op.ts";

// Models and text.
export { saveGguf } from "../models/gguf.ts";
export { loadModel, loadScalarModel, saveModel } from "../models/load.ts";
export { createModel } from "../models/model.ts";
export { packDocuments, padBatch } from "./data/batch.ts";
export { loadTokenizer, type Tokenizer } from "./data/tokenizer/tokenizer.ts";
export type { Batch, LanguageModel, ModelConfig, ScalarModel } from "./nn/lm.ts";

// Generation and training.
export {
  createEngine,
  type Engine,
  type GenerateSettings,
  type Request,
  type Sample,
} from "./generate/engine.ts";
export { type Stop, stopAt } from "./generate/stop.ts";
export { blockSource } from "./train/examples.ts";
export { type SftSettings, trainLanguageModel } from "./train/sft.ts";

// Alignment.
export { buildCache, type Prompt } from "./align/cache/build.ts";
export { cacheEntry, type CacheHeader, entryCdf, type RewardCache } from "./align/cache/cache.ts";
export { openCacheWriter, readCache } from "./align/cache/file.ts";
export { cutPrompts } from "./align/cache/prompts.ts";
export { type Evaluation, evaluatePolicy } from "./align/evaluation.ts";
export {
  type AlignMetrics,
  type AlignOptions,
  type AlignRun,
  createAlignRun,
  type PpoSettings,
} from "./align/loop.ts";
export { findObjective, type Objective, resolveSettings } from "./align/objectives/index.ts";
export {
  functionReward,
  modelReward,
  type Reward,
  type RewardFunction,
  type RewardInput,
  vaderReward,
} from "./align/rewards.ts";
export { bonCurve } from "./evaluate/bon-curve.ts";
export { renderReport } from "./report/page.ts";
export type { Comparison } from "./report/types.ts";
