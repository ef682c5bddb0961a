/** Memory: known when a program is recorded, the same after it has run, and refused with numbers when it is too much. */
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { DeviceError } from "../../src/errors.ts";
import { openDevice } from "../../src/gpu/device.ts";
import { formatBytes } from "../../src/gpu/memory.ts";
import { memoryBytes } from "../../src/host.ts";
import { exp, tanh } from "../../src/ops/unary.ts";
import { input, persistent, record } from "../../src/tensor/tensor.ts";

const MiB = 2 ** 20;
const device = await openDevice({ validation: true, memoryLimit: 24 * MiB, immediates: false });
afterAll(() => device.close());
beforeEach(async () => (await record(device, "readback", () => exp(input([1])))).dispose());

describe("memory", () => {
  it("is what the program says, before and after it runs", async () => {
    const before = device.bytesAllocated;
    const program = await record(device, "step", () => {
      const x = input([1000]);
      return { x, y: tanh(exp(tanh(exp(x)))) };
    });
    const params = 4 * Math.max(16, device.limits.minUniformBufferOffsetAlignment);
    expect(program.memory).toEqual({ inputs: 4000, outputs: 4000, params, scratch: 2 * 4000 });
    expect(device.bytesAllocated - before).toBe(program.bytes);
    for (let i = 0; i < 5; i++) {
      program.run(3);
      await program.result.y.read();
    }
    expect(device.bytesAllocated - before).toBe(program.bytes);
    program.dispose();
    expect(device.bytesAllocated).toBe(before);
  });

  it("is shared by programs, and given back when the last of them goes", async () => {
    const record3 = (n: number): Promise<{ bytes: number; dispose(): void }> =>
      record(device, "n", () => tanh(exp(tanh(input([n])))));
    const large = await record3(5000);
    const { scratch, program: own } = device.memory.bytes;
    const small = await record3(300);
    expect(device.memory.bytes.scratch).toBe(scratch);
    expect(device.memory.bytes.program).toBeGreaterThan(own);
    large.dispose();
    expect(device.memory.bytes.scratch).toBe(scratch);
    small.dispose();
    expect(device.memory.bytes).toMatchObject({ scratch: 0, program: 0 });
  });

  it("is printed by what it is for", () => {
    const tensor = persistent(device, [MiB / 4]);
    expect(String(device.memory)).toBe("1.06 MiB (parameters and state 1.00 MiB, readback 64.00 KiB)");
    device.destroyBuffer(tensor.storage.place!.buffer);
    device.destroyBuffer(tensor.storage.place!.buffer); // twice counts once
    expect(device.memory.bytes.persistent).toBe(0);
    expect([0, 1023, 1536, 3 * 2 ** 30].map(formatBytes)).toEqual(["0 B", "1023 B", "1.50 KiB", "3.00 GiB"]);
  });
});

describe("too little memory", () => {
  it("is said before anything is allocated", async () => {
    const before = device.bytesAllocated;
    const n = (9 * MiB) / 4;
    const program = record(device, "train step", () => tanh(exp(input([n]))));
    await expect(program).rejects.toThrow(DeviceError);
    await expect(program).rejects.toThrow(
      /device: too little memory for "train step": it needs 18\.\d\d MiB more, 9\.06 MiB \(.*\) are in use, and the limit is 24\.00 MiB\. Use a smaller batch/,
    );
    expect(device.bytesAllocated).toBe(before);
    expect(() => persistent(device, [7 * MiB], "f32", "keys")).toThrow(
      /too little memory for keys: it needs 28\.00 MiB more/,
    );
  });

  it("or a buffer, or a binding, that is larger than the adapter allows", async () => {
    const roomy = await openDevice({ validation: true, memoryLimit: 2 ** 50, limits: "default" });
    const { maxBufferSize: most, maxStorageBufferBindingSize: bound } = roomy.limits;
    expect([most, bound]).toEqual([256 * MiB, 128 * MiB]);
    expect(() => persistent(roomy, [most / 4 + 4], "f32", "embeddings")).toThrow(
      /embeddings needs a buffer of 256\.00 MiB \(268435472 bytes\); this adapter allows 256\.00 MiB\. Use a smaller/,
    );
    const before = roomy.bytesAllocated;
    await expect(record(roomy, "wide", () => exp(input([bound / 4 + 4], "f32", "logits")))).rejects.toThrow(
      /unary\.forward: "x" \(wide: logits\) has 128\.00 MiB; one binding holds at most 128\.00 MiB on this adapter/,
    );
    expect(roomy.memory.bytes.program).toBe(0);
    expect(roomy.bytesAllocated - before).toBeLessThanOrEqual(65536);
    await roomy.close();
  });

  it("by default means the memory of this machine, on a software adapter", async () => {
    const plain = await openDevice();
    const { limit } = plain.memory;
    expect(plain.software ? limit === memoryBytes() : limit === Infinity).toBe(true);
    await plain.close();
  });
});
