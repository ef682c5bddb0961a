/** Matrix products at the shapes of small GPTs' layers, in the three transpositions that training needs. */
import type { Device } from "../../gpu/device.ts";
import { matmul } from "../../ops/matmul.ts";
import type { MatmulAttrs } from "../../ops/product.ts";
import { input, record } from "../../tensor/tensor.ts";
import { type Job, type Plan, relativeError, values } from "../job.ts";
import { LARGE_PRODUCT, PRODUCTS } from "../models.ts";

/** Which operand is stored transposed. */
export const MODES = { nn: {}, nt: { transposeB: true }, tn: { transposeA: true } } as const;

/** Every shape in every mode; on matrix units too where there are some, of f16 operands; the large one on GPUs. */
export const matmulPlans: readonly Plan[] = [...PRODUCTS, LARGE_PRODUCT].flatMap((shape) =>
  (["nn", "nt", "tn"] as const).flatMap((mode) => [
    {
      name: `matmul ${mode} ${shape.join("x")}`,
      runs: (device: Device) => shape !== LARGE_PRODUCT || !device.software,
      make: (device: Device) => makeMatmul(device, shape, MODES[mode]),
    },
    {
      name: `matmul ${mode} ${shape.join("x")} matrix`,
      runs: (device: Device) => device.has("matrix") && !(device.software && shape === LARGE_PRODUCT),
      make: (device: Device) => makeMatmul(device, shape, MODES[mode], { dtype: "f16" }),
    },
  ]),
);

/** Of 68 to 4096 terms whose factors are rounded to f16. */
const ROUNDED = 2e-3;

/** One product of f32 or f16 operands; checked at 500 entries against float64. `attrs` may name the kernel (`variant`). */
export async function makeMatmul(
  device: Device,
  [M, N, K]: (typeof PRODUCTS)[number],
  attrs: MatmulAttrs,
  { dtype = "f32" }: { readonly dtype?: "f32" | "f16" } = {},
): Promise<Job> {
  const { transposeA = false, transposeB = false } = attrs;
  const [a, b] = [values("a", [M, K]), values("b", [K, N])];
  const program = await record(device, `matmul ${M}x${N}x${K}`, () => {
    const tensors = {
      a: input(transposeA ? [K, M] : [M, K], dtype),
      b: input(transposeB ? [N, K] : [K, N], dtype),
    };
    return { ...tensors, c: matmul(tensors.a, tensors.b, undefined, attrs) };
  });
  const { result } = program;
  result.a.write(a);
  result.b.write(b);
  const entry = (m: number, n: number): number => {
    let sum = 0;
    for (let k = 0; k < K; k++)
      sum += a[transposeA ? k * M + m : m * K + k]! * b[transposeB ? n * K + k : k * N + n]!;
    return sum;
  };
  return {
    flops: 2 * M * N * K,
    bytes: 0,
    tolerance: dtype === "f16" ? ROUNDED : 1e-5,
    submit: (times) => program.run(times),
    dispose: () => program.dispose(),
    async check() {
      program.run();
      const c = await result.c.read();
      const picks = Array.from({ length: 500 }, (_, i) => (i * 7919 + 13) % (M * N)); // 7919 is prime: rows and columns mix
      return relativeError(picks.map((i) => c[i]!), picks.map((i) => entry(Math.floor(i / N), i % N))); // prettier-ignore
    },
  };
}
