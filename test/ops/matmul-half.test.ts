/** Products of f16 operands: every form has the bits of its f32 product of the same numbers, forward and back. */
import { afterAll, describe, expect, it } from "vitest";
import { sample } from "../../src/bench/check.ts";
import { matmul } from "../../src/ops/matmul.ts";
import type { MatmulAttrs } from "../../src/ops/product.ts";
import { backwardFrom } from "../../src/optim/gradients.ts";
import { narrow, widen } from "../../src/tensor/half.ts";
import { input, persistent, readAll, record, type Shape, sizeOf } from "../../src/tensor/tensor.ts";
import { testDevice } from "../support/device.ts";

const device = await testDevice();
afterAll(() => device.close());

/** Values as f16 holds them. */
function halves(seed: number, shape: Shape): Float32Array {
  const values = Float32Array.from(sample(seed, sizeOf(shape)));
  const bits = new Uint16Array(values.length);
  narrow("F16", values, bits);
  widen("F16", bits, values);
  return values;
}

interface Run {
  readonly a: Shape;
  readonly b: Shape;
  readonly out: Shape;
  readonly attrs?: MatmulAttrs;
}

/** C, dA, dB and dbias of operands in `dtype`. */
async function run(dtype: "f16" | "f32", { a, b, out, attrs = {} }: Run): Promise<Float32Array[]> {
  const program = await record(device, `matmul ${dtype}`, () => {
    const operands = [input(a, dtype), input(b, dtype), input([out.at(-1)!])] as const;
    for (const x of operands) x.grad = persistent(device, x.shape);
    const c = matmul(...operands, attrs);
    const dc = input(out);
    backwardFrom(c, dc);
    return { operands, grads: operands.map((x) => x.grad!), c, dc };
  });
  const { operands, grads, c, dc } = program.result;
  [...operands, dc].forEach((x, i) => x.write(halves(i + 1, x.shape)));
  program.run();
  const found = await readAll(device, [c, ...grads]);
  program.dispose();
  return found;
}

const RUNS: readonly (Run & { readonly name: string })[] = [
  { name: "nn", a: [9, 136], b: [136, 36], out: [9, 36] },
  { name: "ragged", a: [5, 7], b: [7, 3], out: [5, 3] },
  { name: "nt", a: [9, 136], b: [36, 136], out: [9, 36], attrs: { transposeB: true } },
  { name: "tn, turned", a: [72, 12], b: [72, 132], out: [12, 132], attrs: { transposeA: true } },
  { name: "tn", a: [72, 12], b: [72, 36], out: [12, 36], attrs: { transposeA: true } },
];

// Left to itself, a device with a matrix unit multiplies f16 there, in an order of its own.
const forms = [...(device.has("matrix") ? [] : [undefined]), ...(matmul.variants?.(device) ?? [])];

describe.each(forms)("the form %s", (variant) => {
  it.each(RUNS)("on $name", async (what) => {
    const asked = { ...what, attrs: { ...what.attrs, ...(variant !== undefined && { variant }) } };
    expect(await run("f16", asked)).toEqual(await run("f32", asked));
  });
});
