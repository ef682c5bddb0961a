/** Trains a separate value function toward given returns: before PPO on the cache, during it on the rollouts. */
import type { Optimizer } from "../../optim/adamw.ts";
import { backward } from "../../optim/gradients.ts";
import type { LossScale } from "../../optim/loss-scale.ts";
import { createRandom } from "../../tensor/random.ts";
import { input, record, type Tensor } from "../../tensor/tensor.ts";
import { createStepLog } from "../../train/step-log.ts";
import { type Sequence, sequenceInputs, spread, writeSequences } from "../sequences.ts";
import { valueLoss } from "../update/ppo-loss.ts";
import type { ValueFunction } from "./function.ts";

/** A response and what the value function should say at each of its tokens. */
export interface ValueExample extends Sequence {
  readonly returns: ArrayLike<number>;
}

/** Passes over examples. */
export interface ValueTrainer {
  /**
   * One pass in an order drawn from (seed, stream), a step every `minibatch` examples.
   * @returns 1/2 the mean square error a token, over the steps of the pass that were taken
   */
  pass(examples: readonly ValueExample[], how: PassOptions): Promise<number>;
  dispose(): void;
}

export interface PassOptions {
  readonly lr: number;
  readonly minibatch: number;
  readonly seed: number;
  readonly stream: string;
  readonly onStep?: (done: number, total: number) => void;
}

/** What is trained, and in what portions. */
export interface ValueTrainerOptions {
  readonly value: ValueFunction;
  readonly optimizer: Optimizer;
  /** What the optimizer takes out of its gradients again. */
  readonly lossScale?: LossScale | undefined;
  /** Sequences a forward and backward pass, and positions a sequence. */
  readonly microBatch: number;
  readonly positions: number;
}

/** Records the program. */
export async function createValueTrainer({
  value,
  optimizer,
  lossScale,
  microBatch: B,
  positions: T,
}: ValueTrainerOptions): Promise<ValueTrainer> {
  const { device } = value.parameters;
  const program = await record(device, `value ${B}x${T}`, () => build(value, B, T, lossScale));
  const { inputs, returns, weights, loss } = program.result;

  let [sum, taken] = [0, 0];
  const log = createStepLog(device, {
    label: "value updates",
    width: 1,
    optimizers: 1,
    onStep(parts, [outcome]) {
      if (outcome!.skipped && !outcome!.diverged) return;
      taken++;
      for (const { report } of parts) sum += report[0]!;
    },
  });

  const step = async (some: readonly ValueExample[], lr: number): Promise<void> => {
    const tokens = some.reduce((n, e) => n + e.response.length, 0);
    for (let i = 0; i < some.length; i += B) {
      const part = some.slice(i, i + B);
      writeSequences(inputs, part);
      returns.write(
        spread(
          part,
          part.map((e) => e.returns),
          inputs,
        ),
      );
      weights.write(
        spread(
          part,
          part.map((e) => new Float32Array(e.response.length).fill(1 / tokens)),
          inputs,
        ),
      );
      program.run();
      await log.keepPart(part.length, loss);
    }
    optimizer.step(lr);
    await log.keepStep(optimizer.clip);
  };

  return {
    async pass(examples, { lr, minibatch, seed, stream, onStep }) {
      const order = createRandom(seed, stream).permutation(examples.length);
      const total = Math.max(1, Math.floor(order.length / minibatch));
      for (let s = 0; s < total; s++) {
        const some = order.slice(s * minibatch, (s + 1) * minibatch).map((e) => examples[e]!);
        await step(some, lr);
        onStep?.(s + 1, total);
      }
      await log.flush();
      const mean = sum / Math.max(1, taken);
      [sum, taken] = [0, 0];
      return mean;
    },
    dispose() {
      program.dispose();
      log.dispose();
    },
  };
}

interface Recorded {
  readonly inputs: ReturnType<typeof sequenceInputs>;
  readonly returns: Tensor;
  readonly weights: Tensor;
  readonly loss: Tensor;
}

function build(value: ValueFunction, B: number, T: number, lossScale: LossScale | undefined): Recorded {
  const inputs = sequenceInputs(B, T);
  const returns = input([B * T], "f32", "returns");
  const weights = input([B * T], "f32", "weights");
  const values = value.values(inputs.batch, undefined);
  const loss = valueLoss(values, values.detach(), returns, weights, Infinity);
  backward(loss, lossScale);
  return { inputs, returns, weights, loss };
}
