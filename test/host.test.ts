import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { FormatError } from "../src/errors.ts";
import {
  cores,
  cpuTime,
  env,
  gpu,
  packageUrl,
  readBytes,
  readText,
  runtime,
  sleepSlice,
  yieldToEvents,
} from "../src/host.ts";

describe("gpu", () => {
  it("opens an adapter and a device on this machine", async () => {
    const adapter = await (await gpu()).requestAdapter();
    expect(adapter).not.toBeNull();
    const device = await adapter?.requestDevice();
    const buffer = device?.createBuffer({ size: 16, usage: GPUBufferUsage.STORAGE });
    expect(buffer?.size).toBe(16);
    device?.destroy();
  });

  it("gives the same object for the same options", async () => {
    expect(await gpu()).toBe(await gpu());
    expect(await gpu(["enable-dawn-features=disable_robustness"])).not.toBe(await gpu());
  });
});

describe("files", () => {
  it("finds and reads the package's own", async () => {
    expect(existsSync(fileURLToPath(packageUrl("package.json")))).toBe(true);
    expect(JSON.parse(await readText(packageUrl("package.json")))).toMatchObject({ name: "vbon" });
    expect((await readBytes(packageUrl("LICENSE"))).subarray(0, 3)).toEqual(new TextEncoder().encode("MIT"));
  });

  it("names the file that it cannot read", async () => {
    const missing = readText(packageUrl("no/such.wgsl"));
    await expect(missing).rejects.toThrow(FormatError);
    await expect(missing).rejects.toThrow(/no\/such\.wgsl: expected a readable file/);
  });
});

it("knows how many processors there are", () => {
  expect(cores()).toBe(availableParallelism());
});

describe("time", () => {
  it("sleeps without using the CPU", () => {
    const [wall, cpu] = [performance.now(), cpuTime()];
    for (let i = 0; i < 20; i++) sleepSlice(5);
    expect(performance.now() - wall).toBeGreaterThanOrEqual(95);
    expect(cpuTime() - cpu).toBeLessThan(50);
  });

  it("lets events run", async () => {
    let ran = false;
    setImmediate(() => (ran = true));
    await yieldToEvents();
    expect(ran).toBe(true);
  });
});

it("knows its runtime and environment", () => {
  expect(runtime()).toMatch(/^(?:node|deno|bun) \d+\.\d+/);
  expect(env("VBON_NO_SUCH_VARIABLE")).toBeUndefined();
});
