/** Averages of weights along a run (Polyak & Juditsky 1992): less of the noise that single updates leave. */
import { loadKernel } from "../gpu/kernel.ts";
import { rowsIn, rowsInBinding, spansOf } from "../ops/spans.ts";
import { call, strided } from "../tensor/op.ts";
import { input, record, type Tensor } from "../tensor/tensor.ts";

const kernel = await loadKernel("average");

/** A running mean of named tensors. */
export interface Average {
  /** Mixes the present values in, with weight `rate`; without one, after k calls the average is that of all k. */
  add(rate?: number): void;
  /** Calls of {@link Average.add} so far; a checkpoint restores it together with the averages. */
  count: number;
  /** Frees its program; the averages stay. */
  dispose(): void;
}

/**
 * Averages `values` into `averages`, tensors of the same names.
 * @throws ConfigError when a name is missing in `averages`
 */
export async function createAverage(
  values: Iterable<readonly [string, Tensor]>,
  averages: { get(name: string): Tensor },
): Promise<Average> {
  const pairs = [...values].map(([name, tensor]) => [tensor, averages.get(name)] as const);
  const { device } = pairs[0]![0];
  const program = await record(device, "average", () => {
    const rate = input([1], "f32", "rate");
    for (const [tensor, average] of pairs) {
      for (const part of spansOf(tensor.dim(0), rowsInBinding(tensor))) {
        const present = rowsIn(tensor, part);
        const n4 = Math.ceil(present.size / 4);
        call(kernel, "update", {
          bindings: { values: present, rate, average: rowsIn(average, part) },
          params: { n4 },
          workgroups: strided(n4),
        });
      }
    }
    return rate;
  });
  const average: Average = {
    count: 0,
    add(rate) {
      average.count++;
      program.result.write([rate ?? 1 / average.count]);
      program.run();
    },
    dispose: () => program.dispose(),
  };
  return average;
}
