/** One PPO update: the clipped losses over a minibatch, in micro-batches, then one optimizer step. */
import type { Program } from "../gpu/program.ts";
import type { LanguageModel } from "../nn/lm.ts";
import { add, scale } from "../ops/binary.ts";
import { tokenLogprobs } from "../ops/logprob.ts";
import { backward } from "../optim/gradients.ts";
import type { Optimizer } from "../optim/adamw.ts";
import { input, readAll, record, type Tensor } from "../tensor/tensor.ts";
import { policyLoss, valueLoss } from "./ppo-loss.ts";
import {
  collect,
  type Sequence,
  type SequenceInputs,
  sequenceInputs,
  spread,
  writeSequences,
} from "./sequences.ts";
import type { ValueFunction } from "./value-function.ts";

/** One response of a rollout as an update sees it; per-token rows are as long as the response. */
export interface Experience extends Sequence {
  readonly oldLogprobs: Float32Array;
  readonly oldValues: Float32Array;
  readonly advantages: Float64Array;
  readonly returns: Float64Array;
}

/** What is updated, and the settings of the losses. */
export interface UpdateOptions {
  readonly policy: LanguageModel;
  readonly optimizer: Optimizer;
  readonly value: ValueFunction;
  /** The separate value function's optimizer; undefined when the policy's serves both. */
  readonly valueOptimizer: Optimizer | undefined;
  readonly temperature: number;
  readonly clipRange: number;
  readonly clipRangeValue: number;
  readonly vfCoef: number;
  /** Sequences a micro-batch, and positions a sequence. */
  readonly microBatch: number;
  readonly positions: number;
}

/** Learning rates of one update. */
export interface Rates {
  readonly lr: number;
  readonly valueLr: number;
}

/** Means over the minibatch's response tokens. */
export interface UpdateStats {
  readonly policyLoss: number;
  readonly valueLoss: number;
  /** k3 of the sampling against the new policy, nats a token. */
  readonly approxKl: number;
  /** Share of tokens whose ratio left [1 - clipRange, 1 + clipRange]. */
  readonly clipFrac: number;
  /** Norm of the policy's gradient before clipping. */
  readonly gradNorm: number;
}

interface Inputs {
  readonly inputs: SequenceInputs;
  readonly oldLogprobs: Tensor;
  readonly advantages: Tensor;
  readonly oldValues: Tensor;
  readonly returns: Tensor;
  readonly weights: Tensor;
  readonly logprobs: Tensor;
  readonly losses: readonly [policy: Tensor, value: Tensor];
}

/** Updates policy and value function. */
export interface Updater {
  /** One optimizer step on one minibatch. */
  step(minibatch: readonly Experience[], rates: Rates): Promise<UpdateStats>;
  dispose(): void;
}

/** Records the update's program. */
export async function createUpdater(options: UpdateOptions): Promise<Updater> {
  const { policy, optimizer, valueOptimizer, clipRange, microBatch: B, positions: T } = options;
  const { device } = policy.parameters;
  const program = await record(device, `ppo ${B}x${T}`, () => build(options));
  return {
    async step(minibatch, { lr, valueLr }) {
      const tokens = minibatch.reduce((n, e) => n + e.response.length, 0);
      const stats = { policyLoss: 0, valueLoss: 0, approxKl: 0, clipFrac: 0 };
      for (let i = 0; i < minibatch.length; i += B) {
        const some = minibatch.slice(i, i + B);
        write(program, some, 1 / tokens);
        program.run();
        const { logprobs, losses } = program.result;
        const [now, policyPart, valuePart] = await readAll(device, [logprobs, ...losses]);
        stats.policyLoss += policyPart![0]!;
        stats.valueLoss += valuePart![0]!;
        addRatios(stats, some, collect(some, now!, T), clipRange, tokens);
      }
      optimizer.step(lr);
      valueOptimizer?.step(valueLr);
      return { ...stats, gradNorm: (await optimizer.clip.read())[0]! };
    },
    dispose: () => program.dispose(),
  };
}

function build({
  policy,
  value,
  temperature,
  clipRange,
  clipRangeValue,
  vfCoef,
  microBatch: B,
  positions: T,
}: UpdateOptions): Inputs {
  const inputs = sequenceInputs(B, T);
  const column = (label: string): Tensor => input([B * T], "f32", label);
  const oldLogprobs = column("old logprobs");
  const advantages = column("advantages");
  const oldValues = column("old values");
  const returns = column("returns");
  const weights = column("weights");
  const hidden = policy.hidden(inputs.batch).reshape(B * T, -1);
  const [logprobs] = tokenLogprobs(policy.logits(hidden), inputs.targets, { temperature });
  const policyPart = policyLoss(logprobs, oldLogprobs, advantages, weights, clipRange);
  const values = value.values(inputs.batch, hidden);
  const valuePart = valueLoss(values, oldValues, returns, weights, clipRangeValue);
  // With a trunk of its own the value loss has its own optimizer, and no weight against the policy's.
  backward(add(policyPart, scale(valuePart, value.kind === "shared" ? vfCoef : 1)));
  return {
    inputs,
    oldLogprobs,
    advantages,
    oldValues,
    returns,
    weights,
    logprobs,
    losses: [policyPart, valuePart],
  };
}

function write({ result }: Program<Inputs>, some: readonly Experience[], weight: number): void {
  const { inputs } = result;
  writeSequences(inputs, some);
  const put = (to: Tensor, rows: readonly ArrayLike<number>[]): void => to.write(spread(some, rows, inputs));
  put(
    result.oldLogprobs,
    some.map((e) => e.oldLogprobs),
  );
  put(
    result.advantages,
    some.map((e) => e.advantages),
  );
  put(
    result.oldValues,
    some.map((e) => e.oldValues),
  );
  put(
    result.returns,
    some.map((e) => e.returns),
  );
  put(
    result.weights,
    some.map((e) => new Float32Array(e.response.length).fill(weight)),
  );
}

function addRatios(
  stats: { approxKl: number; clipFrac: number },
  some: readonly Experience[],
  now: readonly Float32Array[],
  clipRange: number,
  tokens: number,
): void {
  some.forEach((e, b) => {
    e.oldLogprobs.forEach((old, t) => {
      const l = now[b]![t]! - old;
      stats.approxKl += (Math.exp(l) - 1 - l) / tokens;
      if (Math.abs(Math.exp(l) - 1) > clipRange) stats.clipFrac += 1 / tokens;
    });
  });
}
