/** Programs that tests run models with: scores of a padded batch, and its loss with gradients. */
import { maskToRange } from "../../src/data/batch.ts";
import type { ProgramMemory } from "../../src/gpu/encode.ts";
import type { Batch, LanguageModel } from "../../src/nn/lm.ts";
import { tokenLogprobs, weightedNll } from "../../src/ops/logprob.ts";
import { backward } from "../../src/optim/gradients.ts";
import type { LossScale } from "../../src/optim/loss-scale.ts";
import { input, readAll, record, type Tensor } from "../../src/tensor/tensor.ts";

/** A batch as the goldens spell it. */
export interface Padded {
  readonly input_ids: readonly (readonly number[])[];
  readonly attention_mask: readonly (readonly number[])[];
  readonly position_ids: readonly (readonly number[])[];
}

/** The inputs of a model, for a program being recorded. */
export function batchInput(B: number, T: number): Batch {
  return { ids: input([B, T], "u32"), positions: input([B, T], "u32"), range: input([B, 2], "u32") };
}

/** Fills {@link batchInput}. */
export function writeBatch(batch: Batch, padded: Padded): void {
  const [B, T] = [batch.ids.dim(0), batch.ids.dim(1)];
  batch.ids.write(padded.input_ids.flat());
  batch.positions.write(padded.position_ids.flat());
  batch.range.write(maskToRange(padded.attention_mask.flat(), B, T));
}

/** The token after each one [B·T], and 1 where both are real. */
function targetsOf({ input_ids, attention_mask }: Padded): { targets: number[]; real: number[] } {
  const targets = input_ids.flatMap((row) => [...row.slice(1), 0]);
  const real = attention_mask.flatMap((row) => row.map((m, t) => m * (row[t + 1] ?? 0)));
  return { targets, real };
}

/** Logits [B, T, V], hidden states [B, T, C] and each row's real tokens' log-probabilities. */
export async function scoreProgram(
  model: LanguageModel,
  padded: Padded,
  temperature = 1,
): Promise<{ logits: Float32Array; hidden: Float32Array; logprobs: number[][] }> {
  const [B, T] = [padded.input_ids.length, padded.input_ids[0]!.length];
  const { device } = model.parameters;
  const program = await record(device, "score", () => {
    const batch = batchInput(B, T);
    const targets = input([B * T], "u32");
    const hidden = model.hidden(batch);
    const logits = model.logits(hidden.reshape(B * T, -1));
    const [logprobs] = tokenLogprobs(logits, targets, { temperature });
    return { batch, targets, hidden, logits, logprobs };
  });
  const { batch, targets, hidden, logits, logprobs } = program.result;
  const { targets: next, real } = targetsOf(padded);
  writeBatch(batch, padded);
  targets.write(next);
  program.run();
  const [h, l, p] = (await readAll(device, [hidden, logits, logprobs])) as [
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  program.dispose();
  const rows = padded.input_ids.map((row, b) =>
    row.flatMap((_, t) => (real[b * T + t] ? [p[b * T + t]!] : [])),
  );
  return { logits: l, hidden: h, logprobs: rows };
}

/** A program that adds the gradients of the mean loss of one batch. */
export interface LossProgram {
  run(): void;
  loss(): Promise<number>;
  readonly memory: ProgramMemory;
  dispose(): void;
}

/** Records the mean cross-entropy over all real targets, and the way back. */
export async function lossProgram(
  model: LanguageModel,
  padded: Padded,
  lossScale?: LossScale,
): Promise<LossProgram> {
  const [B, T] = [padded.input_ids.length, padded.input_ids[0]!.length];
  const program = await record(model.parameters.device, "loss", () => {
    const batch = batchInput(B, T);
    const [targets, weights] = [input([B * T], "u32"), input([B * T])];
    const { logprobs } = model.logprobs(model.hidden(batch).reshape(B * T, -1), targets);
    const loss: Tensor = weightedNll(logprobs, weights);
    backward(loss, lossScale);
    return { batch, targets, weights, loss };
  });
  const { batch, targets, weights, loss } = program.result;
  const { targets: next, real } = targetsOf(padded);
  const count = real.reduce((a, b) => a + b);
  writeBatch(batch, padded);
  targets.write(next);
  weights.write(real.map((r) => r / count));
  return {
    run: () => program.run(),
    loss: async () => (await loss.read())[0]!,
    memory: program.memory,
    dispose: () => program.dispose(),
  };
}
