import { afterAll, describe, expect, it } from "vitest";
import { createParameters, type ParameterSpec } from "../../src/nn/parameters.ts";
import { openDevice } from "../../src/gpu/device.ts";
import { testDevice } from "../support/device.ts";

const device = await testDevice();
afterAll(() => device.close());

const specs: ParameterSpec[] = [
  { name: "embed", shape: [7, 5], init: "normal", decay: true },
  { name: "norm", shape: [5], init: "ones", decay: false },
  { name: "shift", shape: [3], init: "zeros", decay: false },
  { name: "head", shape: [40, 50], init: { normal: 0.5 }, decay: true },
  { name: "value", shape: [100, 4], init: { uniform: 0.25 }, decay: true },
];

/** A source of the given tensors, all ones. */
const sourceOf = (shapes: Record<string, number[]>) => ({
  path: "file.safetensors",
  tensors: new Map(Object.entries(shapes).map(([name, shape]) => [name, { shape }])),
  read: (name: string): Promise<Float32Array> =>
    Promise.resolve(new Float32Array(shapes[name]!.reduce((a, b) => a * b)).fill(1)),
});

const two = specs.slice(1, 3);

describe("parameters", () => {
  it("puts trained values and gradients side by side, frozen ones apart", () => {
    const parameters = createParameters(device, specs, { trainable: (name) => name !== "norm" });
    const { values, grads, slots } = parameters.trained!;
    expect(slots.map(({ name }) => name)).toEqual(["embed", "shift", "head", "value"]);
    for (const { name, offset } of slots) {
      const tensor = parameters.get(name);
      expect(offset % 256).toBe(0);
      expect(tensor.storage.place).toEqual({ buffer: values.place!.buffer, offset });
      expect(tensor.grad!.storage.place).toEqual({ buffer: grads.place!.buffer, offset });
    }
    expect(parameters.get("norm").grad).toBeUndefined();
    expect(parameters.get("norm").storage.place!.buffer).not.toBe(values.place!.buffer);
    expect(parameters.names).toEqual(specs.map(({ name }) => name));
    expect(parameters.count).toBe(35 + 5 + 3 + 2000 + 400);
    parameters.dispose();
  });

  it("lays frozen ones that exceed a binding together in several buffers", async () => {
    const small = await openDevice({ bindingBytes: 4096 });
    const parameters = createParameters(small, specs, { trainable: false, seed: 3 });
    const buffers = [...parameters].map(([, tensor]) => tensor.storage.place!.buffer);
    expect(new Set(buffers.slice(0, 3)).size).toBe(1);
    expect(new Set(buffers).size).toBe(3); // "head" has 8000 bytes and one of its own, "value" the third
    const whole = createParameters(device, specs, { trainable: false, seed: 3 });
    expect(await parameters.readAll()).toEqual(await whole.readAll());
    const used = small.bytesAllocated;
    parameters.dispose();
    expect(used - small.bytesAllocated).toBe(3 * 256 + 8192 + 1792);
    await small.close();
    whole.dispose();
  });

  it("starts as its specification says, the same for the same seed", async () => {
    const parameters = createParameters(device, specs, { trainable: false, seed: 3 });
    const values = await parameters.readAll();
    expect([...values.get("norm")!, ...values.get("shift")!]).toEqual([1, 1, 1, 1, 1, 0, 0, 0]);
    const head = values.get("head")!;
    expect(Math.sqrt(head.reduce((s, x) => s + x * x, 0) / head.length)).toBeCloseTo(0.5, 1);
    const value = values.get("value")!;
    expect(Math.max(...value)).toBeLessThanOrEqual(0.25);
    expect(Math.min(...value)).toBeLessThan(-0.23);
    // A tensor's values depend on the seed and its name alone.
    const fewer = createParameters(device, specs.slice(3), { trainable: true, seed: 3 });
    expect((await fewer.readAll()).get("head")).toEqual(head);
    expect(await fewer.hash(["head"])).toBe(await parameters.hash(["head"]));
    const other = createParameters(device, specs, { trainable: true, seed: 4 });
    expect(await other.hash()).not.toBe(await parameters.hash());
  });

  it("copies to another set on the GPU", async () => {
    const policy = createParameters(device, specs, { trainable: true, seed: 1 });
    const reference = createParameters(device, specs.slice(0, 4), { trainable: false });
    reference.copyFrom(policy, reference.names);
    expect(await reference.hash()).toBe(await policy.hash(reference.names));
    policy.get("embed").write(new Float32Array(35));
    expect(await reference.hash(["embed"])).not.toBe(await policy.hash(["embed"]));
    expect(() => reference.copyFrom(policy)).toThrow("no tensor value");
    const wrong = createParameters(device, [{ ...specs[0]!, shape: [5, 7] }], { trainable: false });
    expect(() => wrong.copyFrom(policy, ["embed"])).toThrow("embed is [7,5] there and [5,7] here");
  });

  it("loads a source under other names and ignores what it is told to", async () => {
    const parameters = createParameters(device, two, { trainable: false });
    const rename = (name: string): string | undefined =>
      name === "mask" ? undefined : name.replace(/^model\./, "");
    await parameters.writeFrom(sourceOf({ "model.norm": [5], "model.shift": [3], mask: [9] }), { rename });
    expect([...(await parameters.readAll()).values()].flatMap((v) => [...v])).toEqual(Array(8).fill(1));
    await parameters.writeFrom(sourceOf({ norm: [5] }), { optional: (name) => name === "shift" });
  });

  it("takes a source in parts, and refuses parts that do not add up", async () => {
    const parameters = createParameters(device, two, { trainable: false });
    const parts = (count: number) =>
      async function* (name: string): AsyncGenerator<Float32Array> {
        const part = new Float32Array(2); // one array, as a reader of files has it
        for (let first = 0; first < (name === "norm" ? count : 3); first += 2) {
          part.set([first, first + 1]);
          yield part.subarray(0, Math.min(2, (name === "norm" ? count : 3) - first));
        }
      };
    const source = sourceOf({ norm: [5], shift: [3] });
    const heard: number[][] = [];
    const onProgress = (...said: [number, number]): unknown => heard.push(said);
    await parameters.writeFrom({ ...source, parts: parts(5) }, { onProgress });
    expect(heard).toEqual([2, 4, 5, 7, 8].map((done) => [done, 8]));
    expect([...(await parameters.readAll()).values()].map((v) => [...v])).toEqual([
      [0, 1, 2, 3, 4],
      [0, 1, 2],
    ]);
    await expect(parameters.writeFrom({ ...source, parts: parts(4) })).rejects.toThrow(
      "norm: expected 5 values, got 4",
    );
    await expect(parameters.writeFrom({ ...source, parts: parts(6) })).rejects.toThrow(
      "[5] has 5 elements, got 2 from number 4",
    );
  });

  it("lists what does not fit", async () => {
    const parameters = createParameters(device, two, { trainable: false });
    const load = parameters.writeFrom(sourceOf({ norm: [4], extra: [2] }));
    await expect(load).rejects.toThrow(
      "file.safetensors: the tensors do not fit config.json: missing: shift; unexpected: extra; " +
        "of another shape: norm (expected [5], got [4])",
    );
  });

  it("clears gradients", async () => {
    const parameters = createParameters(device, two, { trainable: true });
    parameters.get("norm").grad!.write([1, 2, 3, 4, 5]);
    parameters.zeroGrads();
    expect([...(await parameters.get("norm").grad!.read())]).toEqual([0, 0, 0, 0, 0]);
  });

  it("refuses a name given twice, and one that is not there", () => {
    expect(() => createParameters(device, [two[0]!, two[0]!], { trainable: true })).toThrow(
      "norm is there twice",
    );
    const parameters = createParameters(device, two, { trainable: true });
    expect(() => parameters.get("nrom")).toThrow("no tensor nrom; there are 2: norm, shift");
  });
});
