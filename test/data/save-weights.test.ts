/** Weights in one file or in several: what is read back, and what an earlier save left. */
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { writeWeights } from "../../src/data/weights/save.ts";
import { openSafetensors } from "../../src/data/weights/safetensors.ts";
import { formatErrorOf, temporaryFolder } from "./support.ts";

const folder = temporaryFolder();
const tensors = ["a", "b", "c", "d"].map((name, i) => ({
  name,
  dtype: "F32" as const,
  shape: [2, i + 1],
  data: Float32Array.from({ length: 2 * (i + 1) }, (_, n) => n + i / 4),
}));
const weights = (): string[] => readdirSync(folder).filter((name) => name.startsWith("model"));

it("writes several files beside their index where one would be too large, and reads the same", async () => {
  await writeWeights(folder, tensors, 1e9);
  expect(weights()).toEqual(["model.safetensors"]);
  await writeWeights(folder, tensors, 24);
  expect(weights()).toEqual([
    "model-00001-of-00003.safetensors",
    "model-00002-of-00003.safetensors",
    "model-00003-of-00003.safetensors",
    "model.safetensors.index.json",
  ]);
  const index = JSON.parse(readFileSync(join(folder, "model.safetensors.index.json"), "utf8")) as object;
  expect(index).toEqual({
    metadata: { total_size: 80 },
    weight_map: {
      a: "model-00001-of-00003.safetensors",
      b: "model-00001-of-00003.safetensors",
      c: "model-00002-of-00003.safetensors",
      d: "model-00003-of-00003.safetensors", // larger than the limit, and never cut
    },
  });
  const checkpoint = await openSafetensors(folder);
  for (const { name, shape, data } of tensors) {
    expect(checkpoint.tensors.get(name)!.shape).toEqual(shape);
    expect(await checkpoint.read(name)).toEqual(data);
  }
});

it("goes back to one file, which alone is read", async () => {
  await writeWeights(folder, tensors.slice(0, 2), 1e9);
  expect(existsSync(join(folder, "model.safetensors.index.json"))).toBe(false);
  expect([...(await openSafetensors(folder)).tensors.keys()]).toEqual(["a", "b"]);
});

it("refuses a limit that is none", async () => {
  expect(await formatErrorOf(writeWeights(folder, tensors, 0))).toContain("above 0 bytes, got 0");
});
