/** f16 tensors: rounding, reading and writing, who may use them. */
import { afterAll, describe, expect, it } from "vitest";
import { add } from "../../src/ops/binary.ts";
import { cast, half } from "../../src/ops/cast.ts";
import { narrow, widen } from "../../src/tensor/half.ts";
import { input, persistent, record } from "../../src/tensor/tensor.ts";
import { testDevice } from "../support/device.ts";

const device = await testDevice();
afterAll(() => device.close());

/** Every exponent of f32 that matters here, ties and their neighbours, both signs. */
const values = Float32Array.from({ length: 4001 }, (_, i) => {
  const magnitude = (1 + ((i * 37) % 4096) / 4096) * 2 ** ((i % 44) - 27);
  return i % 3 ? magnitude : -magnitude;
});

function rounded(from: Float32Array): Float32Array {
  const [bits, to] = [new Uint16Array(from.length), new Float32Array(from.length)];
  narrow("F16", from, bits);
  widen("F16", bits, to);
  return to;
}

describe("f16 tensors", () => {
  it("are read as they were written, rounded, whatever their length", async () => {
    for (const n of [1, 2, 5, values.length]) {
      const tensor = persistent(device, [n], "f16");
      tensor.write(values.subarray(0, n));
      expect(await tensor.read()).toEqual(rounded(values.subarray(0, n)));
    }
  });

  it("take half the memory", () => expect(persistent(device, [1024], "f16").storage.bytes).toBe(2048));

  it("are rounded by cast as by the host: ties to even, subnormals, infinity beyond 65519", async () => {
    const program = await record(device, "cast", () => {
      const x = input([values.length]);
      return { x, y: cast(x, "f16"), z: cast(cast(x, "f16"), "f32") };
    });
    program.result.x.write(values);
    program.run();
    const expected = rounded(values);
    expect(expected.some((v) => v === Infinity)).toBe(true);
    expect(await program.result.y.read()).toEqual(expected);
    expect(await program.result.z.read()).toEqual(expected);
    program.dispose();
  });

  it("go only where a kernel expects them", async () => {
    await expect(record(device, "mix", () => add(input([4], "f16"), input([4])))).rejects.toThrow(
      /binary.*is f16, the kernel expects 4-byte elements; cast it first/,
    );
    await expect(record(device, "bits", () => cast(input([4], "u32"), "f16"))).rejects.toThrow(
      "cast: x is u32; expected f32 or f16",
    );
  });
});

describe("half", () => {
  it("copies a weight once a program, by whatever tensor it is seen", async () => {
    const weight = persistent(device, [4, 4]);
    const program = await record(device, "halves", () => {
      const copies = [half(weight), half(weight.reshape(16)), half(weight.detach())];
      return { copies };
    });
    expect(program.calls.length).toBe(1);
    expect(program.result.copies.map(({ shape }) => shape)).toEqual([[4, 4], [16], [4, 4]]);
    program.dispose();
  });
});
