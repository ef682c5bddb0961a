/** Whole training steps: forward, backward, clipping, AdamW. */
import type { Device } from "../../gpu/device.ts";
import { hasHalves } from "../../ops/cast.ts";
import { flopsOf, type Job, type Plan } from "../job.ts";
import { GPT2_SMALL, SMALL_GPT, STORIES, TINY_GPT } from "../models.ts";
import { createTrainer, type StepShape } from "../trainer.ts";

/** The three that are compared with other libraries (`bench/peers`). */
export const STEPS: readonly StepShape[] = [
  { name: "GPT 4 layers d128 h4 T64 B32 V512", sizes: TINY_GPT, B: 32, T: 64 },
  { name: "GPT 6 layers d384 h6 T128 B8 V8192", sizes: SMALL_GPT, B: 8, T: 128 },
  { name: "stories260K T56 B64", sizes: STORIES, B: 64, T: 56 },
];

/** For GPUs alone. */
const GPT2: StepShape = { name: "GPT-2 small T1024 B8", sizes: GPT2_SMALL, B: 8, T: 1024 };

/** The same with f16 operands, where there are any. */
const mixed = (shape: StepShape): StepShape => ({
  ...shape,
  name: `mixed ${shape.name}`,
  precision: "mixed",
});

export const stepPlans: readonly Plan[] = [GPT2, ...STEPS]
  .flatMap((f32) => [f32, mixed(f32)])
  .map((shape) => ({
    name: `step ${shape.name}`,
    runs: (device) =>
      (shape.precision !== "mixed" || hasHalves(device)) && !(device.software && shape.sizes === GPT2_SMALL),
    make: (device) => makeStep(device, shape),
  }));

const CHECKED = 3;

/** There is no reference for a whole step; that it learns and that it repeats itself to the last bit can be checked. */
async function makeStep(device: Device, shape: StepShape): Promise<Job> {
  const trainer = await createTrainer(device, shape);
  return {
    flops: flopsOf(trainer.program),
    bytes: 0,
    tokens: shape.B * shape.T,
    tolerance: 0,
    submit(times) {
      for (let i = 0; i < times; i++) trainer.step();
    },
    dispose: () => trainer.dispose(),
    async check() {
      const [first, last] = await someSteps(trainer);
      if (!(last < first))
        throw new Error(`the loss of one batch does not fall: ${first}, after ${CHECKED} steps ${last}`);
      const again = await createTrainer(device, shape);
      await someSteps(again);
      const [a, b] = [await trainer.weights(), await again.weights()];
      again.dispose();
      return a.reduce((n, bits, i) => n + bits.filter((word, k) => word !== b[i]![k]).length, 0);
    },
  };
}

async function someSteps(trainer: Awaited<ReturnType<typeof createTrainer>>): Promise<[number, number]> {
  trainer.step();
  const first = await trainer.loss();
  for (let i = 1; i < CHECKED; i++) trainer.step();
  return [first, await trainer.loss()];
}
