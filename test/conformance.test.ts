/** Every op, every case, every variant that this adapter can run. */
import { afterAll, describe, expect, it } from "vitest";
import { ops } from "../src/ops/index.ts";
import { runCase } from "./support/conformance.ts";
import { testDevice } from "./support/device.ts";

const device = await testDevice();
afterAll(() => device.close());

for (const op of ops) {
  describe(op.name, () => {
    for (const variant of op.variants?.(device) ?? [undefined]) {
      for (const test of op.cases) {
        const shapes = test.inputs.map((i) => (i ? `[${"shape" in i ? i.shape : i}]` : "-")).join(" ");
        it(`${test.name ?? shapes}${variant ? ` (${variant})` : ""}`, async () => {
          for (const [what, worst] of await runCase(device, op, test, variant)) {
            const { error, at, got, expected, tolerance } = worst;
            expect(
              error <= tolerance,
              `${what}: element ${at} is ${got}, expected ${expected}; error ${error.toExponential(2)} of the largest, allowed ${tolerance}`,
            ).toBe(true);
          }
        });
      }
    }
  });
}
