/** A small alignment task on disk: a random model, a reward that counts a letter, caches to train and to test on. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import type { Device } from "../../src/gpu/device.ts";
import { testDevice } from "./device.ts";
import { flags, vbon } from "./run-cli.ts";
import { letterReward, promptFile, tinyLm } from "./tiny-lm.ts";

type Settings = Parameters<typeof flags>[0];

/** Paths of a task, and the flags of a run of four iterations in a second or two. */
export interface AlignTask {
  readonly folder: string;
  readonly policy: string;
  readonly reward: string;
  readonly train: string;
  readonly test: string;
  readonly run: Settings;
}

/** How the caches are sampled. */
export const sampling: Settings = { samples: 8, rows: 16, maxNewTokens: 6, seed: 5 };

/** Makes the task in a new temporary folder; `more` is of how the caches are sampled. */
export async function alignTask(device: Device, more: Settings = {}): Promise<AlignTask> {
  const folder = mkdtempSync(join(tmpdir(), "vbon-align-"));
  const policy = join(folder, "model");
  await tinyLm(device, policy);
  const reward = letterReward(folder);
  const prompts = promptFile(folder, 10);
  const [train, test] = [join(folder, "train.jsonl"), join(folder, "test.jsonl")];
  for (const part of [
    { out: train, count: 6 },
    { out: test, skip: 6 },
  ]) {
    const { code, stderr } = await vbon(device, [
      "cache",
      ...flags({ policy, reward, prompts, ...sampling, ...more, ...part }),
    ]);
    if (code !== 0) throw new Error(stderr);
  }
  const sizes = { episodes: 64, rollout: 16, minibatch: 8, microBatch: 8, rows: 16, evalSamples: 2 };
  return {
    folder,
    policy,
    reward,
    train,
    test,
    run: { policy, reward, cache: train, n: 3, lr: 5e-3, ...sizes },
  };
}

/** A device with a task in a temporary folder, both gone when the tests of the file have run; and paths in that folder. */
export async function openAlignTask(more: Settings = {}): Promise<{
  device: Device;
  task: AlignTask;
  at(name: string): string;
}> {
  const device = await testDevice();
  const task = await alignTask(device, more);
  afterAll(async () => {
    rmSync(task.folder, { recursive: true });
    await device.close();
  });
  return { device, task, at: (name) => join(task.folder, name) };
}

/** What a run has computed: every file that must not depend on where it was interrupted, without the times it took. */
export function computed(out: string): Record<string, string> {
  const files = readdirSync(join(out, "model"))
    .filter((name) => name !== "README.md")
    .map((name) => `model/${name}`);
  const all = [...files, "checkpoint/tensors.safetensors", "metrics.jsonl", "samples.jsonl"];
  return Object.fromEntries(all.map((name) => [name, timeless(readFileSync(join(out, name), "latin1"))]));
}

const timeless = (text: string): string => text.replace(/"(tokensPerSecond|\w+Seconds)":[\d.e-]+/g, '"$1":0');
