/** The flags that say how forward and backward passes are computed. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { alignTask } from "../support/align-task.ts";
import { testDevice } from "../support/device.ts";
import { cli, flags, vbon } from "../support/run-cli.ts";
import { documents, scratch, TINY } from "../support/training.ts";

const device = await testDevice();
afterAll(() => device.close());

const weights = (out: string): Buffer => readFileSync(join(out, "model", "model.safetensors"));

describe("--gradient-checkpointing", () => {
  it("leaves the weights of sft as they are", async () => {
    const argv = ["sft", "--data", documents(60), ...TINY, "--steps", "6", "--save-every", "3"];
    const run = async (...more: string[]): Promise<void> => {
      const { code, stderr } = await cli(more, { device });
      expect(code, stderr).toBe(0);
    };
    const [kept, recomputed] = [join(scratch(), "kept"), join(scratch(), "recomputed")];
    await run(...argv, "--out", kept);
    await run(...argv, "--out", recomputed, "--gradient-checkpointing");
    expect(weights(recomputed).equals(weights(kept))).toBe(true);
  });

  it("leaves the policy of align as it is", async () => {
    const task = await alignTask(device);
    const outs = ["kept", "recomputed"].map((name) => join(task.folder, name));
    for (const [i, out] of outs.entries()) {
      const settings = { ...task.run, out, ...(i === 1 && { gradientCheckpointing: true }) };
      const { code, stderr } = await vbon(device, ["align", ...flags(settings)]);
      expect(code, stderr).toBe(0);
    }
    expect(weights(outs[1]!).equals(weights(outs[0]!))).toBe(true);
  });
});
