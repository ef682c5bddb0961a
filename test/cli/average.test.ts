/** `vbon average`: the mean of weights to the last digit, a folder that others read, refusals of what has no average. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openSafetensors } from "../../src/data/weights/safetensors.ts";
import { testDevice } from "../support/device.ts";
import { type Outcome, vbon } from "../support/run-cli.ts";
import { tinyLm } from "../support/tiny-lm.ts";

const device = await testDevice();
const folder = mkdtempSync(join(tmpdir(), "vbon-average-"));
const at = (name: string): string => join(folder, name);
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await device.close();
});

beforeAll(async () => {
  for (const seed of [1, 2, 3]) await tinyLm(device, at(`m${seed}`), seed);
  await tinyLm(device, at("wide"), 1, 0, { intermediate_size: 64 });
});

const average = (...argv: string[]): Promise<Outcome> => vbon(device, ["average", ...argv]);

/** All values of a folder's model, tensor by tensor in the order of their names. */
async function values(name: string): Promise<number[]> {
  const { tensors, read } = await openSafetensors(at(`${name}/model.safetensors`));
  const all: number[] = [];
  for (const tensor of [...tensors.keys()].toSorted()) all.push(...(await read(tensor)));
  return all;
}

describe("vbon average", () => {
  it.each([
    { name: "alike", weights: [], shares: [1 / 3, 1 / 3, 1 / 3] },
    { name: "weighed", weights: ["--weights", "1,2,5"], shares: [1 / 8, 2 / 8, 5 / 8] },
  ])("is the mean of all weights, $name", async ({ name, weights, shares }) => {
    const { code, stdout, stderr } = await average(
      at("m1"),
      at("m2"),
      at("m3"),
      ...weights,
      "--out",
      at(name),
    );
    expect(code, stderr).toBe(0);
    expect(stdout.trim()).toBe(at(name));
    const [a, b, c] = [await values("m1"), await values("m2"), await values("m3")];
    const found = await values(name);
    expect(found).toHaveLength(a.length);
    const largest = Math.max(...a.map(Math.abs));
    const errors = found.map((v, i) =>
      Math.abs(v - (shares[0]! * a[i]! + shares[1]! * b[i]! + shares[2]! * c[i]!)),
    );
    expect(Math.max(...errors) / largest).toBeLessThan(2e-7);
    expect(readFileSync(at(`${name}/README.md`), "utf8")).toContain(
      "The average of the weights of 3 models.",
    );
  });

  it("of a model with itself is that model, bit for bit, and generates", async () => {
    expect((await average(at("m1"), at("m1"), "--out", at("same"))).code).toBe(0);
    expect(await values("same")).toEqual(await values("m1"));
    const text = async (model: string): Promise<string> => {
      const { stdout } = await vbon(device, [
        "generate",
        "--model",
        at(model),
        "--prompt",
        "the cat",
        "--seed",
        3,
      ]);
      return stdout;
    };
    expect(await text("same")).toBe(await text("m1"));
  });

  it("refuses what has no average, and leaves nothing behind", async () => {
    const refused = async (...argv: string[]): Promise<string> => {
      const { code, stderr } = await average(...argv);
      expect(code).toBe(2);
      return stderr;
    };
    const to = ["--out", at("refused")];
    expect(await refused(at("m1"), ...to)).toMatch(/at least two models, got 1/);
    expect(await refused(at("m1"), at("wide"), ...to)).toMatch(
      /\[32,16\].*\[64,16\]; expected models that began as one/,
    );
    expect(await refused(at("m1"), at("m2"), "--weights", "1", ...to)).toMatch(/expected 2 numbers above 0/);
    expect(await refused(at("m1"), at("m2"), "--weights", "1,-1", ...to)).toMatch(/above 0/);
    expect(await refused(at("m1"), at("nowhere"), ...to)).toMatch(/nowhere/);
    expect(existsSync(at("refused"))).toBe(false);
    expect(await refused(at("m2"), at("m3"), "--out", at("m1"))).toMatch(/there is a model already/);
    expect(await refused(at("m2"), at("m3"), "--out", at("m1/config.json"))).toMatch(/expected a folder/);
  });
});
