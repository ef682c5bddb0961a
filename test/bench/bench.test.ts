/** `vbon bench`: results with their ceilings, comparisons, and what is refused. */
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { measureCeilings } from "../../src/bench/ceiling.ts";
import { compare, readEarlier } from "../../src/bench/compare.ts";
import type { Job } from "../../src/bench/job.ts";
import { type Line, measure } from "../../src/bench/measure.ts";
import { groups } from "../../src/bench/registry.ts";
import { measureSteady, STEADY_RUN } from "../../src/bench/steady.ts";
import { median } from "../../src/bench/time.ts";
import { testDevice } from "../support/device.ts";
import { vbon } from "../support/run-cli.ts";

const device = await testDevice();
afterAll(() => device.close());

const folder = mkdtempSync(join(tmpdir(), "vbon-bench-"));
const SMALL = "matmul nn 256x64x64";

const line: Line = { name: SMALL, ms: 2, bestMs: 1, cpuMs: 4, error: 0 };
const earlier = (times: Partial<Line>) => ({
  adapter: "x",
  lines: new Map([[SMALL, { ms: 1, bestMs: 1, ...times }]]),
});

describe("vbon bench", () => {
  it("checks and times, with ceilings, and finds a regression against a faster past", async () => {
    const out = join(folder, "before.jsonl");
    const first = await vbon(device, ["bench", SMALL, "--time", 20, "--json", "--out", out]);
    expect(first).toMatchObject({ code: 0, stderr: "" });
    const [machine, result] = first.stdout.trim().split("\n").map((text) => JSON.parse(text) as Line); // prettier-ignore
    expect(machine).toMatchObject({ adapter: device.name, ceilings: { gflops: {}, gbs: {} } });
    expect(result).toMatchObject({ name: SMALL, unit: "GFLOP/s" });
    expect(result!.share).toBeGreaterThan(0);
    expect(result!.error).toBeLessThan(1e-5);
    expect(readFileSync(out, "utf8")).toBe(first.stdout);

    const faster = { name: SMALL, ms: 1e-6, bestMs: 1e-6, cpuMs: 1e-6 };
    writeFileSync(out, `{"adapter":"another"}\n${JSON.stringify(faster)}\n`);
    const second = await vbon(device, ["bench", SMALL, "--time", 20, "--compare", out]);
    expect(second.code).toBe(1);
    expect(second.stdout).toMatch(/x as slow .*REGRESSION/);
    expect(second.stderr).toContain("another adapter (another)");
  });

  it("names the groups when a name chooses nothing", async () => {
    const { code, stderr } = await vbon(device, ["bench", "matmull"]);
    expect(code).toBe(2);
    expect(stderr).toBe(
      `vbon bench: no benchmark "matmull"; the groups are ${Object.keys(groups).join(", ")}, steady; or give a part of a name, such as "matmul nt"\n`,
    );
  });

  it("refuses earlier results that are none", async () => {
    const path = join(folder, "none.jsonl");
    writeFileSync(path, "{}\n");
    await expect(readEarlier(path)).rejects.toThrow("found no line with name and ms");
    writeFileSync(path, "no json");
    await expect(readEarlier(path)).rejects.toThrow("line 1: expected a JSON object");
  });

  it("prints its help", async () => {
    expect((await vbon(device, ["bench", "--help"])).stdout).toMatchSnapshot();
  });
});

describe("comparing", () => {
  it("judges processor time where both have it, else the best time", () => {
    expect(compare(line, earlier({ cpuMs: 2 }), 15)).toEqual({
      ratio: 0.5,
      by: "processor",
      regressed: true,
    });
    expect(compare(line, earlier({}), 15)).toEqual({ ratio: 1, by: "best", regressed: false });
    expect(compare(line, earlier({ cpuMs: 3.5 }), 15)?.regressed).toBe(false); // 1.143 times as slow
    expect(compare(line, earlier({ cpuMs: 3.4 }), 15)?.regressed).toBe(true); // 1.176 times
    expect(compare({ ...line, name: "new" }, earlier({}), 15)).toBeUndefined();
  });
});

describe("measuring", () => {
  const job = (error: number): Job => ({
    flops: 1,
    bytes: 0,
    tolerance: 1e-5,
    check: async () => error,
    submit: () => {},
    dispose: () => {},
  });

  it.each([1, NaN])("does not time a wrong result (error %f)", async (error) => {
    await expect(measure(device, "wrong", job(error), { time: 1 })).rejects.toThrow(
      "expected at most 0.00001",
    );
  });

  it("finds ceilings that no kernel here exceeds by much", async () => {
    const { gflops, gbs } = await measureCeilings(device);
    expect(gflops.wall).toBeGreaterThan(0.1);
    expect(gbs.wall).toBeGreaterThan(0.01);
  });

  it("takes the middle", () => {
    expect([median([3, 1, 2]), median([4, 1, 2, 3]), median([5])]).toEqual([2, 2.5, 5]);
  });

  it("makes every job of every group under a name of its own", () => {
    const names = Object.values(groups).flatMap((plans) => plans.map(({ name }) => name));
    expect(new Set(names).size).toBe(names.length);
  });
});

it("every kind of step, decoding and alignment passes its check", { timeout: 240_000 }, async () => {
  const chosen = ["step stories", "decode stories260K, 64", "align"].map(
    (part) => Object.values(groups).flat().find(({ name }) => name.startsWith(part))!, // prettier-ignore
  );
  for (const plan of chosen) {
    const made = await plan.make(device);
    expect(await made.check(), plan.name).toBeLessThanOrEqual(made.tolerance);
    made.dispose();
  }
});

it("a short run is steady", async () => {
  const run = { steps: 40, block: 20, shape: { ...STEADY_RUN.shape, B: 2, T: 8 } };
  const { grown, steps } = await measureSteady(device, run);
  expect({ grown, steps }).toEqual({ grown: [], steps: 40 });
});
