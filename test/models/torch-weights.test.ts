/** `pytorch_model.bin` beside a config: the same models as from safetensors. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { loadModel, loadScalarModel, saveModel } from "../../models/load.ts";
import { testDevice } from "../support/device.ts";
import { golden } from "../support/golden.ts";
import { expectAllAbsolute } from "../support/golden-checks.ts";
import { classifierRun } from "../support/classifiers.ts";
import type { Padded } from "../support/models.ts";
import { torchZip } from "../support/torch-file.ts";

const device = await testDevice();
const folder = await mkdtemp(join(tmpdir(), "vbon-torch-"));
afterAll(async () => {
  await rm(folder, { recursive: true });
  await device.close();
});
const fixture = (name: string): string => new URL(`../fixtures/models/${name}`, import.meta.url).pathname;
const frozen = { trainable: false } as const;

it("gives the weights of the same model in safetensors, bit for bit", async () => {
  const safe = await loadModel(device, fixture("gpt2-tiny"), frozen);
  const torch = await loadModel(device, fixture("gpt2-tiny-torchbin"), frozen);
  expect(await torch.parameters.hash()).toBe(await safe.parameters.hash());
  await saveModel(join(folder, "saved"), torch);
  const again = await loadModel(device, join(folder, "saved"), frozen);
  expect(await again.parameters.hash()).toBe(await safe.parameters.hash());
});

it("gives the float64 rewards of bfloat16 weights", async () => {
  const name = "gpt-neox-reward-tiny-torchbin-bf16";
  const { rewards, right_padded: padded } = golden<{ rewards: number[]; right_padded: Padded }>(
    `models/${name}/expected.json`,
  );
  const model = await loadScalarModel(device, fixture(name), frozen);
  const run = await classifierRun(model, { padded, labels: rewards.map(() => 0) });
  run.run();
  expectAllAbsolute(await run.logits(), rewards, 2e-5, "rewards");
});

it("comes in shards, beside an index", async () => {
  const model = await loadModel(device, fixture("llama-tied-tiny"), frozen);
  const shards = join(folder, "shards");
  await mkdir(shards);
  await writeFile(
    join(shards, "config.json"),
    await readFile(join(fixture("llama-tied-tiny"), "config.json")),
  );
  const values = [...(await model.parameters.readAll())];
  const tensors = values.map(
    ([name, data]) => [name, { shape: model.parameters.get(name).shape, data }] as const,
  );
  const files = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"];
  for (const [i, file] of files.entries())
    await writeFile(join(shards, file), torchZip(Object.fromEntries(tensors.filter((_, n) => n % 2 === i))));
  const write = (map: object): Promise<void> =>
    writeFile(join(shards, "pytorch_model.bin.index.json"), JSON.stringify({ weight_map: map }));
  const map = Object.fromEntries(tensors.map(([name], n) => [name, files[n % 2]!]));
  await write(map);
  const again = await loadModel(device, shards, frozen);
  expect(await again.parameters.hash()).toBe(await model.parameters.hash());
  await write({ ...map, [tensors[0]![0]]: "../elsewhere.bin" });
  await expect(loadModel(device, shards, frozen)).rejects.toThrow(
    "expected the name of a .bin file beside the index",
  );
});

it("is not needed where there are safetensors, and is asked for where there is nothing", async () => {
  await writeFile(join(folder, "saved", "pytorch_model.bin"), "not read");
  await loadModel(device, join(folder, "saved"), frozen);
  await mkdir(join(folder, "empty"));
  await writeFile(
    join(folder, "empty", "config.json"),
    await readFile(join(fixture("gpt2-tiny"), "config.json")),
  );
  await expect(loadModel(device, join(folder, "empty"), frozen)).rejects.toThrow(
    "expected model.safetensors or model.safetensors.index.json (or torch's pytorch_model.bin)",
  );
});
