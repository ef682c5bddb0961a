/**
 * GPT-NeoX (Black et al. 2022; Pythia): rotary positions on the first part of each head, LayerNorm, GELU, biases,
 * attention and MLP side by side or one after the other, an LM head of its own.
 */
import { f32 } from "../src/data/weights/gguf-values.ts";
import { ConfigError } from "../src/errors.ts";
import { attend } from "../src/nn/attention.ts";
import { type ParameterSpec, weight } from "../src/nn/init.ts";
import { stack } from "../src/nn/stack.ts";
import { embedding } from "../src/ops/embedding.ts";
import { concat, slice } from "../src/ops/layout.ts";
import { rope } from "../src/ops/rope.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { type Activation, activationOf, needGelu } from "./activations.ts";
import { type DecoderConfig, decoderFamily } from "./decoder.ts";
import type { GgufForm, ModelFamily, Pass } from "./family.ts";
import type { HfConfig } from "./hf-config.ts";
import { blockSpecs, linearLayers, linearSpecs, norms, normSpecs } from "./layers.ts";
import { ggufRotary, type Rotary, rotaryOf } from "./rotary.ts";
import { readEvenSizes, SIZE_KEYS, writeSizes } from "./sizes.ts";

interface NeoxConfig extends DecoderConfig {
  readonly eps: number;
  readonly rotary: Rotary;
  readonly rotaryShare: number;
  readonly rotaryDim: number;
  readonly activation: Activation;
  readonly parallel: boolean;
  readonly attentionBias: boolean;
}

function parse(hf: HfConfig): NeoxConfig {
  const sizes = readEvenSizes(hf, "gpt_neox", SIZE_KEYS);
  const part = rotaryPart(hf, sizes.headDim);
  return {
    ...sizes,
    eps: hf.positive("layer_norm_eps", 1e-5),
    rotary: rotaryOf(hf, part.rotaryDim, "rotary_emb_base"),
    ...part,
    activation: activationOf(hf, "hidden_act", "gelu"),
    parallel: hf.flag("use_parallel_residual", true),
    attentionBias: hf.flag("attention_bias", true),
    tied: hf.flag("tie_word_embeddings", false),
  };
}

/** How much of each head turns. */
function rotaryPart(hf: HfConfig, headDim: number): Pick<NeoxConfig, "rotaryShare" | "rotaryDim"> {
  const share = hf.positive("rotary_pct", 0.25);
  const rotaryShare = hf.object("rope_parameters")?.positive("partial_rotary_factor", share) ?? share;
  const rotaryDim = Math.floor(headDim * rotaryShare);
  if (rotaryDim < 2 || rotaryDim > headDim || rotaryDim % 2 !== 0)
    hf.refuse(
      `rotary_pct ${rotaryShare} turns ${rotaryDim} of ${headDim} dimensions; expected an even number`,
    );
  return { rotaryShare, rotaryDim };
}

/** The parameter table. */
function table(config: NeoxConfig): ParameterSpec[] {
  const { nEmbd: C, nInner, initStd, attentionBias } = config;
  const std = { normal: initStd };
  const block = (h: string): ParameterSpec[] => [
    ...normSpecs(`${h}.input_layernorm`, C),
    ...normSpecs(`${h}.post_attention_layernorm`, C),
    ...linearSpecs(`${h}.attention.query_key_value`, [3 * C, C], std, attentionBias),
    ...linearSpecs(`${h}.attention.dense`, [C, C], std, attentionBias),
    ...linearSpecs(`${h}.mlp.dense_h_to_4h`, [nInner, C], std),
    ...linearSpecs(`${h}.mlp.dense_4h_to_h`, [C, nInner], std),
  ];
  return [
    weight("gpt_neox.embed_in.weight", [config.vocabSize, C], std),
    ...blockSpecs("gpt_neox.layers", config.nLayer, block),
    ...normSpecs("gpt_neox.final_layer_norm", C),
  ];
}

/** [B, T, H·3·D], a head's query, key and value together, to [B, T, 3·H, D]: all queries, all keys, all values. */
function byKind(qkv: Tensor, { nHead, headDim: D }: NeoxConfig): Tensor {
  const heads = qkv.reshape(qkv.dim(0), qkv.dim(1), nHead, 3 * D);
  return concat(
    [0, 1, 2].map((kind) => slice(heads, -1, kind * D, (kind + 1) * D)),
    2,
  );
}

function hidden(config: NeoxConfig, { parameters: p, batch, computing, cache }: Pass): Tensor {
  const { rotary, rotaryDim, blockSize: maxPositions, nHead } = config;
  const norm = norms(p, config.eps);
  const { dense, onto, mlp } = linearLayers(p, computing);
  // In place: only attention reads the regrouped copy.
  const turned = { ...rotary, rotaryDim, maxPositions, inPlace: true, heads: 2 * nHead };
  const { kind } = config.activation;
  const attention = (residual: Tensor, x: Tensor, h: string, layer: number): Tensor => {
    const qkv = rope(byKind(dense(x, `${h}.query_key_value`), config), batch.positions, turned);
    return onto(residual, attend(qkv, { config, batch, cache, layer, ...computing }), `${h}.dense`);
  };

  const block = (x: Tensor, layer: number): Tensor => {
    const h = `gpt_neox.layers.${layer}`;
    const middle = attention(x, norm(x, `${h}.input_layernorm`), `${h}.attention`, layer);
    // Side by side, the MLP reads what attention read, not what it wrote.
    const source = config.parallel ? x : middle;
    const read = norm(source, `${h}.post_attention_layernorm`);
    return mlp(middle, read, { up: `${h}.mlp.dense_h_to_4h`, down: `${h}.mlp.dense_4h_to_h`, kind });
  };
  const start = embedding(p.get("gpt_neox.embed_in.weight"), batch.ids);
  return norm(stack(start, config.nLayer, block, computing), "gpt_neox.final_layer_norm");
}

/** Checkpoints may carry causal masks and rotary tables. */
const rename = (name: string): string | undefined =>
  /\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)$/.test(name) ? undefined : name;

const GGUF_NAMES: GgufForm["names"] = {
  "gpt_neox.embed_in": "token_embd",
  "gpt_neox.layers.#.input_layernorm": "blk.#.attn_norm",
  "gpt_neox.layers.#.post_attention_layernorm": "blk.#.ffn_norm",
  "gpt_neox.layers.#.attention.query_key_value": "blk.#.attn_qkv",
  "gpt_neox.layers.#.attention.dense": "blk.#.attn_output",
  "gpt_neox.layers.#.mlp.dense_h_to_4h": "blk.#.ffn_up",
  "gpt_neox.layers.#.mlp.dense_4h_to_h": "blk.#.ffn_down",
  "gpt_neox.final_layer_norm": "output_norm",
  embed_out: "output",
};

/** The rows of {@link byKind}, of the projection's weight. */
function rowsByKind({ nHead, headDim: D }: NeoxConfig): number[] {
  return Array.from({ length: 3 * nHead * D }, (_, row) => {
    const [kind, head] = [Math.floor(row / (nHead * D)), Math.floor(row / D) % nHead];
    return (3 * head + kind) * D + (row % D);
  });
}

/** The GPT-NeoX family. */
export const gptNeox: ModelFamily = decoderFamily<NeoxConfig>({
  name: "gpt_neox",
  architectures: { lm: "GPTNeoXForCausalLM", scalar: "GPTNeoXForSequenceClassification" },
  embedding: "gpt_neox.embed_in.weight",
  head: "embed_out.weight",
  parse,
  table,
  rename,
  hidden,
  toHf: (config) => ({
    ...writeSizes(config, SIZE_KEYS),
    layer_norm_eps: config.eps,
    rotary_emb_base: config.rotary.theta,
    rotary_pct: config.rotaryShare,
    hidden_act: config.activation.name,
    use_parallel_residual: config.parallel,
    attention_bias: config.attentionBias,
  }),
  toGguf(config) {
    needGelu(config.activation);
    if (config.tied || !config.attentionBias)
      throw new ConfigError("gpt_neox: llama.cpp wants biases in attention, and an LM head of its own");
    const { metadata, factors } = ggufRotary(config.rotary, config.rotaryDim);
    if (factors) throw new ConfigError("gpt_neox: llama.cpp has no such scaling of rotary positions here");
    return {
      architecture: "gptneox",
      metadata: {
        ...metadata,
        use_parallel_residual: config.parallel,
        "attention.layer_norm_epsilon": f32(config.eps),
      },
      names: GGUF_NAMES,
      rowOrder: (module) => (module.endsWith(".query_key_value") ? rowsByKind(config) : undefined),
    };
  },
});
