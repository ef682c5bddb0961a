/** `vbon profile`: every call of a step timed, shares that add up, the trace and the picture. */
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { measureCeilings } from "../../src/bench/ceiling.ts";
import { profile, type KernelRow, type Profile } from "../../src/bench/profile.ts";
import { openDevice } from "../../src/gpu/device.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { exp } from "../../src/ops/unary.ts";
import { input, record } from "../../src/tensor/tensor.ts";
import { testDevice } from "../support/device.ts";
import { vbon } from "../support/run-cli.ts";

const device = await testDevice();
afterAll(() => device.close());
// Tests' devices validate, which costs the toggle that makes Dawn's timestamps exact.
const exact = await openDevice();
afterAll(() => exact.close());
const folder = mkdtempSync(join(tmpdir(), "vbon-profile-"));

describe("profile", () => {
  it.each([false, true])("times each call of a program, alone: %s", async (alone) => {
    const program = await record(exact, "two", () => exp(matmul(input([64, 64]), input([64, 64]), undefined))); // prettier-ignore
    const workload = { run: () => program.run(), of: () => true, hostOnly: true, steps: 1 };
    const taken = await profile(exact, workload, await measureCeilings(exact), { runs: 2, alone });
    expect(taken.by).toBe(alone || !exact.gpu.features.has("timestamp-query") ? "alone" : "timestamps");
    expect(taken.dispatches).toBe(program.calls.length);
    expect(taken.timeline.map(({ kernel }) => kernel)).toEqual(program.calls.map(({ spec }) => spec.label));
    expect(taken.rows.reduce((sum, { part }) => sum + part, 0)).toBeCloseTo(1, 9);
    const product = taken.rows.find(({ kernel }) => kernel.startsWith("matmul"))!;
    expect(product).toMatchObject({ calls: 1, flops: 2 * 64 ** 3, bytes: 3 * 64 * 64 * 4 });
    expect(product.ms).toBeGreaterThan(0);
    expect(taken.hostMs).toBeLessThanOrEqual(taken.wallMs);
    expect(await program.result.read()).toEqual(new Float32Array(64 * 64).fill(1));
    program.dispose();
  });
});

describe("vbon profile", () => {
  it("prints a step as a table's rows, and writes the trace and the picture", async () => {
    const [trace, svg] = [join(folder, "trace.json"), join(folder, "roofline.svg")];
    const files = ["--trace", trace, "--svg", svg];
    const ran = await vbon(device, ["profile", "step", "--size", "tiny", "--batch", 1, "--length", 16, "--runs", 1, "--json", ...files]); // prettier-ignore
    expect(ran).toMatchObject({ code: 0, stderr: "" });
    const result = JSON.parse(ran.stdout) as Profile & { rows: KernelRow[] };
    const kernels = new Set(result.rows.map(({ kernel }) => kernel.split(".")[0]));
    for (const name of ["attention", "norm", "adamw"]) expect(kernels).toContain(name);
    expect(result.rows.reduce((n, { calls }) => n + calls, 0)).toBe(result.dispatches);
    const { traceEvents } = JSON.parse(readFileSync(trace, "utf8")) as { traceEvents: { ph: string }[] };
    expect(traceEvents.filter(({ ph }) => ph === "X")).toHaveLength(result.dispatches);
    expect(readFileSync(svg, "utf8")).toMatch(/^<svg[^]*GFLOP\/s[^]*<\/svg>\s*$/);
  });

  it("takes decoding apart", async () => {
    const ran = await vbon(device, ["profile", "decode", "--size", "stories", "--batch", 4, "--length", 24, "--runs", 1]); // prettier-ignore
    expect([ran.code, ran.stderr]).toEqual([0, ""]);
    expect(ran.stdout).toMatch(/tokens\/s[^]*kv-cache/);
  });

  it("refuses what it does not know and what the model cannot read, and prints its help", async () => {
    const refused = async (...argv: string[]): Promise<string> => {
      const { code, stderr } = await vbon(device, ["profile", ...argv]);
      expect(code).toBe(2);
      return stderr;
    };
    expect(await refused("training")).toMatch(/step\|decode: expected one of "step"\|"decode"; got/);
    expect(await refused("step", "--size", "tiny", "--length", "65")).toContain("65 tokens a row exceed the model's context of 64"); // prettier-ignore
    expect(await refused("decode", "--length", "8")).toContain("expected more than the prompt's 8");
    expect((await vbon(device, ["profile", "--help"])).stdout).toMatchSnapshot();
  });
});
