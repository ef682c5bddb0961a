/** Gradients that rules add up themselves have the bits of those that the tape adds up, and double when run twice. */
import { afterAll, expect, it } from "vitest";
import { sample } from "../../src/bench/check.ts";
import { add, scale } from "../../src/ops/binary.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { norm } from "../../src/ops/norm.ts";
import { columnSum } from "../../src/ops/reduce.ts";
import { backwardFrom } from "../../src/optim/gradients.ts";
import { input, persistent, record, type Tensor } from "../../src/tensor/tensor.ts";
import { testDevice } from "../support/device.ts";

const device = await testDevice();
afterAll(() => device.close());

const SHAPES = { x: [150, 12], weight: [12], bias: [12], map: [12, 12], mapBias: [12] };
type Inputs = Readonly<Record<keyof typeof SHAPES, Tensor>>;

/** The gradients of all inputs, as bits, after so many runs that add to them. */
async function gradients(
  compute: (inputs: Inputs) => Tensor,
  runs = 1,
): Promise<Record<string, Uint32Array>> {
  const program = await record(device, "sums", () => {
    const entries = Object.entries(SHAPES).map(([name, shape], seed) => {
      const x = input(shape);
      x.grad = persistent(device, shape);
      return { name, x, values: sample(seed + 1, x.size) };
    });
    const y = compute(Object.fromEntries(entries.map(({ name, x }) => [name, x])) as Inputs);
    const dy = input(y.shape);
    backwardFrom(y, dy);
    return { entries, dy };
  });
  const { entries, dy } = program.result;
  for (const { x, values } of entries) {
    x.write(values);
    x.grad!.write(new Float32Array(x.size));
  }
  dy.write(sample(9, dy.size));
  for (let i = 0; i < runs; i++) program.run();
  const found: Record<string, Uint32Array> = {};
  for (const { name, x } of entries) found[name] = new Uint32Array((await x.grad!.read()).buffer);
  program.dispose();
  return found;
}

/** A residual stream: `through` is what a norm and a linear map see of it. */
const stream =
  (kind: "layer" | "rms", through: (x: Tensor) => Tensor) =>
  ({ x, weight, bias, map, mapBias }: Inputs): Tensor => {
    const h = scale(x, 2);
    const [y] = norm(through(h), weight, kind === "layer" ? bias : undefined, { kind, eps: 1e-5 });
    return add(h, matmul(y!, map, mapBias));
  };
const same = (x: Tensor): Tensor => x;
/** A detour, by which the gradient reaches the stream on a way of its own. */
const detour = (x: Tensor): Tensor => scale(x, 1);

it.each(["layer", "rms"] as const)("%s norm: what came along the residual stream is added", async (kind) => {
  expect(await gradients(stream(kind, same))).toEqual(await gradients(stream(kind, detour)));
});

it("norm and bias: gradients are added to those that are there", async () => {
  const once = await gradients(stream("layer", same));
  const twice = await gradients(stream("layer", same), 2);
  for (const name of ["weight", "bias", "mapBias"]) {
    const doubled = floats(once[name]!).map((v) => 2 * v);
    expect(floats(twice[name]!), name).toEqual(doubled);
    expect(
      doubled.every((v) => v !== 0),
      name,
    ).toBe(true);
  }
});

it("wide maps: the bias's gradient comes beside the weight's, and is the sum of rows", async () => {
  const [rows, inner, columns] = [300, 20, 132];
  const made = await record(device, "beside", () => {
    const [x, w, b] = [input([rows, inner]), input([inner, columns]), input([columns])];
    for (const p of [w, b]) p.grad = persistent(device, p.shape);
    const dy = input([rows, columns]);
    backwardFrom(matmul(x, w, b), dy);
    return { x, w, b, dy, sum: columnSum(dy) };
  });
  const { x, w, b, dy, sum } = made.result;
  // The two passes of `sum`, and none for the bias.
  const sums = made.calls.filter(({ spec }) => spec.label === "reduce.columns");
  if (device.software && device.subgroupSize > 0) expect(sums).toHaveLength(2);
  [x, w, b, dy].forEach((t, seed) => t.write(sample(seed + 1, t.size)));
  for (const p of [w, b]) p.grad!.write(new Float32Array(p.size));
  made.run();
  const [found, expected] = [await b.grad!.read(), await sum.read()];
  found.forEach((v, i) => expect(v).toBeCloseTo(expected[i]!, 4));
  made.dispose();
});

const floats = (bits: Uint32Array): Float32Array => new Float32Array(bits.buffer);
