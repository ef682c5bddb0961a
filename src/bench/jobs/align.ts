/** One update of alignment: clipped losses of policy and value over a minibatch, at the shapes of `vbon demo`. */
import { createModel } from "../../../models/model.ts";
import { createScorer } from "../../align/scorer.ts";
import type { Sequence } from "../../align/sequences.ts";
import { createUpdater, type Experience, type Updater } from "../../align/update/ppo.ts";
import { separateValue } from "../../align/value/function.ts";
import type { Device } from "../../gpu/device.ts";
import { createAdamW } from "../../optim/adamw.ts";
import { createRandom } from "../../tensor/random.ts";
import { readAll } from "../../tensor/tensor.ts";
import type { Job, Plan } from "../job.ts";
import { MOVIE_LM } from "../models.ts";

const [RESPONSES, PROMPT, LENGTH] = [64, 8, 16];

export const alignPlans: readonly Plan[] = [
  { name: `align update, ${RESPONSES} responses of ${LENGTH} tokens`, make: makeAlign },
];

interface Pair {
  readonly updater: Updater;
  readonly experience: readonly Experience[];
  bits(): Promise<Uint32Array>;
  dispose(): void;
}

/** A fresh policy's first update finds its own log-probabilities: ratio 1, KL 0. A second fresh policy ends with the same bits. */
async function makeAlign(device: Device): Promise<Job> {
  const pair = await create(device);
  const rates = { lr: 2e-4, valueLr: 5e-4 };
  return {
    flops: 0,
    bytes: 0,
    tokens: RESPONSES * LENGTH,
    tolerance: 1e-6,
    async submit(times) {
      for (let i = 0; i < times; i++) await pair.updater.step(pair.experience, rates);
      await pair.updater.stats();
    },
    dispose: () => pair.dispose(),
    async check() {
      await pair.updater.step(pair.experience, rates);
      const { approxKl } = await pair.updater.stats();
      const again = await create(device);
      await again.updater.step(again.experience, rates);
      const [a, b] = [await pair.bits(), await again.bits()];
      again.dispose();
      if (a.some((word, i) => word !== b[i])) throw new Error("the same update twice gives other weights");
      return Math.abs(approxKl);
    },
  };
}

async function create(device: Device): Promise<Pair> {
  const policy = createModel(device, MOVIE_LM, { trainable: true, seed: 1 });
  const value = await separateValue(policy, 2);
  const settings = { gradClip: 1 };
  const optimizer = await createAdamW(device, policy.parameters, settings);
  const valueOptimizer = await createAdamW(device, value.parameters, settings);
  const updater = await createUpdater({
    policy,
    optimizer,
    value,
    valueOptimizer,
    temperature: 0.7,
    clipRange: 0.2,
    clipRangeValue: 0.2,
    vfCoef: 1,
    microBatch: RESPONSES,
    positions: PROMPT + LENGTH,
  });
  const sequences = sequencesOf(policy.config.vocabSize);
  const scorer = createScorer({ policy, refPolicy: policy, value, temperature: 0.7, batch: RESPONSES });
  const { logprobs, values } = await scorer.score(sequences);
  const random = createRandom(1, "advantages");
  const normal = (): Float64Array => Float64Array.from({ length: LENGTH }, () => random.normal());
  const experience = sequences.map((sequence, i) => ({
    ...sequence,
    oldLogprobs: logprobs[i]!,
    oldValues: values[i]!,
    advantages: normal(),
    returns: normal(),
  }));
  return {
    updater,
    experience,
    async bits() {
      const all = await readAll(
        device,
        [...policy.parameters].map(([, tensor]) => tensor),
      );
      return Uint32Array.from(all.flatMap(({ buffer }) => [...new Uint32Array(buffer)]));
    },
    dispose() {
      for (const made of [scorer, updater, optimizer, valueOptimizer, value.parameters, policy.parameters])
        made.dispose();
    },
  };
}

function sequencesOf(vocabulary: number): Sequence[] {
  const random = createRandom(1, "sequences");
  const some = (n: number): number[] => Array.from({ length: n }, () => random.integer(vocabulary));
  return Array.from({ length: RESPONSES }, () => ({ query: some(PROMPT), response: some(LENGTH) }));
}
