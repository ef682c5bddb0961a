/** `vbon demo --quick` as a fresh clone runs it: the shipped models, prompts and numbers, nothing else. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { MethodResult, PromptSamples } from "../../src/report/types.ts";
import { testDevice } from "../support/device.ts";
import { vbon } from "../support/run-cli.ts";

const device = await testDevice();
const folder = mkdtempSync(join(tmpdir(), "vbon-demo-"));
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await device.close();
});

describe("the shipped demo", () => {
  it("moves the movie-review model toward the sentiment even in a tenth of the work", async () => {
    const { code, stdout, stderr } = await vbon(device, ["demo", "--quick", "--json", "--out", folder]);
    expect(code, stderr).toBe(0);
    const [results, samples] = stdout
      .split("\n")
      .map((line) => JSON.parse(line || "{}") as Record<string, unknown>);
    const [reference, ...learned] = results!["methods"] as MethodResult[];
    const best = learned.pop()!;
    for (const { reward, kl, name } of learned) {
      expect(reward, name).toBeGreaterThan(reference!.reward);
      expect(reward, name).toBeLessThan(best.reward);
      expect(kl, name).toBeGreaterThan(0.05);
      expect(kl, name).toBeLessThan(2);
    }
    for (const { rows } of samples!["samples"] as PromptSamples[]) {
      expect(rows.map((row) => row.method)).toEqual(["reference", "vbon", "ppo", "best-of-8"]);
    }
    expect(readFileSync(join(folder, "report.html"), "utf8")).toContain(
      "Movie reviews, aligned to positive sentiment",
    );
  }, 240_000);
});
