/** The flags that say how forward and backward passes are computed. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { alignTask } from "../support/align-task.ts";
import { testDevice } from "../support/device.ts";
import { cli, flags, vbon } from "../support/run-cli.ts";
import { computed } from "../support/align-task.ts";
import { openSafetensors } from "../../src/data/weights/safetensors.ts";
import { readRecords } from "../../src/train/metrics.ts";
import { documents, jsonl, scratch, TINY } from "../support/training.ts";

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

describe("--precision mixed", () => {
  const text = documents(60);
  const argv = ["sft", "--data", text, ...TINY, "--steps", "6", "--save-every", "3"];

  it("trains, and says the loss scale", async () => {
    const run = async (...more: string[]): Promise<void> => {
      const { code, stderr } = await cli([...argv, ...more], { device });
      expect(code, stderr).toBe(0);
    };
    const [exact, mixed] = [join(scratch(), "exact"), join(scratch(), "mixed")];
    await run("--out", exact);
    await run("--out", mixed, "--precision", "mixed");
    const records = await readRecords(join(mixed, "metrics.jsonl"));
    expect(
      records.filter((record) => "lr" in record).map(({ lossScale, skipped }) => [lossScale, skipped]),
    ).toEqual(Array.from({ length: 6 }, () => [65536, 0]));
    expect(weights(mixed).equals(weights(exact))).toBe(false);
  });

  it("aligns, online and offline, twice the same", async () => {
    const task = await alignTask(device);
    for (const method of ["vbon", "dpo"]) {
      const results = [];
      for (const name of ["first", "second"]) {
        const out = join(task.folder, `${method}-${name}`);
        const settings = { ...task.run, method, out, precision: "mixed" };
        const { code, stderr } = await vbon(device, ["align", ...flags(settings)]);
        expect(code, stderr).toBe(0);
        results.push(computed(out));
        const last = (await readRecords(join(out, "metrics.jsonl"))).findLast(
          (record) => "lossScale" in record,
        );
        // The gradient of a sum over whole responses overflows at first, that of a mean over tokens does not.
        expect(last!["lossScale"]).toBe(65536 / 2 ** Number(last!["skipped"]));
        expect(last!["skipped"]).toBeLessThan(method === "dpo" ? 4 : 1);
      }
      expect(results[1]).toEqual(results[0]);
    }
  });

  it("resumes an alignment bit for bit after Ctrl-C, loss scales included", async () => {
    const task = await alignTask(device);
    const [whole, parts] = ["whole", "parts"].map((name) => join(task.folder, name)) as [string, string];
    const argv = (out: string): string[] => ["align", ...flags({ ...task.run, precision: "mixed", out })];
    expect((await vbon(device, argv(whole))).code).toBe(0);
    // The table's row of the second iteration.
    const stopped = await vbon(device, argv(parts), (said, stop) => void (/^ *2 /m.test(said) && stop()));
    expect(stopped.code, stopped.stderr).toBe(130);
    const resumed = await vbon(device, ["align", "--resume", "--out", parts]);
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(computed(parts)).toEqual(computed(whole));
    const { tensors } = await openSafetensors(join(parts, "checkpoint", "tensors.safetensors"));
    expect([...tensors.keys()].filter((key) => key.endsWith("lossScale")).toSorted()).toEqual([
      "policy.adamw.lossScale",
      "value.adamw.lossScale",
    ]);
  });

  it("trains a classifier, and resumes it bit for bit", async () => {
    const data = jsonl(
      Array.from({ length: 40 }, (_, i) => ({ text: `the dog is ${i % 2 ? "good" : "bad"}`, label: i % 2 })),
    );
    const [whole, parts] = [join(scratch(), "whole"), join(scratch(), "parts")];
    const sizes = [...TINY, "--steps", "8", "--eval-every", "4", "--save-every", "4"];
    const begin = ["reward", "--data", data, ...sizes, "--precision", "mixed"];
    expect((await cli([...begin, "--out", whole], { device })).code).toBe(0);
    const stopped = await cli([...begin, "--out", parts], { device, signal: AbortSignal.abort() });
    expect(stopped.code, stopped.stderr).toBe(130);
    const resumed = await cli(["reward", "--resume", "--out", parts], { device });
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(weights(parts).equals(weights(whole))).toBe(true);
  });

  it("is refused where the device has no f16, before anything is written", async () => {
    const plain = Object.create(device, { gpu: { value: { features: new Set() } } }) as typeof device;
    const out = join(scratch(), "refused");
    const { code, stderr } = await cli([...argv, "--out", out, "--precision", "mixed"], { device: plain });
    expect(code).toBe(2);
    expect(stderr.trim().split("\n").at(-1)).toMatch(
      /--precision mixed: expected a device with 16-bit floats \(shader-f16\), got .*, which has none; leave the flag out/,
    );
    expect(existsSync(out)).toBe(false);
  });
});
