/** A command with the name of a model on the hub in place of its folder. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, it, vi } from "vitest";
import { testDevice } from "../support/device.ts";
import { hubServer } from "../support/hub-server.ts";
import { vbon } from "../support/run-cli.ts";
import { tinyLm } from "../support/tiny-lm.ts";
import { scratch } from "../support/training.ts";

const device = await testDevice();
const folder = scratch();
await tinyLm(device, folder);
const server = await hubServer(
  new Map(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name))])),
);
afterAll(async () => {
  vi.unstubAllEnvs();
  await server.close();
  await device.close();
});

it("draws from it what it draws from the folder", async () => {
  vi.stubEnv("HF_ENDPOINT", server.url);
  vi.stubEnv("HF_HUB_CACHE", scratch());
  const draw = (model: string) =>
    vbon(device, ["generate", "--model", model, "--prompt", "the cat", "--max-new-tokens", 6]);
  const fetched = await draw("owner/tiny@v1");
  expect(fetched.code, fetched.stderr).toBe(0);
  expect(fetched.stdout).toBe((await draw(folder)).stdout);
  expect(fetched.stderr).toContain("model.safetensors");
});

it("averages it with one on disk", async () => {
  vi.stubEnv("HF_ENDPOINT", server.url);
  vi.stubEnv("HF_HUB_CACHE", scratch());
  const out = join(scratch(), "mean");
  const { code, stderr } = await vbon(device, ["average", "owner/tiny@v1", folder, "--out", out]);
  expect(code, stderr).toBe(0);
  const weights = (of: string): Buffer => readFileSync(join(of, "model.safetensors"));
  expect(weights(out).equals(weights(folder))).toBe(true);
});
