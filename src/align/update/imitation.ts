/** Imitation beside policy gradients: -w log pi of given responses, added to the gradient of the same optimizer step. */
import type { LanguageModel } from "../../nn/lm.ts";
import { mul } from "../../ops/binary.ts";
import { sum } from "../../ops/reduce.ts";
import { neg } from "../../ops/unary.ts";
import { backward } from "../../optim/gradients.ts";
import type { LossScale } from "../../optim/loss-scale.ts";
import { input, record } from "../../tensor/tensor.ts";
import { type Sequence, sequenceInputs, spread, writeSequences } from "../sequences.ts";

/** Who imitates, and in what portions. */
export interface ImitationOptions {
  readonly policy: LanguageModel;
  readonly temperature: number;
  /** Of the policy's optimizer. */
  readonly lossScale?: LossScale | undefined;
  /** Sequences a forward and backward pass, and positions a sequence. */
  readonly microBatch: number;
  readonly positions: number;
}

/** Adds gradients. */
export interface Imitation {
  /** Adds the gradient of -weight times the sum of log pi over the responses' tokens. */
  add(sequences: readonly Sequence[], weight: number): void;
  dispose(): void;
}

/** Records the program. */
export async function createImitation({
  policy,
  temperature,
  lossScale,
  microBatch: B,
  positions: T,
}: ImitationOptions): Promise<Imitation> {
  const program = await record(policy.parameters.device, `imitation ${B}x${T}`, () => {
    const inputs = sequenceInputs(B, T);
    const weights = input([B * T], "f32", "weights");
    const hidden = policy.hidden(inputs.batch).reshape(B * T, -1);
    const { logprobs } = policy.logprobs(hidden, inputs.targets, { temperature });
    backward(neg(sum(mul(weights, logprobs))), lossScale);
    return { inputs, weights };
  });
  const { inputs, weights } = program.result;
  return {
    add(sequences, weight) {
      for (let i = 0; i < sequences.length; i += B) {
        const some = sequences.slice(i, i + B);
        writeSequences(inputs, some);
        const rows = some.map(({ response }) => new Float32Array(response.length).fill(weight));
        weights.write(spread(some, rows, inputs));
        program.run();
      }
    },
    dispose: () => program.dispose(),
  };
}
