import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { families, modelFamily, modelKind } from "../../models/index.ts";
import { loadModel, loadScalarModel, saveModel } from "../../models/load.ts";
import { blueprint, createModel, createScalarModel } from "../../models/model.ts";
import { createParameters } from "../../src/nn/parameters.ts";
import { valueHead, valueHeadSpecs } from "../../src/nn/heads.ts";
import { input, record } from "../../src/tensor/tensor.ts";
import { testDevice } from "../support/device.ts";
import { golden } from "../support/golden.ts";
import { batchInput, type Padded, writeBatch } from "../support/models.ts";

type Json = Record<string, unknown>;

interface Rewards {
  readonly right_padded: Padded;
  readonly rewards: readonly number[];
  readonly pooled_index: readonly number[];
}

const device = await testDevice();
const folder = await mkdtemp(join(tmpdir(), "vbon-models-"));
afterAll(async () => {
  await rm(folder, { recursive: true });
  await device.close();
});

const fixture = (name: string): string => new URL(`../fixtures/models/${name}`, import.meta.url).pathname;
const configOf = (name: string): Json => golden<Json>(`models/${name}/config.json`);
const withoutNull = (json: Json): Json =>
  Object.fromEntries(Object.entries(json).filter(([, v]) => v !== null));
const frozen = { trainable: false } as const;
const batch = golden<{ right_padded: Padded }>("models/gpt2-tiny/expected.json").right_padded;

describe("saving and loading", () => {
  for (const name of [
    "gpt2-tiny",
    "gpt-neox-tiny",
    "gpt-neox-sequential-tiny",
    "llama-tiny-gqa",
    "llama-tied-tiny",
  ]) {
    it(`keeps every bit: ${name}`, async () => {
      const model = await loadModel(device, fixture(name), frozen);
      await saveModel(join(folder, name), model);
      const again = await loadModel(device, join(folder, name), { trainable: true });
      expect(await again.parameters.hash()).toBe(await model.parameters.hash());
      expect(again.config).toEqual(model.config);
      expect(again.toHf()).toMatchObject(withoutNull(configOf(name)));
    });
  }

  it("rounds to 16 bits as the reference does, with and without the prefix", async () => {
    const model = await loadModel(device, fixture("gpt2-tiny"), frozen);
    await saveModel(join(folder, "half"), model, { dtype: "F16" });
    const ours = await loadModel(device, join(folder, "half"), frozen);
    const theirs = await loadModel(device, fixture("gpt2-tiny-f16"), frozen);
    expect(await ours.parameters.hash()).toBe(await theirs.parameters.hash());
    expect(JSON.parse(await readFile(join(folder, "half", "config.json"), "utf8"))).toMatchObject({
      torch_dtype: "float16",
      architectures: ["GPT2LMHeadModel"],
    });
  });

  it("reads shards", async () => {
    const whole = await loadModel(device, fixture("llama-tiny-gqa"), frozen);
    const shards = await loadModel(device, fixture("llama-tiny-gqa-sharded"), frozen);
    expect(await shards.parameters.hash()).toBe(await whole.parameters.hash());
    expect(shards.config).toEqual(whole.config);
  });

  it("says which tensors are missing", async () => {
    const broken = join(folder, "broken");
    await cp(fixture("llama-tied-tiny"), broken, { recursive: true });
    const config = { ...configOf("llama-tied-tiny"), tie_word_embeddings: false, num_hidden_layers: 1 };
    await writeFile(join(broken, "config.json"), JSON.stringify(config));
    await expect(loadModel(device, broken, frozen)).rejects.toThrow(
      /missing: lm_head\.weight; unexpected: model\.layers\.1\./,
    );
  });
});

describe("scalar models", () => {
  for (const name of ["gpt2-tiny", "llama-tiny-gqa"]) {
    it(`score each hidden state: ${name}`, async () => {
      const model = await loadScalarModel(device, fixture(name), { trainable: true, seed: 2 });
      const program = await record(device, "scores", () => {
        const inputs = batchInput(3, 17);
        const hidden = model.hidden(inputs);
        return { inputs, hidden, scores: model.scores(hidden.reshape(51, -1)) };
      });
      writeBatch(program.result.inputs, batch);
      program.run();
      const hidden = await program.result.hidden.read();
      const weight = await model.parameters.get("score.weight").read();
      const scores = await program.result.scores.read();
      expect(scores.length).toBe(51);
      for (let t = 0; t < 17; t++) {
        const want = weight.reduce((sum, w, i) => sum + w * hidden[t * 32 + i]!, 0);
        expect(Math.abs(scores[t]! - want)).toBeLessThan(1e-5);
      }
    });
  }

  it("are saved as classifiers with one label", async () => {
    const model = await loadScalarModel(device, fixture("gpt2-tiny"), { trainable: false, seed: 2 });
    const again = await loadScalarModel(device, fixture("gpt2-tiny"), { trainable: false, seed: 3 });
    const trunk = model.parameters.names.filter((name) => name !== "score.weight");
    expect(await again.parameters.hash(trunk)).toBe(await model.parameters.hash(trunk));
    expect(await again.parameters.hash()).not.toBe(await model.parameters.hash());
    await saveModel(join(folder, "classifier"), model);
    const loaded = await loadScalarModel(device, join(folder, "classifier"), frozen);
    expect(await loaded.parameters.hash()).toBe(await model.parameters.hash());
    expect(loaded.toHf()).toMatchObject({ architectures: ["GPT2ForSequenceClassification"], num_labels: 1 });
    await expect(loadModel(device, join(folder, "classifier"), frozen)).rejects.toThrow("no LM head");
  });

  it("are saved with the tokenizer's padding, by which transformers finds the last token", async () => {
    const model = await loadScalarModel(device, fixture("gpt2-tiny"), { trainable: false, seed: 2 });
    const padIn = async (path: string, json: Json = {}): Promise<unknown> => {
      const one = createScalarModel(device, { ...model.toHf(), ...json }, frozen);
      await saveModel(join(folder, path), one, { padId: 7 });
      return (JSON.parse(await readFile(join(folder, path, "config.json"), "utf8")) as Json)["pad_token_id"];
    };
    expect([await padIn("pad"), await padIn("own-pad", { pad_token_id: 0 })]).toEqual([7, 0]);
    const lm = await loadModel(device, fixture("gpt2-tiny"), frozen);
    await saveModel(join(folder, "lm-pad"), lm, { padId: 7 });
    expect(await readFile(join(folder, "lm-pad", "config.json"), "utf8")).not.toContain("pad_token_id");
  });

  it("take the trunk of a GPT-NeoX without its LM head, and come back", async () => {
    const model = await loadScalarModel(device, fixture("gpt-neox-tiny"), { trainable: false, seed: 2 });
    expect(model.parameters.names).not.toContain("embed_out.weight");
    await saveModel(join(folder, "neox-classifier"), model);
    const again = await loadScalarModel(device, join(folder, "neox-classifier"), frozen);
    expect(await again.parameters.hash()).toBe(await model.parameters.hash());
    expect(again.toHf()).toMatchObject({ architectures: ["GPTNeoXForSequenceClassification"] });
  });

  it("give the float64 rewards of a GPT-NeoX classifier", async () => {
    const name = "gpt-neox-reward-tiny";
    const expected = golden<Rewards>(`models/${name}/expected.json`);
    const model = await loadScalarModel(device, fixture(name), frozen);
    const program = await record(device, "rewards", () => {
      const inputs = batchInput(4, 17);
      return { inputs, scores: model.scores(model.hidden(inputs).reshape(68, -1)) };
    });
    writeBatch(program.result.inputs, expected.right_padded);
    program.run();
    const scores = await program.result.scores.read();
    expected.pooled_index.forEach((t, b) => {
      expect(Math.abs(scores[b * 17 + t]! - expected.rewards[b]!)).toBeLessThan(1e-4);
    });
  });

  it("start from a config alone", async () => {
    const json = { ...configOf("llama-tiny-gqa"), attention_bias: true, mlp_bias: true };
    const model = createScalarModel(device, json, { trainable: true, seed: 1 });
    expect(model.parameters.names).toContain("model.layers.2.mlp.down_proj.bias");
    expect(model.parameters.names).not.toContain("lm_head.weight");
    expect(await model.parameters.get("score.weight").read()).toHaveLength(32);
  });
});

describe("value heads", () => {
  it("are Linear, ReLU, Linear", async () => {
    const parameters = createParameters(device, valueHeadSpecs(3), { trainable: false, seed: 1 });
    const program = await record(device, "values", () => {
      const hidden = input([2, 3]);
      return { hidden, values: valueHead(parameters, hidden) };
    });
    const rows = [0.5, -1, 2, 3, 0.25, -0.75];
    program.result.hidden.write(rows);
    program.run();
    const [w0, b0, w2, b2] = [...(await parameters.readAll()).values()];
    const want = [0, 1].map((r) => {
      const inner = Array.from(b0!, (b, j) =>
        Math.max(
          0,
          [0, 1, 2].reduce((s, i) => s + w0![j * 3 + i]! * rows[r * 3 + i]!, b),
        ),
      );
      return inner.reduce((s, x, j) => s + w2![j]! * x, b2![0]!);
    });
    const got = await program.result.values.read();
    want.forEach((value, r) => expect(got[r]).toBeCloseTo(value, 5));
  });

  it("share a set of parameters with a trunk", async () => {
    const policy = await loadModel(device, fixture("gpt2-tiny"), frozen);
    const specs = [...policy.specs, ...valueHeadSpecs(policy.config.nEmbd)];
    const parameters = createParameters(device, specs, { trainable: true, seed: 1 });
    parameters.copyFrom(policy.parameters);
    const value = policy.with(parameters);
    expect(await value.parameters.hash(policy.parameters.names)).toBe(await policy.parameters.hash());
    expect(() => policy.with(createParameters(device, specs.slice(1), frozen))).toThrow(
      "no tensor transformer.wte",
    );
  });
});

describe("configs", () => {
  it("find their family and kind", () => {
    expect(modelFamily({ model_type: "llama" }).name).toBe("llama");
    expect(modelFamily({ architectures: ["GPT2LMHeadModel"] }).name).toBe("gpt2");
    expect(modelKind({ model_type: "gpt2" })).toBe("lm");
    expect(modelKind({ model_type: "gpt2", architectures: ["GPT2ForSequenceClassification"] })).toBe(
      "scalar",
    );
    const known = families.map(({ name }) => `"${name}"`).join(", ");
    expect(() => modelFamily({ model_type: "mamba" }, "x/config.json")).toThrow(
      `x/config.json: model_type is "mamba"; the known families are ${known}`,
    );
    expect(() => modelKind({ model_type: "gpt2", architectures: ["GPT2Model"] })).toThrow(
      "expected GPT2LMHeadModel",
    );
  });

  const refused: readonly [string, string, Json, string][] = [
    [
      "a missing field",
      "gpt2-tiny",
      { n_embd: null },
      "n_embd is missing; expected a whole number of at least 1",
    ],
    ["a malformed field", "gpt2-tiny", { n_layer: "3" }, 'n_layer is "3"; expected a whole number'],
    ["heads that do not divide", "gpt2-tiny", { n_head: 5 }, "n_embd 32 is not a multiple of n_head 5"],
    ["an unknown activation", "gpt2-tiny", { activation_function: "mish" }, 'activation_function is "mish"'],
    [
      "a scaled rotary base",
      "llama-tiny-gqa",
      { rope_scaling: { type: "yarn", factor: 2 } },
      'rope_scaling asks for "yarn" scaling of rotary positions; expected one of default, linear, llama3',
    ],
    [
      "newer scaling",
      "llama-tiny-gqa",
      { rope_parameters: { rope_type: "longrope" } },
      'rope_parameters asks for "longrope"',
    ],
    [
      "scaling without its factor",
      "gpt-neox-tiny",
      { rope_scaling: { type: "linear" } },
      "rope_scaling: factor is missing; expected a number above 0",
    ],
    [
      "bands that are upside down",
      "llama-tiny-gqa",
      {
        rope_scaling: {
          rope_type: "llama3",
          factor: 8,
          low_freq_factor: 4,
          high_freq_factor: 1,
          original_max_position_embeddings: 64,
        },
      },
      "rope_scaling: high_freq_factor 1 is not above low_freq_factor 4",
    ],
    ["odd heads", "llama-tiny-gqa", { head_dim: 7 }, "head_dim is 7; rotary positions turn pairs"],
    [
      "rotary shares without a pair",
      "gpt-neox-tiny",
      { rotary_pct: 0.1 },
      "rotary_pct 0.1 turns 1 of 16 dimensions",
    ],
    ["gelus without a name", "gpt-neox-tiny", { hidden_act: "mish" }, 'hidden_act is "mish"'],
    ["another activation", "llama-tiny-gqa", { hidden_act: "gelu" }, 'hidden_act is "gelu"; only silu'],
    [
      "uneven key heads",
      "llama-tiny-gqa",
      { num_key_value_heads: 3 },
      "num_attention_heads 4 is not a multiple of num_key_value_heads 3",
    ],
  ];
  for (const [what, name, change, message] of refused) {
    it(`refuse ${what}`, () => {
      const build = (): unknown => blueprint({ ...configOf(name), ...change }, "lm", "c.json");
      expect(build).toThrow(`c.json: ${message}`);
    });
  }

  it("take the rotary base from either spelling", () => {
    const base = configOf("llama-tiny-gqa");
    const old = blueprint({ ...base, rope_theta: 5e5 }, "lm").toHf();
    const json = {
      ...base,
      rope_theta: undefined,
      rope_parameters: { rope_theta: 5e5, rope_type: "default" },
    };
    expect(blueprint(json, "lm").toHf()["rope_theta"]).toBe(old["rope_theta"]);
  });

  it("make models whose residual projections start smaller", async () => {
    const model = createModel(device, configOf("gpt2-tiny"), { trainable: true, seed: 7 });
    const std = async (name: string): Promise<number> => {
      const values = await model.parameters.get(`transformer.h.1.${name}`).read();
      return Math.sqrt(values.reduce((s, x) => s + x * x, 0) / values.length);
    };
    expect(await std("mlp.c_fc.weight")).toBeCloseTo(0.02, 3);
    expect(await std("mlp.c_proj.weight")).toBeCloseTo(0.02 / Math.sqrt(6), 3);
  });
});
