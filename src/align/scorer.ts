/** What the models say of given responses: log-probabilities, values, entropy and the full KL, token by token. */
import { batchesByLength, bucketLength } from "../data/batch.ts";
import type { Program } from "../gpu/program.ts";
import type { LanguageModel } from "../nn/lm.ts";
import { readAll, record, type Tensor } from "../tensor/tensor.ts";
import {
  collect,
  positionsOf,
  type Sequence,
  type SequenceInputs,
  sequenceInputs,
  writeSequences,
} from "./sequences.ts";
import type { ValueFunction } from "./value/function.ts";

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

/**
 * Scores responses in batches of like length; programs are recorded once for each length bucket. A response's scores
 * depend neither on the others nor on the padding.
 */
export interface Scorer {
  /** Rows in the order of `sequences`. */
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

/** In the order of a program's outputs; the last is not there without a value function. */
const OUTPUTS = ["logprobs", "refLogprobs", "entropy", "kl", "values"] as const;

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
    const reference = { model: refPolicy, hidden: refPolicy.hidden(inputs.batch).reshape(rows, -1) };
    const { logprobs, entropy, otherLogprobs, kl } = policy.compare(hidden, inputs.targets, reference, {
      temperature,
    });
    const values = value ? [value.values(inputs.batch, hidden)] : [];
    return { inputs, outputs: [logprobs, otherLogprobs, entropy, kl, ...values] };
  };

  const bucket = (positions: number): number => bucketLength(positions, policy.config.blockSize, 8);

  return {
    prepare: async (positions) => void (await programFor(bucket(positions))),
    async score(sequences) {
      const scores = emptyScores(sequences.length);
      const lengths = sequences.map((s) => positionsOf([s]));
      for (const batch of batchesByLength(lengths, () => B)) {
        const some = batch.map((i) => sequences[i]!);
        const T = bucket(positionsOf(some));
        const program = await programFor(T);
        writeSequences(program.result.inputs, some);
        program.run();
        const outputs = await readAll(device, program.result.outputs);
        OUTPUTS.forEach((name, o) => {
          const rows = collect(some, outputs[o] ?? new Float32Array(B * T), T);
          batch.forEach((i, b) => (scores[name][i] = rows[b]!));
        });
      }
      return scores;
    },
    dispose: () => programs.forEach((program) => void program.then((p) => p.dispose())),
  };
}

function emptyScores(n: number): Scores {
  const rows = (): Float32Array[] => Array.from({ length: n });
  return { logprobs: rows(), refLogprobs: rows(), entropy: rows(), kl: rows(), values: rows() };
}
