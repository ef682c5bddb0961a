/**
 * The public API as far as it needs no disk: what `import "vbon"` gives in a browser, and a part of what it gives elsewhere
 * (index.ts). Nothing here reaches a module of Node's. What is not here or there may change without notice.
 * @example
 * const device = await openDevice();
 * const model = await loadModel(device, new URL("model/", document.baseURI), { trainable: false });
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
export {
  loadModel,
  type LoadOptions,
  loadScalarModel,
  modelFiles,
  type SaveOptions,
} from "../models/load.ts";
export { createModel } from "../models/model.ts";
export { packDocuments, padBatch } from "./data/batch.ts";
export type { Place } from "./data/folder.ts";
export { loadTokenizer, type Tokenizer, trainTokenizer } from "./data/tokenizer/tokenizer.ts";
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
} from "./align/rewards.ts";
export { bonCurve } from "./evaluate/bon-curve.ts";
