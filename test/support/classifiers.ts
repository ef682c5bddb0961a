/** Programs that tests run classifiers with: logits of padded texts, and their cross-entropy with gradients. */
import { maskToRange } from "../../src/data/batch.ts";
import type { Program } from "../../src/gpu/program.ts";
import type { Batch, ScalarModel } from "../../src/nn/lm.ts";
import { takeRows } from "../../src/ops/gather.ts";
import { crossEntropy } from "../../src/ops/logprob.ts";
import { backward } from "../../src/optim/gradients.ts";
import { input, record, type Tensor } from "../../src/tensor/tensor.ts";
import { batchInput, type Padded, writeBatch } from "./models.ts";

/** Texts with their labels; and, of some encoders, the types of their tokens. */
export interface Labelled {
  readonly padded: Padded;
  readonly labels: readonly number[];
  readonly types?: readonly (readonly number[])[];
}

/** Runs of one batch. */
export interface ClassifierRun {
  run(): void;
  /** [B·labels] */
  logits(): Promise<Float32Array>;
  /** The mean over texts. */
  loss(): Promise<number>;
  dispose(): void;
}

interface Recorded {
  readonly batch: Batch;
  readonly read: Tensor;
  readonly labels: Tensor;
  readonly weights: Tensor;
  readonly logits: Tensor;
  readonly loss: Tensor;
}

/** A loss of logits [B, labels]; by default the cross-entropy of u32 labels [B], each text weighing f32 weights [B]. */
export type ClassifierLoss = (logits: Tensor, labels: Tensor, weights: Tensor) => Tensor;

/** Records the logits of a batch, and the way back from their loss. */
export async function classifierRun(
  model: ScalarModel,
  { padded, labels, types }: Labelled,
  lossOf: ClassifierLoss = crossEntropy,
): Promise<ClassifierRun> {
  const [B, T] = [padded.input_ids.length, padded.input_ids[0]!.length];
  const program: Program<Recorded> = await record(model.parameters.device, "classify", () => {
    const batch = { ...batchInput(B, T), ...(types && { types: input([B, T], "u32") }) };
    const [read, wanted, weights] = [input([B], "u32"), input([B], "u32"), input([B])];
    const logits = model.classLogits(takeRows(model.hidden(batch).reshape(B * T, -1), read));
    const loss = lossOf(logits, wanted, weights);
    if (model.parameters.trained) backward(loss);
    return { batch, read, labels: wanted, weights, logits: logits.detach(), loss: loss.detach() };
  });
  const { result } = program;
  writeBatch(result.batch, padded);
  if (types) result.batch.types!.write(types.flat());
  const range = maskToRange(padded.attention_mask.flat(), B, T);
  result.read.write(
    labels.map((_, b) => b * T + (model.reads === "first" ? range[2 * b]! : range[2 * b + 1]! - 1)),
  );
  result.labels.write([...labels]);
  result.weights.write(labels.map(() => 1 / B));
  return {
    run: () => program.run(),
    logits: () => result.logits.read(),
    loss: async () => (await result.loss.read())[0]!,
    dispose: () => program.dispose(),
  };
}
