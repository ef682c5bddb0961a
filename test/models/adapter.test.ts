/** Adapter folders in PEFT's format: read from files written by hand, written, refused. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { loadAdapter, saveAdapter } from "../../models/adapter.ts";
import { createModel, createScalarModel } from "../../models/model.ts";
import { openSafetensors } from "../../src/data/weights/safetensors.ts";
import { adaptedParameters } from "../../src/nn/lora.ts";
import { type HandTensor, peftConfig, waves, writeAdapter } from "../support/adapters.ts";
import { testDevice } from "../support/device.ts";
import { ENCODER_CONFIGS } from "../support/family-configs.ts";
import { scoreProgram } from "../support/models.ts";
import { padded, someRows } from "../support/padding.ts";
import { SMALL } from "../support/small-models.ts";
import { scratch } from "../support/training.ts";

const device = await testDevice();
afterAll(() => device.close());

const batch = padded(someRows([7, 4], 64), "right");
const tensor = (shape: number[], phase: number): HandTensor => {
  return { shape, values: waves(shape[0]! * shape[1]!, phase) };
};

/** One block of each family, and the sizes [K, N] of the maps that get adapters. */
const CASES = [
  {
    what: "llama",
    json: { ...SMALL.llama, num_hidden_layers: 1 },
    maps: {
      "model.layers.0.self_attn.q_proj": [32, 32],
      "model.layers.0.self_attn.v_proj": [32, 16],
    },
    inOut: false,
  },
  {
    what: "gpt2",
    json: { ...SMALL.gpt2, n_layer: 1 },
    maps: { "transformer.h.0.attn.c_attn": [32, 96], "transformer.h.0.attn.c_proj": [32, 32] },
    inOut: true,
  },
] as const;

const handWritten = (maps: Readonly<Record<string, readonly [number, number]>>) =>
  Object.fromEntries(
    Object.entries(maps).flatMap(([name, [K, N]], i) => [
      [`base_model.model.${name}.lora_A.weight`, tensor([2, K], i)],
      [`base_model.model.${name}.lora_B.weight`, tensor([N, 2], i + 5)],
    ]),
  );

describe.each(CASES)("$what", ({ json, maps, inOut }) => {
  const base = createModel(device, json, { trainable: false, seed: 2 });

  it.each([
    ["alpha / r", {}, 3],
    ["alpha / sqrt(r)", { use_rslora: true }, 6 / Math.SQRT2],
  ] as const)("adds %s B A to the weights", async (_, changes, scale) => {
    const tensors = handWritten(maps);
    const folder = writeAdapter(scratch(), tensors, peftConfig(changes));
    const got = await scoreProgram(base.with(await loadAdapter(base, folder)), batch);
    const dense = createModel(device, json, { trainable: false });
    dense.parameters.copyFrom(base.parameters);
    for (const [name, [K, N]] of Object.entries(maps)) {
      const weight = dense.parameters.get(`${name}.weight`);
      const [A, B] = ["A", "B"].map((x) => tensors[`base_model.model.${name}.lora_${x}.weight`]!.values);
      const values = await weight.read();
      for (let n = 0; n < N; n++)
        for (let k = 0; k < K; k++)
          values[inOut ? k * N + n : n * K + k]! +=
            scale * (B![2 * n]! * A![k]! + B![2 * n + 1]! * A![K + k]!);
      weight.write(values);
    }
    const want = await scoreProgram(dense, batch);
    expect(got.logits).not.toEqual((await scoreProgram(base, batch)).logits);
    got.logits.forEach((l, i) => expect(Math.abs(l - want.logits[i]!)).toBeLessThan(1e-5));
  });

  it("writes what it reads, bit for bit", async () => {
    const end = Object.keys(maps).map((name) => name.split(".").slice(-2).join("."));
    const settings = { pattern: end.join(","), rank: 2, alpha: 6 };
    const adapter = adaptedParameters(base, settings, { seed: 3 });
    const folder = scratch();
    await saveAdapter(folder, base.with(adapter), settings, "some/base");
    expect(JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8"))).toMatchObject({
      peft_type: "LORA",
      task_type: "CAUSAL_LM",
      base_model_name_or_path: "some/base",
      r: 2,
      lora_alpha: 6,
      target_modules: end,
      modules_to_save: null,
      fan_in_fan_out: inOut,
    });
    const { tensors } = await openSafetensors(join(folder, "adapter_model.safetensors"));
    expect([...tensors.keys()].toSorted()).toEqual(Object.keys(handWritten(maps)).toSorted());
    const again = await loadAdapter(base, folder);
    expect(await again.readAll()).toEqual(await adapter.readAll());
  });
});

it("keeps a classifier's head beside its adapters", async () => {
  const model = createScalarModel(device, SMALL.llama, { trainable: false, seed: 1 });
  const settings = { pattern: ".*_proj", rank: 1, alpha: 1 };
  const adapter = adaptedParameters(model, settings, { seed: 3, whole: model.headSpecs });
  adapter.get("score.weight").write(waves(32, 1));
  const folder = scratch();
  await saveAdapter(folder, model.with(adapter), settings, "base");
  const config = JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8"));
  expect(config).toMatchObject({ task_type: "SEQ_CLS", modules_to_save: ["score"] });
  expect(config.target_modules).toHaveLength(3 * 7);
  const again = await loadAdapter(model, folder);
  expect(await again.readAll()).toEqual(await adapter.readAll());
});

/** PEFT adds `classifier` and `score` to these itself; a layer inside one of them would be saved under two names. */
it.each([
  ["distilbert", ["pre_classifier", "classifier"]],
  ["bert", ["bert.pooler.dense", "classifier"]],
  ["roberta", ["classifier"]],
])("names the modules of a classifier's head as PEFT saves them: %s", async (family, modules) => {
  const { json } = ENCODER_CONFIGS.find(({ json }) => json.model_type === family)!;
  const model = createScalarModel(device, json, { trainable: false, seed: 1 });
  const settings = { pattern: "all-linear", rank: 1, alpha: 1 };
  const adapter = adaptedParameters(model, settings, { seed: 3, whole: model.headSpecs });
  const folder = scratch();
  await saveAdapter(folder, model.with(adapter), settings, "base");
  const config = JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8"));
  expect(config.modules_to_save).toEqual(modules);
  expect(await (await loadAdapter(model, folder)).readAll()).toEqual(await adapter.readAll());
});

it("does not name what is trained whole among its targets", async () => {
  const { json } = ENCODER_CONFIGS.find(({ json }) => json.model_type === "bert")!;
  const model = createScalarModel(device, json, { trainable: false, seed: 1 });
  const settings = { pattern: "dense", rank: 1, alpha: 1 };
  const adapter = adaptedParameters(model, settings, { seed: 3, whole: model.headSpecs });
  const folder = scratch();
  await saveAdapter(folder, model.with(adapter), settings, "base");
  const { target_modules: targets } = JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8"));
  const ends = ["attention.output.dense", "intermediate.dense", "output.dense"];
  expect(targets).toEqual([0, 1].flatMap((i) => ends.map((end) => `bert.encoder.layer.${i}.${end}`)));
});

describe("refusals", () => {
  const { json, maps } = CASES[0];
  const base = createModel(device, json, { trainable: false, seed: 2 });
  const good = handWritten(maps);
  const q = "base_model.model.model.layers.0.self_attn.q_proj";
  const { [`${q}.lora_B.weight`]: __, ...half } = good;
  it.each([
    ["another method", good, { peft_type: "IA3" }, /expected an adapter of peft_type "LORA", got "IA3"/],
    ["DoRA", good, { use_dora: true }, /use_dora is true; only false is supported/],
    ["other ranks", good, { rank_pattern: { q_proj: 4 } }, /rank_pattern is .*; only {} is supported/],
    ["biases", good, { bias: "all" }, /bias is "all"; only "none" is supported/],
    ["no rank", good, { r: 0 }, /r is 0, lora_alpha 6; expected a whole number from 1/],
    ["half an adapter", half, {}, /missing: model\.layers\.0\.self_attn\.q_proj\.lora_B\.weight/],
    [
      "a base of another shape",
      { ...good, [`${q}.lora_A.weight`]: tensor([2, 48], 0), [`${q}.lora_B.weight`]: tensor([48, 2], 0) },
      {},
      /do not fit the base model: of another shape: .*q_proj\.lora_A\.weight \(expected \[2,32\], got \[2,48\]\)/,
    ],
    [
      "a base with more layers",
      { ...good, [`${q.replace("0", "5")}.lora_A.weight`]: tensor([2, 32], 0) },
      {},
      /unexpected: base_model\.model\.model\.layers\.5/,
    ],
    [
      "another family",
      handWritten(CASES[1].maps),
      {},
      /expected adapters of llama, such as base_model\.model\.model\.layers\.0\.self_attn\.q_proj\.lora_A\.weight, got base_model\.model\.transformer/,
    ],
  ] as const)("%s", async (_, tensors, changes, message) => {
    const folder = writeAdapter(scratch(), tensors as Record<string, HandTensor>, peftConfig(changes));
    const before = device.bytesAllocated;
    await expect(loadAdapter(base, folder)).rejects.toThrow(message);
    expect(device.bytesAllocated).toBe(before);
  });
});
