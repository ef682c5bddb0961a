/**
 * Models as GGUF: names, orders and metadata as llama.cpp's convert_hf_to_gguf.py and gguf-py have them, written here once more by
 * hand. That llama.cpp runs them: scripts/llama-cpp/check.mjs.
 */
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { saveGguf } from "../../models/gguf.ts";
import { loadModel } from "../../models/load.ts";
import { createModel } from "../../models/model.ts";
import { loadTokenizer, type Tokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import { adaptedParameters, mergedValues } from "../../src/nn/lora.ts";
import { testDevice } from "../support/device.ts";
import { DECODER_CONFIGS } from "../support/family-configs.ts";
import { type GgufFile, readGguf } from "../support/gguf-file.ts";
import { randomise } from "../support/reference-check.ts";
import { scratch } from "../support/training.ts";
import { tinyLm } from "../support/tiny-lm.ts";

const device = await testDevice();
const folder = scratch();
afterAll(() => device.close());
await tinyLm(device, folder);
const tokenizer = await loadTokenizer(folder);
const FROZEN = { trainable: false };

/** A family's config with room for the tokenizer. */
const grown = (json: Readonly<Record<string, unknown>>) => ({ ...json, vocab_size: 300 });

async function written(
  json: Readonly<Record<string, unknown>>,
  dtype?: "F16" | "BF16",
  with_: Tokenizer = tokenizer,
) {
  const model = createModel(device, grown(json), FROZEN);
  randomise(model.parameters, 4);
  const path = join(folder, "model.gguf");
  await saveGguf(path, model, with_, { name: "tiny", ...(dtype && { dtype }) });
  const weights = async (name: string): Promise<number[]> =>
    Array.from(await model.parameters.get(name).read());
  return { model, file: await readGguf(path), weights };
}

const values = ({ tensors }: GgufFile, name: string): number[] => Array.from(tensors.get(name)!.values);

describe.each(DECODER_CONFIGS)("$what", ({ json }) => {
  it("has every value of the model once, sizes, and llama.cpp's names", async () => {
    const { model, file } = await written(json);
    const { metadata, tensors } = file;
    const architecture = { gpt_neox: "gptneox", mistral: "llama" }[json.model_type] ?? json.model_type;
    expect(metadata).toMatchObject({
      "general.architecture": architecture,
      "general.name": "tiny",
      "general.file_type": 0,
      [`${architecture}.block_count`]: 2,
      [`${architecture}.embedding_length`]: 32,
      [`${architecture}.context_length`]: model.config.blockSize,
      [`${architecture}.attention.head_count`]: 4,
      [`${architecture}.attention.head_count_kv`]: model.config.nKvHead,
    });
    const names =
      /^(token_embd|position_embd|output_norm|output|rope_freqs|blk\.[01]\.(attn_(norm|qkv|q|k|v|output|q_norm|k_norm)|ffn_(norm|up|down|gate)))\.(weight|bias)$/;
    expect([...tensors.keys()].filter((name) => !names.test(name))).toEqual([]);
    let expected = 0;
    for (const { name } of model.specs) {
      for (const x of await model.parameters.get(name).read()) expected += x * x;
    }
    let got = 0;
    for (const [name, tensor] of tensors) {
      if (name !== "rope_freqs.weight") for (const x of tensor.values) got += x * x;
    }
    expect(Math.abs(got / expected - 1)).toBeLessThan(1e-12);
  });
});

describe("orders", () => {
  const config = (what: string) => DECODER_CONFIGS.find((item) => item.what === what)!.json;

  it("turns GPT-2's Conv1D over", async () => {
    const { file, weights } = await written(config("GPT-2"));
    const source = await weights("transformer.h.1.attn.c_attn.weight");
    const want = Array.from({ length: 96 }, (_, n) =>
      Array.from({ length: 32 }, (_, k) => source[k * 96 + n]!),
    );
    expect(file.tensors.get("blk.1.attn_qkv.weight")!.shape).toEqual([96, 32]);
    expect(values(file, "blk.1.attn_qkv.weight")).toEqual(want.flat());
    expect(values(file, "blk.1.attn_qkv.bias")).toEqual(await weights("transformer.h.1.attn.c_attn.bias"));
  });

  it("puts GPT-NeoX's queries before its keys before its values", async () => {
    const { file, weights } = await written(config("GPT-NeoX"));
    for (const [part, width] of [
      ["weight", 32],
      ["bias", 1],
    ] as const) {
      const source = await weights(`gpt_neox.layers.0.attention.query_key_value.${part}`);
      // einops: (h three d) c -> (three h d) c
      const want: number[] = [];
      for (let kind = 0; kind < 3; kind++)
        for (let head = 0; head < 4; head++)
          for (let d = 0; d < 8; d++) {
            const row = head * 24 + kind * 8 + d;
            want.push(...source.slice(row * width, (row + 1) * width));
          }
      expect(values(file, `blk.0.attn_qkv.${part}`)).toEqual(want);
    }
  });

  it("turns neighbours in Llama, and halves in Qwen", async () => {
    const llama = await written(config("Llama (linear scaling, newer spelling)"));
    for (const [kind, heads] of [
      ["q", 4],
      ["k", 2],
    ] as const) {
      for (const [part, width] of [
        ["weight", 32],
        ["bias", 1],
      ] as const) {
        const source = await llama.weights(`model.layers.1.self_attn.${kind}_proj.${part}`);
        // Meta's permute, undone: view(heads, 2, D/2).transpose(1, 2)
        const want: number[] = [];
        for (let head = 0; head < heads; head++)
          for (let pair = 0; pair < 4; pair++)
            for (const half of [0, 1]) {
              const row = head * 8 + half * 4 + pair;
              want.push(...source.slice(row * width, (row + 1) * width));
            }
        expect(values(llama.file, `blk.1.attn_${kind}.${part}`)).toEqual(want);
      }
    }
    expect(values(llama.file, "blk.1.attn_v.weight")).toEqual(
      await llama.weights("model.layers.1.self_attn.v_proj.weight"),
    );
    const qwen = await written(config("Qwen3"));
    expect(values(qwen.file, "blk.1.attn_q.weight")).toEqual(
      await qwen.weights("model.layers.1.self_attn.q_proj.weight"),
    );
    expect(values(qwen.file, "blk.1.attn_k_norm.weight")).toEqual(
      await qwen.weights("model.layers.1.self_attn.k_norm.weight"),
    );
    expect(qwen.file.metadata).toMatchObject({
      "qwen3.attention.key_length": 16,
      "qwen3.rope.dimension_count": 16,
    });
    expect(qwen.file.tensors.has("output.weight")).toBe(false); // tied
  });

  it("scales rotary positions by one factor where that does, else one by one", async () => {
    const linear = await written(config("Llama (linear scaling, newer spelling)"));
    expect(linear.file.metadata).toMatchObject({
      "llama.rope.freq_base": 500,
      "llama.rope.scaling.type": "linear",
      "llama.rope.scaling.factor": 4,
    });
    expect(linear.file.tensors.has("rope_freqs.weight")).toBe(false);
    const scaled = await written(config("Llama 3 (scaled rotary positions)"));
    const factors = values(scaled.file, "rope_freqs.weight");
    // At theta 500 and D 8: 10, 2, 0.5 and 0.1 waves fit the context; kept above 4, stretched by 8 below 1.
    expect(factors[0]).toBe(1);
    expect(factors[1]).toBeGreaterThan(1);
    expect(factors[1]).toBeLessThan(8);
    expect(factors.slice(2)).toEqual([8, 8]);
  });

  it("rounds matrices and nothing else", async () => {
    const { file } = await written(config("GPT-2"), "F16");
    const dtypes = (name: string) => file.tensors.get(name)!.dtype;
    expect(file.metadata["general.file_type"]).toBe(1);
    expect(["token_embd.weight", "blk.0.ffn_up.weight"].map(dtypes)).toEqual(["F16", "F16"]);
    expect(["position_embd.weight", "output_norm.weight", "blk.0.ffn_up.bias"].map(dtypes)).toEqual([
      "F32",
      "F32",
      "F32",
    ]);
    expect((await written(config("GPT-2"), "BF16")).file.metadata["general.file_type"]).toBe(32);
  });

  it("merges adapters", async () => {
    const model = await loadModel(device, folder, FROZEN);
    const adapted = model.with(
      adaptedParameters(model, { pattern: "q_proj,o_proj", rank: 2, alpha: 4 }, { seed: 3 }),
    );
    for (const name of adapted.parameters.names.filter((n) => n.endsWith("lora_B.weight"))) {
      const tensor = adapted.parameters.get(name);
      tensor.write(Float32Array.from(await tensor.read(), (_, i) => Math.sin(i)));
    }
    const path = join(folder, "adapted.gguf");
    await saveGguf(path, adapted, tokenizer);
    const spec = adapted.specs.find(({ name }) => name === "model.layers.0.self_attn.o_proj.weight")!;
    const merged = Array.from(await mergedValues(adapted.parameters, spec));
    expect(values(await readGguf(path), "blk.0.attn_output.weight")).toEqual(merged);
    expect(merged).not.toEqual(Array.from(await model.parameters.get(spec.name).read()));
  });
});

describe("what llama.cpp cannot run is refused", () => {
  const gpt2 = DECODER_CONFIGS[0]!.json;
  const neox = DECODER_CONFIGS[1]!.json;
  it.each([
    ["another activation", { ...gpt2, activation_function: "relu" }, /activation is relu; expected a GELU/],
    [
      "scores scaled by layer",
      { ...gpt2, scale_attn_by_inverse_layer_idx: true },
      /divides scores by the root/,
    ],
    ["a tied GPT-NeoX", { ...neox, tie_word_embeddings: true }, /an LM head of its own/],
    ["a GPT-NeoX without biases", { ...neox, attention_bias: false }, /biases in attention/],
    [
      "a Qwen with Llama 3's scaling",
      {
        ...DECODER_CONFIGS.find(({ what }) => what === "Qwen2")!.json,
        rope_scaling: {
          rope_type: "llama3",
          factor: 8,
          low_freq_factor: 1,
          high_freq_factor: 4,
          original_max_position_embeddings: 64,
        },
      },
      /no such scaling/,
    ],
  ])("%s", async (_, json, message) => {
    await expect(written(json)).rejects.toThrow(message);
  });
});
