/** What the models say of given responses: log-probabilities, values, entropy and the full KL, token by token. */
import type { LanguageModel } from "../nn/lm.ts";
import { fullKl, tokenLogprobs } from "../ops/logprob.ts";
import type { Program } from "../gpu/program.ts";
import { readAll, record, type Tensor } from "../tensor/tensor.ts";
import {
  collect,
  positionsOf,
  type Sequence,
  type SequenceInputs,
  sequenceInputs,
  writeSequences,
} from "./sequences.ts";
import { bucketLength } from "../data/batch.ts";
import type { ValueFunction } from "./value-function.ts";

/** Per-token rows, one for each response, as long as it. Natural logarithms. */
export interface Scores {
  /** log p of each token under the policy, at the temperature. */
  readonly logprobs: Float32Array[];
  readonly refLogprobs: Float32Array[];
  /** Entropy of the policy's next-token distribution. */
  readonly entropy: Float32Array[];
  /** KL(policy || reference) of the next-token distributions, over the full vocabulary. */
  readonly kl: Float32Array[];
  /** Values; zeros without a value function. */
  readonly values: Float32Array[];
}

/** Scores responses in batches; programs are recorded once for each length bucket. */
export interface Scorer {
  score(sequences: readonly Sequence[]): Promise<Scores>;
  /** Records the program for sequences of `positions` positions ahead of their first use. */
  prepare(positions: number): Promise<void>;
  dispose(): void;
}

/** Who is asked, and how. */
export interface ScorerOptions {
  readonly policy: LanguageModel;
  readonly refPolicy: LanguageModel;
  readonly value?: ValueFunction | undefined;
  readonly temperature: number;
  /** Sequences a batch. */
  readonly batch: number;
}

type ScoreProgram = Program<{ inputs: SequenceInputs; outputs: Tensor[] }>;

/** Makes a scorer. `refPolicy` must hold weights of its own that nothing trains. */
export function createScorer({ policy, refPolicy, value, temperature, batch: B }: ScorerOptions): Scorer {
  const { device } = policy.parameters;
  const programs = new Map<number, Promise<ScoreProgram>>();
  const programFor = (T: number): Promise<ScoreProgram> => {
    const known = programs.get(T) ?? record(device, `score ${B}x${T}`, () => build(T));
    programs.set(T, known);
    return known;
  };

  const build = (T: number): { inputs: SequenceInputs; outputs: Tensor[] } => {
    const inputs = sequenceInputs(B, T);
    const rows = B * T;
    const hidden = policy.hidden(inputs.batch).reshape(rows, -1);
    const logits = policy.logits(hidden);
    const refLogits = refPolicy.logits(refPolicy.hidden(inputs.batch).reshape(rows, -1));
    const [logprobs, entropy] = tokenLogprobs(logits, inputs.targets, { temperature });
    const [refLogprobs] = tokenLogprobs(refLogits, inputs.targets, { temperature });
    const kl = fullKl(logits, refLogits, { temperature });
    const values = value ? [value.values(inputs.batch, hidden)] : [];
    return { inputs, outputs: [logprobs, refLogprobs, entropy, kl, ...values] };
  };

  const bucket = (positions: number): number => bucketLength(positions, policy.config.blockSize, 8);

  return {
    prepare: async (positions) => void (await programFor(bucket(positions))),
    async score(sequences) {
      const parts: Scores[] = [];
      const T = bucket(positionsOf(sequences));
      const program = await programFor(T);
      for (let i = 0; i < sequences.length; i += B) {
        const some = sequences.slice(i, i + B);
        writeSequences(program.result.inputs, some);
        program.run();
        const [logprobs, refLogprobs, entropy, kl, values] = await readAll(device, program.result.outputs);
        const pick = (x: Float32Array | undefined): Float32Array[] =>
          collect(some, x ?? new Float32Array(B * T), T);
        parts.push({
          logprobs: pick(logprobs),
          refLogprobs: pick(refLogprobs),
          entropy: pick(entropy),
          kl: pick(kl),
          values: pick(values),
        });
      }
      return joined(parts);
    },
    dispose: () => programs.forEach((program) => void program.then((p) => p.dispose())),
  };
}

function joined(parts: readonly Scores[]): Scores {
  return {
    logprobs: parts.flatMap((p) => p.logprobs),
    refLogprobs: parts.flatMap((p) => p.refLogprobs),
    entropy: parts.flatMap((p) => p.entropy),
    kl: parts.flatMap((p) => p.kl),
    values: parts.flatMap((p) => p.values),
  };
}
