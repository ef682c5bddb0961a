/** One PPO update: the clipped losses over a minibatch, in micro-batches, then one optimizer step. */
import type { Program } from "../../gpu/program.ts";
import type { LanguageModel } from "../../nn/lm.ts";
import { add, scale } from "../../ops/binary.ts";
import type { Optimizer } from "../../optim/adamw.ts";
import { backward } from "../../optim/gradients.ts";
import type { LossScale } from "../../optim/loss-scale.ts";
import { input, record, type Tensor } from "../../tensor/tensor.ts";
import { type Sequence, type SequenceInputs, sequenceInputs, spread, writeSequences } from "../sequences.ts";
import type { ValueFunction } from "../value/function.ts";
import { createImitation } from "./imitation.ts";
import { policyLoss, valueLoss } from "./ppo-loss.ts";
import { createUpdateLog, reportOf, type UpdateStats } from "./stats.ts";

/** One response of a rollout as an update sees it; per-token rows are as long as the response. */
export interface Experience extends Sequence {
  readonly oldLogprobs: Float32Array;
  readonly oldValues: Float32Array;
  readonly advantages: Float64Array;
  readonly returns: Float64Array;
  /** What the update imitates beside it. */
  readonly imitated?: Sequence;
}

/** What is updated, and the settings of the losses. */
export interface UpdateOptions {
  readonly policy: LanguageModel;
  readonly optimizer: Optimizer;
  /** Undefined where advantages need none. */
  readonly value: ValueFunction | undefined;
  /** The separate value function's optimizer; undefined when the policy's serves both. */
  readonly valueOptimizer: Optimizer | undefined;
  /** What each optimizer takes out of its gradients again. */
  readonly lossScale?: LossScale | undefined;
  readonly valueLossScale?: LossScale | undefined;
  readonly temperature: number;
  readonly clipRange: number;
  readonly clipRangeValue: number;
  readonly vfCoef: number;
  /** Weight of -log pi of what the experience imitates; 0 or undefined: of nothing. */
  readonly imitation?: number | undefined;
  /** Sequences a micro-batch, and positions a sequence. */
  readonly microBatch: number;
  readonly positions: number;
}

/** Learning rates of one update. */
export interface Rates {
  readonly lr: number;
  readonly valueLr: number;
}

interface Inputs {
  readonly inputs: SequenceInputs;
  readonly oldLogprobs: Tensor;
  readonly advantages: Tensor;
  readonly oldValues: Tensor;
  readonly returns: Tensor;
  readonly weights: Tensor;
  /** See {@link reportOf}. */
  readonly report: Tensor;
}

/** Updates policy and value function. */
export interface Updater {
  /** Submits one optimizer step on one minibatch; waits for no result. */
  step(minibatch: readonly Experience[], rates: Rates): Promise<void>;
  /** Means over the steps since the last call, with one readback. */
  stats(): Promise<UpdateStats>;
  dispose(): void;
}

/** Records the update's program. */
export async function createUpdater(options: UpdateOptions): Promise<Updater> {
  const { policy, optimizer, valueOptimizer, clipRange, microBatch: B, positions: T } = options;
  const { device } = policy.parameters;
  const program = await record(device, `ppo ${B}x${T}`, () => build(options));
  const imitation = options.imitation ? await createImitation(options) : undefined;
  const log = createUpdateLog(device, B, T, { clipRange, scaled: options.lossScale !== undefined });
  return {
    async step(minibatch, { lr, valueLr }) {
      const tokens = minibatch.reduce((n, e) => n + e.response.length, 0);
      for (let i = 0; i < minibatch.length; i += B) {
        const some = minibatch.slice(i, i + B);
        write(program, some, 1 / tokens);
        program.run();
        await log.keepPart({ some, tokens }, program.result.report);
      }
      // Over the minibatch's own tokens, as its policy gradient is.
      imitation?.add(
        minibatch.flatMap(({ imitated }) => imitated ?? []),
        options.imitation! / tokens,
      );
      optimizer.step(lr);
      valueOptimizer?.step(valueLr);
      await log.keepStep(optimizer.clip, ...(valueOptimizer ? [valueOptimizer.clip] : []));
    },
    stats: () => log.take(),
    dispose() {
      program.dispose();
      imitation?.dispose();
      log.dispose();
    },
  };
}

function build({
  policy,
  value,
  temperature,
  clipRange,
  clipRangeValue,
  vfCoef,
  lossScale,
  valueLossScale,
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
  const { logprobs } = policy.logprobs(hidden, inputs.targets, { temperature });
  const policyPart = policyLoss(logprobs, oldLogprobs, advantages, weights, clipRange);
  const valuePart =
    value && valueLoss(value.values(inputs.batch, hidden), oldValues, returns, weights, clipRangeValue);
  if (valuePart && value.kind === "shared") backward(add(policyPart, scale(valuePart, vfCoef)), lossScale);
  else {
    // With a trunk of its own the value loss has its own optimizer and scale, and no weight against the policy's.
    backward(policyPart, lossScale);
    if (valuePart) backward(valuePart, valueLossScale);
  }
  return {
    inputs,
    oldLogprobs,
    advantages,
    oldValues,
    returns,
    weights,
    report: reportOf(logprobs, policyPart, valuePart ?? scale(policyPart.detach(), 0)),
  };
}

function write({ result }: Program<Inputs>, some: readonly Experience[], weight: number): void {
  const { inputs } = result;
  writeSequences(inputs, some);
  const put = (to: Tensor, of: (one: Experience) => ArrayLike<number>): void =>
    to.write(spread(some, some.map(of), inputs));
  for (const name of ["oldLogprobs", "advantages", "oldValues", "returns"] as const)
    put(result[name], (one) => one[name]);
  put(result.weights, (one) => new Float32Array(one.response.length).fill(weight));
}
