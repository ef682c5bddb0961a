/** Models from an address, and from files by name: the bits and ids of those from disk. And adapters, from both. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { loadAdapter } from "../../models/adapter.ts";
import { createModel } from "../../models/model.ts";
import { loadModel, loadScalarModel, modelFiles, saveModel } from "../../models/load.ts";
import { loadTokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import { peftConfig, waves, writeAdapter } from "../support/adapters.ts";
import { testDevice } from "../support/device.ts";
import { fileServer } from "../support/file-server.ts";
import { SMALL } from "../support/small-models.ts";

const device = await testDevice();
const folder = await mkdtemp(join(tmpdir(), "vbon-from-"));
const fixtures = new URL("../fixtures/models/", import.meta.url).pathname;
const server = await fileServer(fixtures);
afterAll(async () => {
  await server.close();
  await rm(folder, { recursive: true });
  await device.close();
});
const frozen = { trainable: false } as const;

it.each(["gpt2-tiny", "gpt2-tiny-f16", "llama-tiny-gqa-sharded", "gpt2-tiny-torchbin"])(
  "has the same bits from an address: %s",
  async (name) => {
    const here = await loadModel(device, join(fixtures, name), frozen);
    let loaded = [0, 1];
    const onProgress = (...said: [number, number]): unknown => (loaded = said);
    const there = await loadModel(device, new URL(`${name}/`, server.url), { ...frozen, onProgress });
    expect(loaded).toEqual([there.parameters.count, there.parameters.count]);
    expect(await there.parameters.hash()).toBe(await here.parameters.hash());
    expect(there.config).toEqual(here.config);
  },
);

it("is a reward from an address", async () => {
  const name = "gpt-neox-reward-tiny";
  const here = await loadScalarModel(device, join(fixtures, name), frozen);
  const there = await loadScalarModel(device, new URL(name, server.url), frozen);
  expect(await there.parameters.hash()).toBe(await here.parameters.hash());
});

it("has the same ids from an address", async () => {
  const shipped = new URL("../../checkpoints/movie-lm/", import.meta.url);
  const web = await fileServer(shipped.pathname);
  const [here, there] = [await loadTokenizer(shipped), await loadTokenizer(web.url)];
  await web.close();
  const text = "the film is, well, a café of 1,000 naïve ideas";
  expect(there.encode(text)).toEqual(here.encode(text));
  expect([there.eosId, there.vocabSize]).toEqual([here.eosId, here.vocabSize]);
});

it.each([{}, { dtype: "BF16" as const }, { maxShardBytes: 20_000 }])(
  "gives the files that it would write, which load again: %o",
  async (options) => {
    const model = await loadModel(device, join(fixtures, "llama-tiny-gqa"), frozen);
    const files = await modelFiles(model, options);
    await saveModel(folder, model, options);
    for (const [name, blob] of Object.entries(files)) {
      const written = await readFile(join(folder, name));
      expect(Buffer.compare(new Uint8Array(await blob.arrayBuffer()), written), name).toBe(0);
    }
    const [again, fromDisk] = [
      await loadModel(device, files, frozen),
      await loadModel(device, folder, frozen),
    ];
    expect(await again.parameters.hash()).toBe(await fromDisk.parameters.hash());
  },
);

it("takes adapters from an address", async () => {
  const base = createModel(device, { ...SMALL.llama, num_hidden_layers: 1 }, { trainable: false, seed: 2 });
  const [A, B] = [waves(2 * 32, 1), waves(16 * 2, 2)];
  const module = "base_model.model.model.layers.0.self_attn.v_proj";
  const tensors = {
    [`${module}.lora_A.weight`]: { shape: [2, 32], values: A },
    [`${module}.lora_B.weight`]: { shape: [16, 2], values: B },
  };
  const web = await fileServer(writeAdapter(folder, tensors, peftConfig({})));
  const adapter = await loadAdapter(base, web.url);
  await web.close();
  expect(await adapter.hash()).toBe(await (await loadAdapter(base, folder)).hash());
});

it("is refused for an address that has no model, and for one that is a page's", async () => {
  await expect(loadModel(device, server.url, frozen)).rejects.toThrow(
    `${server.url.href}config.json: expected a file, got HTTP status 404; there is no such file`,
  );
  server.faults.pages = true;
  await expect(loadModel(device, server.url, frozen)).rejects.toThrow("got a page of HTML");
});
