/** What `VBON_DEBUG` prints. */
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { div, sub } from "../../src/ops/binary.ts";
import { concat } from "../../src/ops/layout.ts";
import { exp, log, tanh } from "../../src/ops/unary.ts";
import { input, persistent, record, type Tensor } from "../../src/tensor/tensor.ts";
import { testDevice } from "../support/device.ts";

const device = await testDevice();
afterAll(() => device.close());

const said = vi.spyOn(console, "error").mockImplementation(() => undefined);
const lines = (): string[] => said.mock.calls.map(([line]) => String(line));
beforeEach(() => void said.mockClear());
afterEach(() => void delete process.env["VBON_DEBUG"]);

describe("VBON_DEBUG", () => {
  it("unset says nothing", async () => {
    const program = await record(device, "quiet", () => log(input([4])));
    program.run();
    await program.result.read();
    expect(lines()).toEqual([]);
  });

  it("1 times every run", async () => {
    process.env["VBON_DEBUG"] = "1";
    const program = await record(device, "timed", () => exp(tanh(input([4]))));
    program.run(3);
    await program.result.read();
    expect(lines()).toEqual([
      expect.stringMatching(/^vbon: timed: 6 dispatches, done \d+\.\d ms after submit$/),
    ]);
  });

  it("2 lists the dispatches of every program", async () => {
    process.env["VBON_DEBUG"] = "2";
    const program = await record(device, "listed", () => exp(tanh(input([4]))));
    expect(lines()).toEqual([program.describe()]);
  });

  it("3 shows the source of every shader", async () => {
    process.env["VBON_DEBUG"] = "3";
    await record(device, "shown", () => div(input([4]), input([4])));
    expect(lines()).toEqual([expect.stringMatching(/^\/\/ binary\.forward\(.*\)\n[^]*@compute/)]);
  });
});

describe("VBON_DEBUG=4", () => {
  beforeEach(() => (process.env["VBON_DEBUG"] = "4"));

  interface Chain {
    readonly x: Tensor;
    readonly y: Tensor;
  }
  const chain = (x: Tensor): Tensor => exp(sub(log(tanh(x)), x)); // log of a negative number is NaN

  it("names the first op whose output has a NaN, and the element", async () => {
    const program = await record(device, "step", (): Chain => {
      const x = input([100], "f32", "x");
      return { x, y: chain(x) };
    });
    program.result.x.write(Array.from({ length: 100 }, (_, i) => (i === 70 ? -1 : 1)));
    program.run();
    expect(Number.isNaN((await program.result.y.read())[70])).toBe(true);
    expect(lines()).toEqual([
      'vbon: NaN in "step": call 1 of 4, unary.forward(KIND=1), writes "y" (log): element 70 of 100 is the first',
    ]);
    program.run();
    await program.result.y.read();
    expect(lines()).toHaveLength(1); // said once
    program.dispose();
  });

  it("names what a program was given with a NaN in it", async () => {
    const weights = persistent(device, [8], "f32", "weights");
    weights.write([0, 0, 0, NaN, 0, 0, 0, 0]);
    const program = await record(device, "step", () => exp(tanh(weights)));
    program.run();
    await program.result.read();
    expect(lines()).toEqual([
      'vbon: NaN in "step": call 0 of 2, unary.forward(KIND=5), is given "x" (weights): element 3 of 8 is the first',
    ]);
    program.dispose();
  });

  it("is silent about padding, scratch that is not written yet, and integers", async () => {
    for (const buffer of device.scratch)
      device.gpu.queue.writeBuffer(buffer, 0, new Float32Array(buffer.size / 4).fill(NaN));
    const program = await record(device, "step", () => {
      const [x, bits] = [input([5]), input([4], "u32")]; // log(0 / 0) in the padding
      return { x, bits, y: log(div(concat([x, exp(x)], 0), concat([x, x], 0))) };
    });
    program.result.x.write([1, 2, 3, 4, 5]);
    program.result.bits.write([0xffffffff, 0xffffffff, 0x7fffffff, 1]);
    program.run();
    await program.result.y.read();
    expect(lines()).toEqual([]);
    program.dispose();
  });

  it("changes no result, and leaves no memory behind", async () => {
    const run = async (): Promise<Float32Array> => {
      const program = await record(device, "step", (): Chain => {
        const x = input([64]);
        return { x, y: chain(x) };
      });
      program.result.x.write(Array.from({ length: 64 }, (_, i) => (i + 1) / 10));
      program.run();
      const y = await program.result.y.read();
      program.dispose();
      return y;
    };
    const before = device.bytesAllocated;
    const scanned = await run();
    expect(device.bytesAllocated).toBe(before);
    delete process.env["VBON_DEBUG"];
    expect(await run()).toEqual(scanned);
  });
});
