import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { createParameters, type Parameters } from "../../src/nn/parameters.ts";
import { createAdamW, type Optimizer } from "../../src/optim/adamw.ts";
import {
  type Carried,
  carriedOf,
  findCheckpoint,
  loadCheckpoint,
  saveCheckpoint,
} from "../../src/train/checkpoint.ts";
import { openRecords, readRecords } from "../../src/train/metrics.ts";
import { openRunFolder } from "../../src/train/run-folder.ts";
import { testDevice } from "../support/device.ts";
import { scratch } from "../support/training.ts";

const device = await testDevice();
afterAll(() => device.close());

async function made(
  seed: number,
  width = 3,
): Promise<{ parameters: Parameters; optimizer: Optimizer; carried: Carried }> {
  const specs = [{ name: "w", shape: [2, width], init: "normal" as const, decay: true }];
  const parameters = createParameters(device, specs, { trainable: true, seed });
  const optimizer = await createAdamW(device, parameters, { weightDecay: 0.1 });
  return { parameters, optimizer, carried: carriedOf(parameters, optimizer) };
}

/** A few steps with gradients that follow from the step. */
function steps({ parameters, optimizer }: Awaited<ReturnType<typeof made>>, from: number, to: number): void {
  for (let i = from; i < to; i++) {
    parameters.get("w").grad!.write(Array.from({ length: 6 }, (_, j) => Math.sin(i * 7 + j)));
    optimizer.step(0.01);
  }
}

describe("checkpoints", () => {
  it("restore weights, moments and step counts bit for bit", async () => {
    const run = scratch();
    const [a, b] = [await made(1), await made(2)];
    steps(a, 0, 3);
    await saveCheckpoint(run, a.carried, { step: 3, note: "x" });
    steps(a, 3, 6);
    expect(await loadCheckpoint((await findCheckpoint(run))!, b.carried)).toEqual({ step: 3, note: "x" });
    steps(b, 3, 6);
    expect(await b.parameters.readAll()).toEqual(await a.parameters.readAll());
    expect(b.optimizer.steps).toBe(6);
  });

  it("survive a kill at every moment of a save", async () => {
    const run = scratch();
    const a = await made(1);
    const [now, next, old] = ["", ".new", ".old"].map((end) => join(run, `checkpoint${end}`)) as [
      string,
      string,
      string,
    ];
    const found = async (): Promise<unknown> =>
      (await loadCheckpoint((await findCheckpoint(run))!, a.carried)).step;

    mkdirSync(next); // killed in the first save
    writeFileSync(join(next, "tensors.safetensors"), "half");
    expect(await findCheckpoint(run)).toBeUndefined();
    await saveCheckpoint(run, a.carried, { step: 1 });
    expect(readdirSync(run)).toEqual(["checkpoint"]);

    mkdirSync(next); // killed while writing the second
    expect(await found()).toBe(1);
    renameSync(now, old); // killed between the renames
    expect(await found()).toBe(1);
    await saveCheckpoint(run, a.carried, { step: 2 });
    expect(await found()).toBe(2);
    cpSync(now, old, { recursive: true }); // killed before the old one was removed
    expect(await found()).toBe(2);
    await saveCheckpoint(run, a.carried, { step: 3 });
    expect(await found()).toBe(3);
    expect(existsSync(old)).toBe(false);
  });

  it("refuse a truncated file, another model, another format", async () => {
    const run = scratch();
    const [a, wider] = [await made(1), await made(1, 4)];
    await saveCheckpoint(run, a.carried, { step: 1 });
    const folder = join(run, "checkpoint");
    await expect(loadCheckpoint(folder, wider.carried)).rejects.toThrow("w: expected [2,4], got [2,3]");
    const missing = {
      ...a.carried,
      tensors: new Map([...a.carried.tensors, ["other", a.parameters.get("w")] as const]),
    };
    await expect(loadCheckpoint(folder, missing)).rejects.toThrow("it has no other");
    truncateSync(join(folder, "tensors.safetensors"), 300);
    await expect(loadCheckpoint(folder, a.carried)).rejects.toThrow("tensors.safetensors");
    writeFileSync(join(folder, "state.json"), "{}");
    await expect(loadCheckpoint(folder, a.carried)).rejects.toThrow("expected the state of a checkpoint");
  });
});

describe("run folders", () => {
  it("drop the records after the checkpoint when they resume, a torn line too", async () => {
    const path = join(scratch(), "metrics.jsonl");
    const records = await openRecords(path);
    for (const step of [1, 2, 3]) await records.write({ step, loss: step / 2 });
    await records.close();
    writeFileSync(path, `${readFileSync(path, "utf8")}{"step": 4, "lo`);
    await (await openRecords(path, 2)).close();
    expect(await readRecords(path)).toEqual([
      { step: 1, loss: 0.5 },
      { step: 2, loss: 1 },
    ]);
  });

  it("refuse a folder that holds a run, and begin again where no checkpoint was written", async () => {
    const { carried } = await made(1);
    const path = join(scratch(), "run");
    const first = await openRunFolder(path, { lr: 1 }, carried, false);
    await first.metrics.write({ step: 1, loss: 1 });
    await first.close();
    await expect(openRunFolder(path, { lr: 1 }, carried, false)).rejects.toThrow(
      "holds a run already; continue it with --resume",
    );
    const again = await openRunFolder(path, { lr: 1 }, carried, true);
    expect(again.restored).toBeUndefined();
    await again.close();
    expect(await readRecords(join(path, "metrics.jsonl"))).toEqual([]);
  });
});
