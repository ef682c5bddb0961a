/** Llama with scaled rotary positions, Mistral, Qwen2, Qwen3 and SmolLM2 against float64, with random weights. */
import { afterAll, describe, expect, it } from "vitest";
import { blueprint, createModel } from "../../models/model.ts";
import { testDevice } from "../support/device.ts";
import { expectAllClose, expectClose } from "../support/golden.ts";
import { LLAMA_KIN } from "../support/family-configs.ts";
import { lossProgram, scoreProgram } from "../support/models.ts";
import { checkGradients, randomise } from "../support/reference-check.ts";
import { logProb, type Weights } from "../support/reference-layers.ts";
import { llamaLogits } from "../support/reference-llama.ts";
import { smallBatch } from "../support/small-models.ts";

const device = await testDevice();
afterAll(() => device.close());

const batch = smallBatch(3, 12);
const rows = batch.input_ids.map((ids, b) => ids.filter((_, t) => batch.attention_mask[b]![t] === 1));

/** What every block of Llama's kin has. */
const WEIGHTS = [
  ...["q", "k", "v", "o"].map((x) => `self_attn.${x}_proj.weight`),
  ...["gate", "up", "down"].map((x) => `mlp.${x}_proj.weight`),
  "input_layernorm.weight",
  "post_attention_layernorm.weight",
];

describe.each(LLAMA_KIN)("$what", ({ json, extra = [] }) => {
  const model = createModel(device, json, { trainable: true });
  const weights = randomise(model.parameters, 3);
  const loss = (w: Weights): number => {
    const terms = rows.flatMap((ids) => {
      const logits = llamaLogits(json, w, ids);
      return ids.slice(1).map((id, t) => -logProb(logits[t]!, id));
    });
    return terms.reduce((a, b) => a + b) / terms.length;
  };

  it("has the tensors of its family's checkpoints", () => {
    const block = (i: number): string[] => [...WEIGHTS, ...extra].map((name) => `model.layers.${i}.${name}`);
    const head = json["tie_word_embeddings"] === true ? [] : ["lm_head.weight"];
    const ends = ["model.embed_tokens.weight", "model.norm.weight", ...head];
    expect(model.parameters.names.toSorted()).toEqual([...block(0), ...block(1), ...ends].sort());
  });

  it("gives the reference's logits", async () => {
    const { logits } = await scoreProgram(model, batch);
    const V = json.vocab_size;
    rows.forEach((ids, b) => {
      const got = logits.subarray(b * 12 * V, (b * 12 + ids.length) * V);
      expectAllClose(got, llamaLogits(json, weights, ids).flat(), 1e-5, `row ${b}`);
    });
  });

  it("gives its loss and gradients", async () => {
    const program = await lossProgram(model, batch);
    model.parameters.zeroGrads();
    program.run();
    expectClose(await program.loss(), loss(weights), 1e-6, "loss");
    await checkGradients(model.parameters, weights, loss);
    program.dispose();
  });

  it("writes the config that it read", () => {
    expect(model.toHf()).toMatchObject(json);
    expect(blueprint(model.toHf(), "lm").architecture.config).toEqual(model.config);
  });
});

describe("windows", () => {
  const window = (json: Record<string, unknown>): number =>
    blueprint({ ...LLAMA_KIN.find((kin) => kin.json.model_type === json["model_type"])!.json, ...json }, "lm")
      .architecture.config.blockSize;

  it("limit the context where they are in use", () => {
    expect(window({ model_type: "mistral", sliding_window: 24 })).toBe(24);
    expect(window({ model_type: "mistral", sliding_window: null })).toBe(64);
    expect(window({ model_type: "qwen2", sliding_window: 16, use_sliding_window: false })).toBe(64);
    expect(window({ model_type: "qwen2", sliding_window: 16, use_sliding_window: true })).toBe(16);
    expect(window({ model_type: "qwen3", sliding_window: 16, use_sliding_window: true })).toBe(16);
  });
});
