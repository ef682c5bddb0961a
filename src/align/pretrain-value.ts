/**
 * A value function that has seen the cache: before PPO it learns to predict the terminal reward of the cached
 * responses, which costs no sample and no reward call. Policy and reference are still equal, so that the KL
 * penalty of these responses is zero and the terminal reward is their return at every token.
 */
import type { LanguageModel } from "../nn/lm.ts";
import { backward } from "../optim/gradients.ts";
import type { Optimizer } from "../optim/adamw.ts";
import { createRandom } from "../tensor/random.ts";
import { input, record, type Tensor } from "../tensor/tensor.ts";
import { type CacheEntry } from "./cache.ts";
import type { EmpiricalCdf } from "./cdf.ts";
import type { Objective, ObjectiveSettings } from "./objectives/index.ts";
import { valueLoss } from "./ppo-loss.ts";
import { positionsOf, type Sequence, sequenceInputs, spread, writeSequences } from "./sequences.ts";
import type { ValueFunction } from "./value-function.ts";

/** A cached response and the terminal reward it would get. */
export interface ValueExample extends Sequence {
  readonly target: number;
}

/**
 * The responses of the cache that keep their ids and log-probabilities, with their terminal rewards. A cached
 * response is left out of its own CDF nowhere: with M samples its rank is off by at most 1/(M+1).
 */
export function valueExamples(
  entries: readonly CacheEntry[],
  cdfs: readonly EmpiricalCdf[],
  objective: Objective,
  settings: ObjectiveSettings,
): ValueExample[] {
  return entries.flatMap((entry, p) =>
    (entry.responseIds ?? []).map((response, m) => {
      const score = entry.rewards[m]!;
      const finished = entry.finished?.[m] ?? true;
      const logProbRef = entry.logprobs?.[m] ?? -Infinity;
      const target = objective.terminal({ score, logProbRef, cdf: cdfs[p]!.at(score, { finished }) }, settings);
      return { query: entry.promptIds, response, target };
    }),
  );
}

/** How long and how fast to learn. */
export interface PretrainOptions {
  readonly policy: LanguageModel;
  readonly value: ValueFunction;
  readonly optimizer: Optimizer;
  readonly lr: number;
  /** Responses a step. */
  readonly batch: number;
  /** Passes over the examples. */
  readonly epochs: number;
  readonly seed: number;
  readonly onStep?: (done: number, total: number, loss: number) => void;
}

/** Trains a separate value function on `examples`. The loss is 1/2 the mean square error a token. */
export async function pretrainValue(examples: readonly ValueExample[], options: PretrainOptions): Promise<void> {
  const { policy, value, optimizer, lr, batch: B, epochs, seed, onStep } = options;
  const { device } = policy.parameters;
  const T = positionsOf(examples);
  const program = await record(device, `value ${B}x${T}`, () => build(value, B, T));
  const stepsPerEpoch = Math.floor(examples.length / B);
  for (let step = 0; step < epochs * stepsPerEpoch; step++) {
    const epoch = Math.floor(step / stepsPerEpoch);
    const order = createRandom(seed, `value pass ${epoch}`).permutation(examples.length);
    const first = (step % stepsPerEpoch) * B;
    const some = order.slice(first, first + B).map((e) => examples[e]!);
    const tokens = some.reduce((n, e) => n + e.response.length, 0);
    const { inputs, returns, weights, loss } = program.result;
    writeSequences(inputs, some);
    returns.write(spread(some, some.map((e) => new Float32Array(e.response.length).fill(e.target)), inputs));
    weights.write(spread(some, some.map((e) => new Float32Array(e.response.length).fill(1 / tokens)), inputs));
    program.run();
    optimizer.step(lr);
    onStep?.(step + 1, epochs * stepsPerEpoch, (await loss.read())[0]!);
  }
  program.dispose();
}

function build(value: ValueFunction, B: number, T: number): { inputs: ReturnType<typeof sequenceInputs>; returns: Tensor; weights: Tensor; loss: Tensor } {
  const inputs = sequenceInputs(B, T);
  const returns = input([B * T], "f32", "returns");
  const weights = input([B * T], "f32", "weights");
  const unread = returns; // a separate value function does not look at the policy's hidden states
  const values = value.values(inputs.batch, unread);
  const loss = valueLoss(values, values.detach(), returns, weights, 1e30);
  backward(loss);
  return { inputs, returns, weights, loss };
}
