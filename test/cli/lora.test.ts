/** `--lora` and `--adapter`: what a run leaves, that it resumes, that its adapter is its model, and refusals. */
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openSafetensors } from "../../src/data/weights/safetensors.ts";
import { alignTask, computed } from "../support/align-task.ts";
import { testDevice } from "../support/device.ts";
import { flags, type Outcome, records, vbon } from "../support/run-cli.ts";
import { documents, jsonl } from "../support/training.ts";

const device = await testDevice();
const task = await alignTask(device);
const at = (name: string): string => join(task.folder, name);
afterAll(async () => {
  rmSync(task.folder, { recursive: true });
  await device.close();
});

type Settings = Parameters<typeof flags>[0];
type Heard = Parameters<typeof vbon>[2];
const align = (settings: Settings, heard?: Heard): Promise<Outcome> =>
  vbon(device, ["align", ...flags({ ...task.run, ...settings })], heard);
const lora = { lora: "q_proj,v_proj", loraRank: 2, loraAlpha: 4 };

async function logprobs(settings: Settings): Promise<number[]> {
  const input = jsonl([{ text: "the cat sat on a mat" }, { text: "so that we saw it go" }]);
  const { code, stdout, stderr } = await vbon(device, [
    "score",
    ...flags({ input, json: true, ...settings }),
  ]);
  expect(code, stderr).toBe(0);
  return stdout
    .trimEnd()
    .split("\n")
    .flatMap((line) => (JSON.parse(line) as { logprobs: number[] }).logprobs);
}

/** The largest difference. */
const apart = (a: readonly number[], b: readonly number[]): number =>
  Math.max(...a.map((x, i) => Math.abs(x - b[i]!)));

async function namesIn(path: string): Promise<string[]> {
  return [...(await openSafetensors(at(path))).tensors.keys()];
}

describe("align --lora", () => {
  it("starts as the reference, trains the adapters alone, and leaves adapter/ and the merged model/", async () => {
    const { code, stderr } = await align({ ...lora, lr: 0.02, out: at("run"), evalCache: task.test });
    expect(code, stderr).toBe(0);
    const kl = records(at("run/metrics.jsonl")).flatMap((r) => ("kl" in r ? [r["kl"]!] : []));
    expect(kl[0]).toBe(0);
    expect(kl.at(-1)).toBeGreaterThan(0);
    const carried = await namesIn("run/checkpoint/tensors.safetensors");
    const policy = carried.filter((name) => name.startsWith("policy."));
    expect(
      policy.every((name) => /lora_[AB]\.weight$/.test(name)),
      policy.join(),
    ).toBe(true);
    expect(carried.filter((name) => name.startsWith("policy.adamw.m."))).toHaveLength(4);
    expect(carried.filter((name) => /^value\.(?!adamw)/.test(name) && !/lora|v_head/.test(name))).toEqual([]);
    expect((await namesIn("run/model/model.safetensors")).toSorted()).toEqual(
      (await namesIn("model/model.safetensors")).toSorted(),
    );
    const config = JSON.parse(readFileSync(at("run/adapter/adapter_config.json"), "utf8"));
    expect(config).toMatchObject({ r: 2, lora_alpha: 4, target_modules: ["q_proj", "v_proj"] });
    expect(config.base_model_name_or_path).toBe(task.policy);
  });

  it("leaves an adapter that makes its model of the base", async () => {
    const base = await logprobs({ model: task.policy });
    const merged = await logprobs({ model: at("run/model") });
    const adapted = await logprobs({ model: task.policy, adapter: at("run/adapter") });
    expect(apart(base, merged)).toBeGreaterThan(1e-3);
    expect(apart(adapted, merged)).toBeLessThan(1e-5);
    const draw = { prompt: "the cat", seed: 3, maxNewTokens: 8 };
    const { policy: model, reward } = task;
    const texts = [];
    for (const of of [{ model: at("run/model") }, { model, adapter: at("run/adapter") }])
      texts.push((await vbon(device, ["generate", ...flags({ ...draw, ...of })])).stdout);
    expect(texts[1]).toBe(texts[0]);
    const judged = { reference: model, reward, cache: task.test, samples: 2, n: 3, json: true };
    const { stdout, code, stderr } = await vbon(device, [
      "evaluate",
      ...flags({ ...judged, policy: model, adapter: at("run/adapter") }),
    ]);
    expect(code, stderr).toBe(0);
    const own = JSON.parse(readFileSync(at("run/evaluation.json"), "utf8"));
    expect(JSON.parse(stdout).policy.kl).toBeCloseTo(own.policy.kl, 4);
  });

  it.each([
    {},
    { value: "shared", gradientCheckpointing: true },
    { method: "dpo", passes: 1 },
    { method: "j-bond", optimizer: "rloo", group: 2 },
    { precision: "mixed" },
  ])("continues bit for bit after Ctrl-C: %j", async (settings) => {
    const name = Object.values(settings).join("-") || "plain";
    const [whole, parts] = [at(`${name}-whole`), at(`${name}-parts`)];
    const run = { ...lora, lora: "all-linear", saveEvery: 1, ...settings };
    const outcome = await align({ ...run, out: whole });
    expect(outcome.code, outcome.stderr).toBe(0);
    const stopped = await align({ ...run, out: parts }, (text, stop) => /^ +2 /m.test(text) && stop());
    // An offline run ends before it hears of it.
    if (!("passes" in settings) || stopped.code !== 0) {
      expect(stopped.code, stopped.stderr).toBe(130);
      const resumed = await vbon(device, ["align", "--resume", "--out", parts]);
      expect(resumed.code, resumed.stderr).toBe(0);
    }
    const [a, b] = [whole, parts].map((out) => {
      const file = (path: string): string => readFileSync(join(out, path), "latin1");
      return [file("model/model.safetensors"), file("adapter/adapter_model.safetensors")];
    });
    expect(b).toEqual(a);
    if (!("method" in settings)) expect(computed(parts)).toEqual(computed(whole));
  });
});

describe("sft and reward", () => {
  it("train adapters on a model, and leave both forms", async () => {
    const out = at("sft");
    const common = { steps: 6, warmup: 1, batch: 4, lr: 0.02, block: 16, ...lora };
    const { code, stderr } = await vbon(device, [
      "sft",
      ...flags({ ...common, data: documents(40), model: task.policy, out }),
    ]);
    expect(code, stderr).toBe(0);
    expect(existsSync(join(out, "adapter/adapter_model.safetensors"))).toBe(true);
    const merged = await logprobs({ model: join(out, "model") });
    const adapted = await logprobs({ model: task.policy, adapter: join(out, "adapter") });
    expect(apart(adapted, merged)).toBeLessThan(1e-5);
    expect(apart(merged, await logprobs({ model: task.policy }))).toBeGreaterThan(1e-3);
  });

  it("train a reward's head whole", async () => {
    const out = at("rm");
    const data = jsonl(
      Array.from({ length: 60 }, (_, i) => ({ text: i % 2 ? "the cat sat" : "a dog ran", label: i % 2 })),
    );
    const { code, stderr } = await vbon(device, [
      "reward",
      ...flags({ data, model: task.policy, epochs: 4, batch: 8, lr: 0.02, evalEvery: 5, out, ...lora }),
    ]);
    expect(code, stderr).toBe(0);
    const names = await namesIn("rm/adapter/adapter_model.safetensors");
    expect(names).toContain("base_model.model.score.weight");
    expect(names.filter((name) => name.includes("lora_"))).toHaveLength(4);
    const scored = await vbon(device, [
      "score",
      ...flags({ model: task.policy, reward: join(out, "model"), input: jsonl([{ text: "the cat" }]) }),
    ]);
    expect(scored.code, scored.stderr).toBe(0);
  });
});

describe("refusals", () => {
  const { policy: model } = task;
  const data = documents(10);
  it.each([
    ["align", { ...task.run, lora: "c_attn" }, /"c_attn" names no linear map.*q_proj, k_proj, v_proj/],
    ["align", { ...task.run, ...lora, loraRank: 0 }, /lora-rank/],
    [
      "align",
      { ...task.run, ...lora, adapter: "somewhere" },
      /--lora beside --adapter somewhere; expected one of them/,
    ],
    ["align", { ...task.run, adapter: "nowhere" }, /nowhere: expected an adapter's folder.*there is nothing/],
    ["sft", { data, ...lora }, /--lora q_proj,v_proj trains adapters on a model; expected --model DIR/],
    ["sft", { data, model, lora: "wte" }, /"wte" names no linear map/],
  ] as const)("%s %j", async (verb, settings, message) => {
    const out = at(`refused-${Math.random()}`);
    const { code, stderr } = await vbon(device, [verb, ...flags({ ...(settings as Settings), out })]);
    expect([code, stderr]).toEqual([2, expect.stringMatching(message)]);
  });
});
