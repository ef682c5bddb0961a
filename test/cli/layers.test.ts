/** `--trainable-layers`: what changes, what a checkpoint holds, that it resumes, that the reference stays; refusals. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openSafetensors } from "../../src/data/weights/safetensors.ts";
import { computed, openAlignTask } from "../support/align-task.ts";
import { flags, type Outcome, records, vbon } from "../support/run-cli.ts";
import { tinyLm } from "../support/tiny-lm.ts";
import { documents, jsonl } from "../support/training.ts";

const { device, task, at } = await openAlignTask();
// Two blocks, so that one can stay.
const policy = at("two");
await tinyLm(device, policy, 1, 0, { num_hidden_layers: 2 });
const { reward } = task;
const cache = at("two.jsonl");
const prompts = at("prompts-10.jsonl");
const sampled = { policy, reward, prompts, samples: 8, rows: 16, maxNewTokens: 6, out: cache };
const sampling = await vbon(device, ["cache", ...flags(sampled)]);
if (sampling.code !== 0) throw new Error(sampling.stderr);

type Settings = Parameters<typeof flags>[0];
type Heard = Parameters<typeof vbon>[2];
const run = { ...task.run, policy, cache, trainableLayers: 1, lr: 0.02 };
const align = (settings: Settings, heard?: Heard): Promise<Outcome> =>
  vbon(device, ["align", ...flags({ ...run, ...settings })], heard);

/** Names of the tensors of `model` that differ from the policy's. */
async function changed(model: string): Promise<string[]> {
  const [before, after] = await Promise.all(
    [policy, model].map((folder) => openSafetensors(join(folder, "model.safetensors"))),
  );
  const differ: string[] = [];
  for (const name of before!.tensors.keys())
    if (String(await before!.read(name)) !== String(await after!.read(name))) differ.push(name);
  return differ;
}

const isLast = (name: string): boolean => /^model\.(layers\.1\.|norm\.)/.test(name);

describe("align", () => {
  it.each([
    {},
    { value: "shared", gradientCheckpointing: true },
    { method: "dpo", passes: 1 },
    { method: "j-bond" },
  ])("changes the last block and the norm alone, and continues bit for bit: %j", async (settings) => {
    const name = Object.values(settings).join("-") || "plain";
    const [whole, parts] = [at(`${name}-whole`), at(`${name}-parts`)];
    const saved = { ...settings, saveEvery: 1 };
    const outcome = await align({ ...saved, out: whole });
    expect(outcome.code, outcome.stderr).toBe(0);
    const differ = await changed(join(whole, "model"));
    expect(differ.length).toBeGreaterThan(5);
    expect(differ.filter((tensor) => !isLast(tensor))).toEqual([]);
    const carried = [
      ...(await openSafetensors(join(whole, "checkpoint/tensors.safetensors"))).tensors.keys(),
    ];
    expect(carried.filter((tensor) => /layers\.0\.|embed_tokens/.test(tensor))).toEqual([]);
    const stopped = await align({ ...saved, out: parts }, (text, stop) => /^ +2 /m.test(text) && stop());
    if (!("passes" in settings) || stopped.code !== 0) {
      expect(stopped.code, stopped.stderr).toBe(130);
      const resumed = await vbon(device, ["align", "--resume", "--out", parts]);
      expect(resumed.code, resumed.stderr).toBe(0);
    }
    if ("passes" in settings) expect(await changed(join(parts, "model"))).toEqual(differ);
    else expect(computed(parts)).toEqual(computed(whole));
  });

  it("starts as the reference: no KL in the first iteration, some later", () => {
    const kl = records(at("plain-whole/metrics.jsonl")).flatMap((r) => ("kl" in r ? [r["kl"]!] : []));
    expect(kl[0]).toBe(0);
    expect(kl.at(-1)).toBeGreaterThan(0);
  });

  it("takes the gradients and moments of what is trained, says the plan", async () => {
    const parts = async (settings: Settings): Promise<Record<string, number>> => {
      const { out: _, ...asked } = { ...run, out: "", json: true, ...settings };
      const { stdout, stderr, code } = await vbon(device, ["plan", ...flags(asked)]);
      expect(code, stderr).toBe(0);
      return (JSON.parse(stdout) as { parts: Record<string, number> }).parts;
    };
    const [last, all] = [await parts({}), await parts({ trainableLayers: undefined })];
    for (const what of ["weights that are trained", "gradients", "moments of AdamW"])
      expect(last[what]!, what).toBeLessThan(0.6 * all[what]!);
    expect(last["weights of the reference"]).toBe(all["weights of the reference"]);
    expect(last["activations and scratch"]!).toBeLessThan(all["activations and scratch"]!);
  });
});

describe("sft and reward", () => {
  it("train the last block alone", async () => {
    const common = { model: policy, trainableLayers: 1, batch: 4, lr: 0.02, block: 16 };
    const sft = { ...common, steps: 4, warmup: 1, data: documents(40), out: at("sft") };
    const trained = await vbon(device, ["sft", ...flags(sft)]);
    expect(trained.code, trained.stderr).toBe(0);
    const differ = await changed(at("sft/model"));
    expect(differ.length).toBeGreaterThan(5);
    expect(differ.filter((name) => !isLast(name))).toEqual([]);
    const texts = Array.from({ length: 60 }, (_, i) => ({ text: i % 2 ? "the cat" : "a dog", label: i % 2 }));
    const rm = { ...common, epochs: 2, evalEvery: 5, data: jsonl(texts), out: at("rm") };
    const rewarded = await vbon(device, ["reward", ...flags(rm)]);
    expect(rewarded.code, rewarded.stderr).toBe(0);
    expect((await changed(at("rm/model"))).filter((name) => !isLast(name))).toEqual([]);
    expect(readFileSync(at("rm/config.json"), "utf8")).toContain('"trainableLayers": 1');
  });
});

describe("refusals", () => {
  const data = documents(10);
  it.each([
    [
      "align",
      { ...run, trainableLayers: 3 },
      /3 of a llama model with 2; expected a whole number from 1 to 2/,
    ],
    ["align", { ...run, trainableLayers: 0 }, /--trainable-layers/],
    ["align", { ...run, trainPositions: true }, /a llama model has no table of positions/],
    ["align", { ...run, trainableLayers: undefined, trainPositions: true }, /without --trainable-layers/],
    ["align", { ...run, lora: "q_proj" }, /--trainable-layers 1 beside --lora q_proj; expected one of them/],
    ["sft", { data, trainableLayers: 1 }, /trains the last layers of a model; expected --model DIR/],
    [
      "reward",
      { data: jsonl([0, 1].map((label) => ({ text: "a", label }))), trainableLayers: 1 },
      /trains the last layers of a model/,
    ],
  ] as const)("%s %j", async (verb, settings, message) => {
    const out = at(`refused-${Math.random()}`);
    const { code, stderr } = await vbon(device, [verb, ...flags({ ...(settings as Settings), out })]);
    expect([code, stderr]).toEqual([2, expect.stringMatching(message)]);
  });
});
