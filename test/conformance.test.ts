/** Every op, every case, every variant that this adapter can run. */
import { afterAll, describe, expect, it } from "vitest";
import { ops } from "../src/ops/index.ts";
import { caseName, runCase, worstText } from "../src/bench/check.ts";
import { testDevice } from "./support/device.ts";

const device = await testDevice();
afterAll(() => device.close());

for (const op of ops) {
  describe(op.name, () => {
    for (const variant of op.variants?.(device) ?? [undefined]) {
      for (const test of op.cases) {
        it(`${caseName(test)}${variant ? ` (${variant})` : ""}`, async () => {
          for (const [what, worst] of await runCase(device, op, test, variant)) {
            expect(worst.error <= worst.tolerance, worstText(what, worst)).toBe(true);
          }
        });
      }
    }
  });
}
