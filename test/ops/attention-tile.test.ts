/** Attention's tiles for GPUs, on a software adapter too: its compiler takes long over them, so two cases must do. */
import { afterAll, expect, it } from "vitest";
import { caseName, runCase, worstText } from "../../src/bench/check.ts";
import { attentionOp } from "../../src/ops/attention.ts";
import { testDevice } from "../support/device.ts";

const device = await testDevice();
afterAll(() => device.close());

const cases = attentionOp.cases.filter((test) => ["several tiles", "both ways"].includes(caseName(test)));

it.each(cases.map((test) => [caseName(test), test] as const))(
  "%s, value and gradients",
  { timeout: 240_000 },
  async (_, test) => {
    const found = await runCase(device, attentionOp, test, "tile");
    expect(found.size).toBeGreaterThan(1);
    for (const [what, worst] of found)
      expect(worst.error <= worst.tolerance, worstText(what, worst)).toBe(true);
  },
);
