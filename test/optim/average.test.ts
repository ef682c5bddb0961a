/** Running means of weights: of all that was added, and of tensors that are larger than a binding. */
import { describe, expect, it } from "vitest";
import { openDevice } from "../../src/gpu/device.ts";
import { createAverage } from "../../src/optim/average.ts";
import { persistent } from "../../src/tensor/tensor.ts";

describe("average", () => {
  it.each([undefined, 4096])(
    "is the mean of what was added, with bindings of %s bytes",
    async (bindingBytes) => {
      const device = await openDevice({ ...(bindingBytes !== undefined && { bindingBytes }) });
      const shapes = [[70, 48], [5], [1500]];
      const make = () => new Map(shapes.map((shape, i) => [`t${i}`, persistent(device, shape)]));
      const [values, averages] = [make(), make()];
      const average = await createAverage(values, { get: (name) => averages.get(name)! });
      for (const factor of [1, 2, 6]) {
        for (const tensor of values.values())
          tensor.write(Float32Array.from({ length: tensor.size }, (_, i) => factor * i));
        average.add();
      }
      for (const tensor of averages.values()) {
        const got = await tensor.read();
        got.forEach((x, i) => expect(Math.abs(x - 3 * i)).toBeLessThan(1e-3));
      }
      await device.close();
    },
  );
});
