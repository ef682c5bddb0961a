/** Our training step: what `vbon sft` runs, over one batch again and again. */
import {
  blockSource,
  createModel,
  type Device,
  packDocuments,
  type SftSettings,
  trainLanguageModel,
} from "../../../src/index.ts";
import type { StepRecord } from "../../../src/train/metrics.ts";
import { createRandom } from "../../../src/tensor/random.ts";
import type { Work } from "../items.ts";
import type { Prepared } from "../serve.ts";

/** Whole steps of the training loop: gather the batch, forward, backward, AdamW, the loss read back. */
export async function prepareTrain(
  device: Device,
  { model: json, rows, length, precision }: Extract<Work, { readonly kind: "train" }>,
): Promise<Prepared> {
  const made = createModel(device, json, { trainable: true, seed: 1 });
  const model = made.with(made.parameters, { precision: precision ?? "f32" });
  const random = createRandom(1, "text");
  const text = Array.from({ length: rows * length }, () => random.integer(model.config.vocabSize));
  const train = blockSource(packDocuments([text], { blockSize: length, eosId: 0 }));
  const stepper = createStepper();
  // The loop reads losses every `window` steps, and whole windows are what can be timed; a software adapter reads each.
  const window = device.software ? 1 : 10;
  const settings: SftSettings = {
    ...PLAIN,
    batch: rows,
    logEvery: window,
    ...(precision && { lossScale: {} }),
  };
  void trainLanguageModel(model, { train }, settings, { onRecord: stepper.onRecord }).catch(stepper.fail);
  const losses = [...(await stepper.advance(window)), ...(await stepper.advance(3 * window))];
  const [first, later] = [losses[0], losses.at(-1)];
  if (!(later! < first!)) throw new Error(`train: the loss does not fall: ${first}, ${later}`);
  const run = async (times: number): Promise<void> => void (await stepper.advance(times * window));
  return {
    jobs: [{ name: "step", units: rows * length * window, run }],
    check: `loss ${first!.toFixed(3)}, ${later!.toFixed(3)} some steps later`,
  };
}

/** Steps without an end, and nothing beside them. */
const PLAIN = {
  steps: Number.MAX_SAFE_INTEGER,
  accumulate: 1,
  lr: 1e-3,
  schedule: "constant",
  warmup: 0,
  betas: [0.9, 0.95],
  weightDecay: 0.1,
  gradClip: 0,
  seed: 1,
  evalEvery: 0,
  saveEvery: 0,
  sampleEvery: 0,
  evalItems: 0,
} as const;

interface Stepper {
  /** Lets the loop go on for `steps` steps. @returns their losses */
  advance(steps: number): Promise<number[]>;
  onRecord(record: StepRecord): Promise<void>;
  fail(error: unknown): void;
}

/** Holds a training loop, which waits for the record of each step to be written, until it is asked for more steps. */
function createStepper(): Stepper {
  let losses: number[] = [];
  let wanted = 0;
  let release = (): void => {};
  let finish: (losses: number[]) => void = () => {};
  let refuse: (error: unknown) => void = () => {};
  return {
    advance(steps) {
      wanted = steps;
      losses = [];
      return new Promise((resolve, reject) => {
        [finish, refuse] = [resolve, reject];
        release();
      });
    },
    async onRecord({ loss }) {
      losses.push(Number(loss));
      if (losses.length < wanted) return;
      const next = new Promise<void>((resolve) => (release = resolve));
      finish(losses);
      await next;
    },
    fail: (error) => refuse(error),
  };
}
