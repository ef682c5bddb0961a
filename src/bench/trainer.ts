/** A language model in training, as `vbon sft` trains it: what the step benchmarks time and `vbon profile` takes apart. */
import { createModel } from "../../models/model.ts";
import type { Device } from "../gpu/device.ts";
import type { Program } from "../gpu/program.ts";
import type { LanguageModel, Precision } from "../nn/lm.ts";
import { createAdamW, type Optimizer } from "../optim/adamw.ts";
import { createLossScale } from "../optim/loss-scale.ts";
import { createRandom } from "../tensor/random.ts";
import { readAll, record } from "../tensor/tensor.ts";
import { type LossProgram, recordLoss } from "../train/sft.ts";
import type { Sizes } from "./models.ts";

/** B rows of T tokens of a model of these sizes. */
export interface StepShape {
  readonly name: string;
  readonly sizes: Sizes;
  readonly B: number;
  readonly T: number;
  /** "f32" by default; "mixed" scales the loss too. */
  readonly precision?: Precision;
}

/** A model that learns the same random batch again and again. */
export interface Trainer {
  /** Forward and backward pass. */
  readonly program: Program<LossProgram>;
  readonly optimizer: Optimizer;
  readonly parameters: number;
  /** One training step. */
  step(): void;
  /** Loss of the last step, nats a token. */
  loss(): Promise<number>;
  /** All weights, bit by bit. */
  weights(): Promise<Uint32Array[]>;
  dispose(): void;
}

/** A trainer of a model with random weights, always the same ones: two trainers are equal. */
export function createTrainer(device: Device, { sizes, B, T, precision }: StepShape): Promise<Trainer> {
  return trainerOf(createModel(device, sizes, { trainable: true, seed: 1 }), B, T, precision);
}

/** AdamW with decay and clipping, as training runs have them. The trainer owns the model's parameters. */
export async function trainerOf(
  model: LanguageModel,
  B: number,
  T: number,
  precision: Precision = "f32",
): Promise<Trainer> {
  const { device } = model.parameters;
  const lossScale = precision === "mixed" ? createLossScale(device) : undefined;
  const optimizer = await createAdamW(device, model.parameters, { weightDecay: 0.1, gradClip: 1, lossScale });
  const computed = model.with(model.parameters, { precision });
  const program = await record(device, "training step", () => recordLoss(computed, B, T, { lossScale }));
  const { batch, targets, weights, loss } = program.result;
  const random = createRandom(1, "step");
  const text = Array.from({ length: B * (T + 1) }, () => random.integer(model.config.vocabSize));
  batch.ids.write(text.filter((_, i) => i % (T + 1) < T));
  targets.write(text.filter((_, i) => i % (T + 1) > 0));
  batch.positions.write(Array.from({ length: B * T }, (_, i) => i % T));
  batch.range.write(Array.from({ length: 2 * B }, (_, i) => (i % 2) * T));
  weights.write(new Float32Array(B * T).fill(1 / (B * T)));
  return {
    program,
    optimizer,
    parameters: model.parameters.count,
    step() {
      program.run();
      optimizer.step(LR);
    },
    loss: async () => (await loss.read())[0]!,
    async weights() {
      const tensors = [...model.parameters].map(([, tensor]) => tensor);
      return (await readAll(device, tensors)).map(({ buffer }) => new Uint32Array(buffer));
    },
    dispose() {
      program.dispose();
      optimizer.dispose();
      model.parameters.dispose();
    },
  };
}

const LR = 1e-3;
