/** A tier that fails its self-test is not used on that device, and says why. */
import { afterAll, expect, it } from "vitest";
import { addSelfTest, openDevice } from "../../src/gpu/device.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { input, record } from "../../src/tensor/tensor.ts";

const device = await openDevice({ validation: true });
afterAll(() => device.close());

/** The kernel that a product of this size gets. */
async function kernelOf(): Promise<string> {
  const program = await record(device, "product", () => matmul(input([8, 8]), input([8, 8]), undefined, {}));
  const { label } = program.calls[0]!.spec;
  program.dispose();
  return label;
}

it("passes tiers whose kernels agree with the plain ones", { timeout: 120_000 }, async () => {
  await device.selfTest(["tile", "subgroups"]);
  expect(device.tiers.get("tile")).toMatchObject({ state: "passed" });
  expect(device.tiers.get("subgroups")).toMatchObject({ state: "passed" });
});

it("excludes a failing tier from what is recorded afterwards", async () => {
  expect(device.subgroupSize).toBeGreaterThan(0);
  if (device.software) expect(await kernelOf()).toMatch(/^matmul-broadcast/);
  let runs = 0;
  addSelfTest({
    tier: "subgroups",
    what: "a fake test",
    run: () => {
      runs++;
      return Promise.reject(new Error("lane 3 is 7, expected 8"));
    },
  });
  await device.selfTest();
  expect(device.tiers.get("subgroups")).toEqual({
    state: "failed",
    why: "a fake test: lane 3 is 7, expected 8",
  });
  expect(device.subgroupSize).toBe(0);
  expect(await kernelOf()).not.toMatch(/broadcast/);
  expect(device.has("tile")).toBe(true);
  await device.selfTest();
  expect(runs).toBe(1); // remembered
});
