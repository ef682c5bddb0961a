/** `--frozen-precision f16` from the cache to the evaluation: half the weights, KL 0 at the start, and what is refused. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { saveModel } from "../../models/load.ts";
import { createScalarModel } from "../../models/model.ts";
import { loadTokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import { hasHalves } from "../../src/ops/cast.ts";
import { openAlignTask } from "../support/align-task.ts";
import { flags, type Outcome, records, vbon } from "../support/run-cli.ts";
import { jsonl } from "../support/training.ts";

const { device, task, at } = await openAlignTask();
type Settings = Parameters<typeof flags>[0];
const run = (verb: string, settings: Settings): Promise<Outcome> => vbon(device, [verb, ...flags(settings)]);
const f16 = { frozenPrecision: "f16" };
const { policy } = task;
const prompts = at("prompts-10.jsonl");
const reward = at("rm");
const cache = at("f16.jsonl");

async function runs(verb: string, settings: Settings): Promise<string> {
  const { code, stdout, stderr } = await run(verb, settings);
  expect(code, stderr).toBe(0);
  return stdout;
}

/** A reward model of random weights over the policy's tokens. */
beforeAll(async () => {
  const config = JSON.parse(readFileSync(join(policy, "config.json"), "utf8")) as Record<string, unknown>;
  const json = {
    ...config,
    architectures: ["LlamaForSequenceClassification"],
    num_labels: 1,
    id2label: { 0: "x" },
  };
  const model = createScalarModel(device, json, { trainable: false, seed: 9 });
  await saveModel(reward, model);
  await (await loadTokenizer(policy)).save(reward);
});

describe.runIf(hasHalves(device))("--frozen-precision f16", () => {
  it.each([
    {},
    { lora: "all-linear", value: "shared" },
    { trainableLayers: 1, precision: "mixed" },
    { method: "dpo", passes: 1 },
  ])("samples, aligns and evaluates: %j", async (settings) => {
    if (!existsSync(cache))
      await runs("cache", {
        policy,
        reward,
        prompts,
        samples: 8,
        rows: 16,
        maxNewTokens: 6,
        out: cache,
        ...f16,
      });
    const out = at(`run-${Object.values(settings).join("-")}`);
    await runs("align", { ...task.run, reward, cache, evalCache: cache, out, ...settings, ...f16 });
    if (!("method" in settings)) {
      const kl = records(join(out, "metrics.jsonl")).flatMap((r) => ("kl" in r ? [r["kl"]!] : []));
      expect(kl[0]).toBe(0);
      expect(kl.at(-1)).toBeGreaterThan(0);
    }
    const judged = {
      policy: join(out, "model"),
      reference: policy,
      reward,
      cache,
      samples: 2,
      n: 3,
      json: true,
    };
    const { policy: measured } = JSON.parse(await runs("evaluate", { ...judged, ...f16 }));
    const own = JSON.parse(readFileSync(join(out, "evaluation.json"), "utf8"));
    expect(measured.kl).toBeCloseTo(own.policy.kl, 4);
  });

  it("halves the weights of reference and reward, says the plan", async () => {
    const asked = { policy, reward, promptTokens: 4, maxNewTokens: 8, json: true };
    const [full, half] = [await runs("plan", asked), await runs("plan", { ...asked, ...f16 })].map(
      (text) => (JSON.parse(text) as { parts: Record<string, number> }).parts,
    );
    for (const what of ["weights of the reference", "weights of the reward"])
      expect(half![what]! / full![what]!, what).toBeLessThan(0.6);
    expect(half!["weights that are trained"]).toBe(full!["weights that are trained"]);
  });

  it("scores with rounded weights: near those of f32, and not the same", async () => {
    const input = jsonl([{ text: "the cat sat on a mat" }]);
    const score = async (settings: Settings): Promise<{ logprobs: number[]; score: number }> =>
      JSON.parse(await runs("score", { model: policy, reward, input, ...settings }));
    const [full, half] = [await score({}), await score(f16)];
    const apart = half.logprobs.map((x, i) => Math.abs(x - full.logprobs[i]!));
    expect(Math.max(...apart)).toBeGreaterThan(0);
    expect(Math.max(...apart)).toBeLessThan(0.01);
    expect(half.score).not.toBe(full.score);
  });

  it("refuses a cache of the weights in f32, and says why that may be", async () => {
    const settings = { ...task.run, reward: task.reward, out: at("mixed-up"), ...f16 };
    const { code, stderr } = await run("align", settings);
    expect([code, stderr]).toEqual([
      2,
      expect.stringMatching(
        /weights held with another --frozen-precision are another model's\)\n {2}modelHash/,
      ),
    ]);
  });
});

it.each([
  ["cache", { policy, reward: task.reward, prompts, out: at("none.jsonl") }],
  ["align", { ...task.run, out: at("none") }],
  ["evaluate", { policy, reference: policy, reward: task.reward, cache: task.test }],
  ["score", { model: policy, input: jsonl([{ text: "the cat" }]) }],
  ["plan", { policy }],
] as const)("%s is refused where the device has no f16", async (verb, settings) => {
  const gpu = { features: new Set(), limits: device.limits };
  const plain = Object.create(device, { gpu: { value: gpu } }) as typeof device;
  const { code, stderr } = await vbon(plain, [verb, ...flags({ ...(settings as Settings), ...f16 })]);
  expect([code, stderr]).toEqual([
    2,
    expect.stringMatching(
      /--frozen-precision f16: expected a device with 16-bit floats \(shader-f16\), got .*leave the flag out/,
    ),
  ]);
});

it("is f16 or f32", async () => {
  const { code, stderr } = await run("score", { model: policy, input: "x", frozenPrecision: "bf16" });
  expect([code, stderr]).toEqual([2, expect.stringMatching(/--frozen-precision.*"bf16"/)]);
});
