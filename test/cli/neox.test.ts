/** A tiny random GPT-NeoX folder through the verbs: generate, cache, align, and generate from what came out. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { testDevice } from "../support/device.ts";
import { vbon } from "../support/run-cli.ts";
import { letterReward, promptFile, tinyLm } from "../support/tiny-lm.ts";

const device = await testDevice();
const folder = mkdtempSync(join(tmpdir(), "vbon-neox-"));
const at = (name: string): string => join(folder, name);
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await device.close();
});

async function succeed(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await vbon(device, args);
  expect(code, stderr).toBe(0);
  return stdout;
}

it("is sampled, cached, aligned, and sampled again", { timeout: 120_000 }, async () => {
  const neox = { model_type: "gpt_neox", rotary_pct: 0.5, tie_word_embeddings: false };
  await tinyLm(device, at("lm"), 1, 0, neox);
  const sample = (model: string): Promise<string> =>
    succeed("generate", "--model", model, "--prompt", "the cat", "--greedy", "--max-new-tokens", "8");
  expect(await sample(at("lm"))).toBe(await sample(at("lm")));
  const shared = ["--policy", at("lm"), "--reward", letterReward(folder)];
  const size = ["--samples", "8", "--max-new-tokens", "6"];
  await succeed("cache", ...shared, "--prompts", promptFile(folder, 4), ...size, "--out", at("c.jsonl"));
  const sizes = ["--episodes", "32", "--rollout", "16", "--minibatch", "8", "--rows", "16"];
  const run = ["--cache", at("c.jsonl"), "--n", "3", "--lr", "5e-3", "--out", at("run")];
  await succeed("align", ...shared, ...run, ...sizes);
  expect((await sample(join(at("run"), "model"))).length).toBeGreaterThan(0);
});
