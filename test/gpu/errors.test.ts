/** What goes wrong on the GPU is one clear error at the next read, never silent zeros. */
import { afterAll, describe, expect, it } from "vitest";
import { DeviceError, KernelError } from "../../src/errors.ts";
import { type Device, openDevice } from "../../src/gpu/device.ts";
import type { Program } from "../../src/gpu/program.ts";
import { exp, tanh } from "../../src/ops/unary.ts";
import { call } from "../../src/tensor/op.ts";
import { empty, input, persistent, record, type Tensor } from "../../src/tensor/tensor.ts";
import { testDevice } from "../support/device.ts";

const device = await testDevice();
afterAll(() => device.close());

type Small = Program<{ x: Tensor; y: Tensor }>;
const small = (on: Device): Promise<Small> =>
  record(on, "small", () => {
    const x = input([4]);
    return { x, y: exp(tanh(x)) };
  });

/** What a promise is refused with. */
const refusal = (promise: Promise<unknown>): Promise<Error> =>
  promise.then(
    () => new Error("it was not refused"),
    (error: Error) => error,
  );

describe("a validation error", () => {
  it("surfaces once, at the next read", async () => {
    const program = await small(device);
    device.gpu.createBuffer({ size: 16, usage: 0, label: "nonsense" });
    device.gpu.createBuffer({ size: 16, usage: 0 });
    program.run();
    const error = await refusal(program.result.y.read());
    expect(error).toBeInstanceOf(DeviceError);
    expect(error.message).toMatch(
      /^device .*: .*usages must not be 0[^]* \(and 1 more that may follow from it\)$/,
    );
    expect([...(await program.result.y.read())]).toEqual([1, 1, 1, 1]);
    program.dispose();
  });

  it("of a dropped submission does too", async () => {
    const program = await small(device);
    program.result.x.storage.place!.buffer.destroy();
    program.run();
    const error = await refusal(program.result.y.read());
    expect(error).toBeInstanceOf(DeviceError);
    expect(error.message).toMatch(/small: input.* destroyed/);
    program.dispose();
  });

  it("of a write past the end too", async () => {
    const tensor = persistent(device, [4]);
    device.gpu.queue.writeBuffer(tensor.storage.place!.buffer, 8, new Float32Array(4));
    await expect(tensor.read()).rejects.toThrow(DeviceError);
    expect([...(await tensor.read())]).toEqual([0, 0, 0, 0]);
  });
});

describe("a lost device", () => {
  it("is said at every read, and to those who were waiting", async () => {
    const lost = await openDevice({ validation: true });
    const program = await small(lost);
    program.run();
    const waiting = refusal(program.result.y.read());
    lost.gpu.destroy();
    program.run();
    for (const error of [
      await waiting,
      await refusal(program.result.y.read()),
      await refusal(program.result.x.read()),
    ]) {
      expect(error).toBeInstanceOf(DeviceError);
      expect(error.message).toMatch(
        /the device was lost \(destroyed\): .*Open a new one and resume from the last checkpoint/,
      );
    }
    await lost.close();
    expect((await refusal(program.result.y.read())).message).toMatch(/closed; open a new one/);
  });

  it("that was closed says so", async () => {
    const closed = await openDevice({ validation: true });
    const program = await small(closed);
    await closed.close();
    await closed.close();
    program.run();
    expect((await refusal(program.result.y.read())).message).toBe(
      "device: closed; open a new one with openDevice()",
    );
  });
});

describe("running out of memory", () => {
  it("says how much was asked for, and what to do", async () => {
    // No adapter here runs out before the machine does: the error is delivered as WebGPU does it.
    const error = new GPUOutOfMemoryError("allocation failed");
    device.gpu.dispatchEvent(Object.assign(new Event("uncapturederror"), { error }));
    const refused = await refusal(persistent(device, [4]).read());
    expect(refused).toBeInstanceOf(DeviceError);
    expect(refused.message).toMatch(
      /: out of memory: .*KiB \(.*\) were asked for\. Use a smaller batch.*\(allocation failed\)$/,
    );
  });
});

describe("a kernel that does not compile", () => {
  const broken = (body: string): Promise<unknown> => {
    const source = `@group(0) @binding(0) var<storage, read_write> y: array<vec4f>;\n\n@compute @workgroup_size(64)\nfn forward() {\n${body}\n}\n`;
    const kernel = { name: "broken", source };
    return record(device, "broken", () => {
      const y = empty([4]);
      call(kernel, "forward", { bindings: { y }, constants: { KIND: 3 }, workgroups: [1, 1, 1] });
      return y;
    });
  };

  it("shows the kernel, the line and its text, and leaves no error behind", async () => {
    const error = await refusal(broken("  y[0] = vec4f(1.0);\n  y[1] = oops;"));
    expect(error).toBeInstanceOf(KernelError);
    expect(error.message).toBe(
      "broken.forward(KIND=3) does not compile:\n  line 7: unresolved value 'oops'\n      y[1] = oops;",
    );
    expect([...(await persistent(device, [2]).read())]).toEqual([0, 0]);
  });

  it("or that this adapter cannot run", async () => {
    const source = `var<workgroup> all: array<vec4f, 16384>;\n@group(0) @binding(0) var<storage, read_write> y: array<vec4f>;\n\n@compute @workgroup_size(64)\nfn forward() {\n  all[0] = y[0];\n  y[1] = all[1];\n}\n`;
    const error = await refusal(
      record(device, "large", () =>
        call({ name: "large", source }, "forward", { bindings: { y: input([8]) }, workgroups: [1, 1, 1] }),
      ),
    );
    expect(error).toBeInstanceOf(KernelError);
    expect(error.message).toMatch(/^large\.forward\(\) does not fit .*workgroup/);
    expect([...(await persistent(device, [2]).read())]).toEqual([0, 0]);
  });
});
