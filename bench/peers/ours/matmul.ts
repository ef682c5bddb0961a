/** Our products: the jobs of `vbon bench`. */
import { makeMatmul, MODES } from "../../../src/bench/jobs/matmul.ts";
import type { Device } from "../../../src/index.ts";
import type { Work } from "../items.ts";
import { checked, type Job, type Prepared } from "../serve.ts";

/** Every shape in every mode. */
export async function prepareMatmul(
  device: Device,
  { shapes, modes, precision }: Extract<Work, { readonly kind: "matmul" }>,
): Promise<Prepared> {
  const jobs: Job[] = [];
  let worst = 0;
  for (const shape of shapes) {
    for (const mode of modes) {
      const name = `${mode} ${shape.join("x")}`;
      const job = await makeMatmul(device, shape, MODES[mode], precision === "mixed" ? { dtype: "f16" } : {});
      worst = Math.max(worst, await checked(name, job));
      const run = async (times: number): Promise<void> => {
        await job.submit(times);
        await device.drain();
      };
      jobs.push({ name, units: job.flops / 1e9, run });
    }
  }
  return { jobs, check: `largest error ${worst.toExponential(0)} of the largest value` };
}
