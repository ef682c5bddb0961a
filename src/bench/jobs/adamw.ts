/** The optimizer: one step over n parameters. */
import type { Device } from "../../gpu/device.ts";
import { createParameters } from "../../nn/parameters.ts";
import { createAdamW } from "../../optim/adamw.ts";
import { type Job, type Plan, relativeError, values } from "../job.ts";

/** A million parameters, and the sizes of the small GPT of the step benchmarks. */
export const adamwPlans: readonly Plan[] = [1 << 20, 13_800_000].map((n) => ({
  name: `adamw ${n}`,
  make: (device) => makeAdamW(device, n),
}));

/** Reads value, gradient and both moments, writes them all (the gradient is cleared). */
async function makeAdamW(device: Device, n: number): Promise<Job> {
  const specs = [{ name: "w", shape: [n], init: "normal", decay: true }] as const;
  const parameters = createParameters(device, specs, { trainable: true, seed: 1 });
  const settings = { betas: [0.9, 0.95] as const, eps: 1e-8, weightDecay: 0.1 };
  const adamw = await createAdamW(device, parameters, settings);
  const w = parameters.get("w");
  return {
    flops: 0,
    bytes: 8 * 4 * n,
    tolerance: 1e-6,
    submit(times) {
      for (let i = 0; i < times; i++) adamw.step(1e-3);
    },
    dispose() {
      adamw.dispose();
      parameters.dispose();
    },
    async check() {
      const before = await w.read();
      const g = values("gradient", [n]);
      w.grad!.write(g);
      adamw.step(1e-3);
      // After one step the bias-corrected moments are g and g²: θ (1 - lr wd) - lr g / (|g| + eps)
      const expected = before.map((x, i) => x * (1 - 1e-3 * 0.1) - (1e-3 * g[i]!) / (Math.abs(g[i]!) + 1e-8));
      return relativeError(await w.read(), expected);
    },
  };
}
