/** Parameters travel with dispatches where the adapter has room for them, and lie in uniform buffers elsewhere: same bits. */
import { afterAll, describe, expect, it } from "vitest";
import { type Device, openDevice } from "../../src/gpu/device.ts";
import { immediateForm, specialise } from "../../src/gpu/kernel.ts";
import type { Program } from "../../src/gpu/program.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { tanh } from "../../src/ops/unary.ts";
import { call } from "../../src/tensor/op.ts";
import { empty, input, record, type Tensor } from "../../src/tensor/tensor.ts";
import { testDevice } from "../support/device.ts";

const carrying = await testDevice();
const binding = await openDevice({ validation: true, immediates: false });
afterAll(() => Promise.all([carrying.close(), binding.close()]));

/** Twenty numbers: more than the 64 bytes that a dispatch can carry. */
const wide = {
  name: "wide",
  source: `struct Params { ${Array.from({ length: 20 }, (_, i) => `n${i}: u32`).join(", ")} }
@group(0) @binding(0) var<storage, read_write> y: array<u32>;
@group(0) @binding(1) var<uniform> params: Params;
@compute @workgroup_size(1)
fn last() { y[0] = params.n19; }
`,
};

const small = (device: Device): Promise<Program<{ a: Tensor; b: Tensor; y: Tensor }>> =>
  record(device, "small", () => {
    const [a, b] = [input([5, 12]), input([12, 8])];
    return { a, b, y: tanh(matmul(a, b, undefined)) };
  });

describe("immediates", () => {
  it("give the bits that uniform buffers give", async () => {
    const results = [];
    for (const device of [carrying, binding]) {
      const program = await small(device);
      program.result.a.write(Array.from({ length: 60 }, (_, i) => Math.sin(i)));
      program.result.b.write(Array.from({ length: 96 }, (_, i) => Math.cos(i)));
      program.run(2);
      results.push(await program.result.y.read());
    }
    expect(results[0]).toEqual(results[1]);
    expect(results[0]!.some((v) => v !== 0)).toBe(true);
  });

  it("need no memory of a program's own", async () => {
    const spec = specialise(wide, "last");
    expect([carrying, binding].map((device) => device.takesImmediates(spec))).toEqual([false, false]);
    const room = (carrying.limits as { maxImmediateSize?: number }).maxImmediateSize ?? 0;
    expect((await small(carrying)).memory.params > 0).toBe(room < 64);
    expect((await small(binding)).memory.params).toBeGreaterThan(0);
  });

  it("leave a kernel with many parameters its uniform buffer", async () => {
    const params = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`n${i}`, 100 + i]));
    const program = await record(carrying, "wide", () => {
      const y = empty([1], "u32");
      call(wide, "last", { bindings: { y }, params, workgroups: [1, 1, 1] });
      return y;
    });
    program.run();
    expect(await program.result.readU32()).toEqual(Uint32Array.of(119));
  });

  it("are declared in place of the uniform", () => {
    const code = immediateForm(specialise(wide, "last"));
    expect(code).toMatch(/^requires immediate_address_space;\n/);
    expect(code).toMatch(/^var<immediate> params: Params;$/m);
    expect(code).not.toContain("uniform");
  });
});
