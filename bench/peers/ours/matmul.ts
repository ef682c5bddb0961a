/** Our products, each recorded as a program. */
import { type Device, input, ops, record } from "../../../src/index.ts";
import { createRandom } from "../../../src/tensor/random.ts";
import type { Mode, Work } from "../items.ts";
import type { Job, Prepared } from "../serve.ts";

type Shape = readonly [number, number, number];

/** Every shape in every mode, compared with float64 at 200 entries. */
export async function prepareMatmul(
  device: Device,
  { shapes, modes }: Extract<Work, { readonly kind: "matmul" }>,
): Promise<Prepared> {
  const jobs: Job[] = [];
  let worst = 0;
  for (const shape of shapes) {
    for (const mode of modes) {
      const { job, error } = await prepareOne(device, mode, shape);
      if (!(error < 1e-4)) throw new Error(`${job.name}: relative error ${error}`);
      worst = Math.max(worst, error);
      jobs.push(job);
    }
  }
  return { jobs, check: `largest error ${worst.toExponential(0)} of the largest value` };
}

async function prepareOne(
  device: Device,
  mode: Mode,
  [M, N, K]: Shape,
): Promise<{ job: Job; error: number }> {
  const name = `${mode} ${M}x${N}x${K}`;
  const [left, right] = [mode === "tn" ? [K, M] : [M, K], mode === "nt" ? [N, K] : [K, N]];
  const program = await record(device, name, () => {
    const [a, b] = [input(left), input(right)];
    return { a, b, c: ops.matmul(a, b, undefined, { transposeA: mode === "tn", transposeB: mode === "nt" }) };
  });
  const { a, b, c } = program.result;
  const [x, y] = [normal("a", M * K), normal("b", K * N)];
  a.write(x);
  b.write(y);
  program.run();
  const got = await c.read();
  let [error, largest] = [0, 1e-30];
  for (let i = 0; i < 200; i++) {
    const [m, n] = [(i * 7919) % M, (i * 104729) % N];
    let sum = 0;
    for (let k = 0; k < K; k++) sum += x[mode === "tn" ? k * M + m : m * K + k]! * y[mode === "nt" ? n * K + k : k * N + n]!; // prettier-ignore
    error = Math.max(error, Math.abs(got[m * N + n]! - sum));
    largest = Math.max(largest, Math.abs(sum));
  }
  const run = async (times: number): Promise<void> => {
    program.run(times);
    await device.drain();
  };
  return { job: { name, units: 2e-9 * M * N * K, run }, error: error / largest };
}

function normal(name: string, size: number): Float32Array {
  const random = createRandom(1, name);
  return Float32Array.from({ length: size }, () => random.normal());
}
