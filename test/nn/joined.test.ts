/** One matmul over neighbouring weights, and the way out where they are no neighbours. */
import { afterAll, expect, it } from "vitest";
import { joined, linears } from "../../src/nn/joined.ts";
import { createParameters, type ParameterOptions, type ParameterSpec } from "../../src/nn/parameters.ts";
import { backwardFrom } from "../../src/optim/gradients.ts";
import { input, readAll, record } from "../../src/tensor/tensor.ts";
import { testDevice } from "../support/device.ts";

const device = await testDevice();
afterAll(() => device.close());

const spec = (name: string, shape: number[]): ParameterSpec => ({ name, shape, init: "normal", decay: true });
/** Weights of 64 floats and of 3 x 8 = 24, with and without biases. */
const weights = (rows: number, bias: boolean): ParameterSpec[] =>
  ["a", "b"].flatMap((name, i) => [
    spec(`${name}.weight`, [rows * (i + 1), 8]),
    ...(bias ? [spec(`${name}.bias`, [rows * (i + 1)])] : []),
  ]);

/** The result, and every gradient by name. */
async function run(specs: ParameterSpec[], options: Partial<ParameterOptions> = {}) {
  const parameters = createParameters(device, specs, { trainable: true, seed: 5, ...options });
  const program = await record(device, "linears", () => {
    const x = input([3, 8]);
    const y = linears(x, parameters, ["a", "b"]);
    const dy = input(y.shape);
    if (y.needsGrad) backwardFrom(y, dy);
    return { x, y, dy };
  });
  const { x, y, dy } = program.result;
  x.write(Array.from({ length: x.size }, (_, i) => Math.sin(i)));
  dy.write(Array.from({ length: y.size }, (_, i) => Math.cos(3 * i)));
  program.run();
  const trained = [...parameters].filter(([, t]) => t.grad);
  const [values, ...grads] = await readAll(device, [y, ...trained.map(([, t]) => t.grad!)]);
  const matmuls = program.calls.filter(({ spec: { label } }) => label.startsWith("matmul")).length;
  return { values, grads, matmuls, parameters };
}

const close = (got: Float32Array, want: readonly number[]): void =>
  want.forEach((w, i) => expect(Math.abs(got[i]! - w)).toBeLessThan(1e-5));

for (const [name, rows, bias, matmuls] of [
  ["neighbours", 8, false, 2],
  ["no neighbours: ragged", 3, false, 4],
  ["no neighbours: biases between", 8, true, 4],
] as const) {
  it(name, async () => {
    const { values, grads, matmuls: got, parameters } = await run(weights(rows, bias));
    expect(got).toBe(matmuls);
    const all = await parameters.readAll();
    const N = 3 * rows;
    const of = (n: number) => (n < rows ? (["a", n, rows] as const) : (["b", n - rows, 2 * rows] as const));
    const want = Array.from({ length: 3 * N }, (_, i) => {
      const [map, n] = of(i % N);
      let y = bias ? all.get(`${map}.bias`)![n]! : 0;
      for (let k = 0; k < 8; k++)
        y += Math.fround(Math.sin(Math.floor(i / N) * 8 + k)) * all.get(`${map}.weight`)![n * 8 + k]!;
      return y;
    });
    close(values!, want);
    parameters.names.forEach((key, g) => {
      const [map, kind] = key.split(".");
      const [from, count] = map === "a" ? [0, rows] : [rows, 2 * rows];
      const K = kind === "bias" ? 1 : 8;
      const dw = Array.from({ length: count * K }, (_, i) => {
        const n = from + Math.floor(i / K);
        return [0, 1, 2].reduce(
          (sum, m) => sum + Math.cos(3 * (m * N + n)) * (kind === "bias" ? 1 : Math.sin(m * 8 + (i % K))),
          0,
        );
      });
      close(grads[g]!, dw);
    });
    parameters.dispose();
  });
}

it("frozen neighbours join, half-trained ones do not", () => {
  const specs = weights(8, false);
  const join = (trainable: ParameterOptions["trainable"]) =>
    joined([...createParameters(device, specs, { trainable })].map(([, t]) => t));
  expect(join(false)?.shape).toEqual([24, 8]);
  expect(join(false)?.grad).toBeUndefined();
  expect(join(true)?.grad?.shape).toEqual([24, 8]);
  expect(join((name) => name === "a.weight")).toBeUndefined();
});
