/** What training leaves behind: every file that others expect in a model's folder, in the dtype asked for, and loadable again. */
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { loadTokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import { openSafetensors } from "../../src/data/weights/safetensors.ts";
import { testDevice } from "../support/device.ts";
import { flags, type Outcome, vbon } from "../support/run-cli.ts";
import { letterReward, promptFile, tinyLm } from "../support/tiny-lm.ts";

const device = await testDevice();
const folder = mkdtempSync(join(tmpdir(), "vbon-save-"));
const model = join(folder, "start");
await tinyLm(device, model);
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await device.close();
});

type Settings = Parameters<typeof flags>[0];
const run = async (verb: string, settings: Settings): Promise<Outcome> => {
  const outcome = await vbon(device, [verb, ...flags(settings)]);
  expect([outcome.code, outcome.stderr]).toEqual([0, expect.any(String)]);
  return outcome;
};
const data = (name: string, records: readonly unknown[]): string => {
  const path = join(folder, name);
  writeFileSync(path, records.map((record) => `${JSON.stringify(record)}\n`).join(""));
  return path;
};
const text = (out: string, file: string): string => readFileSync(join(folder, out, "model", file), "utf8");
const json = (out: string, file: string): Record<string, unknown> =>
  JSON.parse(text(out, file)) as Record<string, unknown>;
const files = (out: string): string[] => readdirSync(join(folder, out, "model"));
const dtypes = async (out: string): Promise<Set<string>> =>
  new Set(
    [...(await openSafetensors(join(folder, out, "model"))).tensors.values()].map(({ dtype }) => dtype),
  );

it("of sft: weights, config, tokenizer, generation settings, card", async () => {
  const texts = Array.from({ length: 40 }, () => ({
    text: "the cat sat on a mat and the dog ran to a tree",
  }));
  const out = join(folder, "sft");
  await run("sft", {
    model,
    data: data("t.jsonl", texts),
    out,
    block: 16,
    steps: 2,
    batch: 2,
    dtype: "bf16",
    sampleEvery: 0,
  });
  expect(files("sft")).toEqual([
    "README.md",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
  ]);
  expect(await dtypes("sft")).toEqual(new Set(["BF16"]));
  expect(json("sft", "config.json")).toMatchObject({
    torch_dtype: "bfloat16",
    architectures: ["LlamaForCausalLM"],
  });
  const { eosId } = await loadTokenizer(model);
  expect(json("sft", "generation_config.json")).toMatchObject({
    eos_token_id: [eosId],
    bos_token_id: eosId,
    do_sample: true,
  });
  expect(text("sft", "generation_config.json")).toMatch(/"temperature": 1\.0,/);
  const card = text("sft", "README.md");
  expect(card).toMatch(
    /^---\nlicense: "other"\npipeline_tag: text-generation\ntags:\n- "vbon"\n- "sft"\n---\n/,
  );
  expect(card).toContain("A language model, trained from start.");
  expect(card).toMatch(/## Results\n\n\|  \|  \|\n\| --- \| --- \|\n\| steps \| 2 \|\n\| loss \| \d/);
  expect(card).toMatch(/\| weights in \| bf16 \|/);
  expect(card).toContain(`vbon sft --data`);
  await run("generate", { model: join(out, "model"), prompt: "the", maxNewTokens: 3 });
});

it("of reward: a card of a classifier, and no generation settings", async () => {
  const labelled = Array.from({ length: 60 }, (_, i) => ({
    review: i % 2 ? "the cat sat" : "a dog ran",
    good: i % 2,
  }));
  const out = join(folder, "reward");
  const source = { data: data("l.jsonl", labelled), textField: "review", labelField: "good" };
  await run("reward", { ...source, model, out, steps: 2, batch: 4, dtype: "f16", block: 8 });
  expect(files("reward")).toEqual([
    "README.md",
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
  ]);
  expect(await dtypes("reward")).toEqual(new Set(["F16"]));
  expect(text("reward", "README.md")).toMatch(
    /pipeline_tag: text-classification[^]*\| accuracy \| [01]\.\d{4} ± /,
  );
});

it("of align: the dtype that is asked for", async () => {
  const reward = letterReward(folder);
  const cache = join(folder, "cache.jsonl");
  await run("cache", {
    policy: model,
    reward,
    prompts: promptFile(folder, 2),
    samples: 8,
    maxNewTokens: 4,
    out: cache,
  });
  const out = join(folder, "aligned");
  await run("align", {
    method: "bon-sft",
    minibatch: 4,
    microBatch: 4,
    policy: model,
    reward,
    cache,
    n: 4,
    out,
    dtype: "f16",
  });
  expect(await dtypes("aligned")).toEqual(new Set(["F16"]));
  expect(json("aligned", "generation_config.json")).toMatchObject({ max_new_tokens: 4, temperature: 1 });
  expect(files("aligned")).toContain("README.md");
});
