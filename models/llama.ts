/**
 * Llama (Touvron et al. 2023; SmolLM2): rotary positions (half-split form), RMSNorm before each block, SwiGLU, grouped
 * key/value heads, no biases unless the config asks for them. And the families that differ from it in a few traits.
 */
import { f32, u32 } from "../src/data/weights/gguf-values.ts";
import { ConfigError } from "../src/errors.ts";
import { attend, splitHeads } from "../src/nn/attention.ts";
import { gain, type ParameterSpec, weight } from "../src/nn/init.ts";
import { stack } from "../src/nn/stack.ts";
import { embedding } from "../src/ops/embedding.ts";
import { concat, slice } from "../src/ops/layout.ts";
import { rmsNorm } from "../src/ops/norm.ts";
import { rope } from "../src/ops/rope.ts";
import { packedSwiglu } from "../src/ops/swiglu.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { type DecoderConfig, decoderFamily } from "./decoder.ts";
import type { GgufForm, ModelFamily, Pass } from "./family.ts";
import type { HfConfig } from "./hf-config.ts";
import { blockSpecs, linearLayers, linearSpecs } from "./layers.ts";
import { ggufRotary, type Rotary, rotaryOf } from "./rotary.ts";
import { readSizes, SIZE_KEYS, writeSizes } from "./sizes.ts";

interface LlamaConfig extends DecoderConfig {
  readonly eps: number;
  readonly rotary: Rotary;
  readonly traits: LlamaTraits;
}

/** In what Llama's kin differ. */
export interface LlamaTraits {
  /** Whether queries, keys and values have biases; the attention's output; the MLP. None by default. */
  readonly qkvBias?: boolean;
  readonly outBias?: boolean;
  readonly mlpBias?: boolean;
  /** An RMSNorm over each head's queries and keys before they turn: `q_norm`, `k_norm` [D]. */
  readonly headNorms?: boolean;
  /** Width of a head where the config does not say; by default the heads split the model's width. */
  readonly headDim?: number;
  /** How far back a token sees. Within it attention is full, and it is the longest context that is taken. */
  readonly window?: number | undefined;
}

function parse(hf: HfConfig, family: string, traits: LlamaTraits): LlamaConfig {
  const sizes = readSizes(hf, family, SIZE_KEYS);
  const nHead = hf.count("num_attention_heads");
  const nKvHead = hf.count("num_key_value_heads", nHead);
  if (nHead % nKvHead !== 0)
    hf.refuse(`num_attention_heads ${nHead} is not a multiple of num_key_value_heads ${nKvHead}`);
  const act = hf.text("hidden_act", "silu");
  if (act !== "silu" && act !== "swish") hf.refuse(`hidden_act is "${act}"; only silu is supported`);
  const headDim = hf.count("head_dim", traits.headDim ?? sizes.nEmbd / nHead);
  if (headDim % 2 !== 0)
    hf.refuse(`head_dim is ${headDim}; rotary positions turn pairs, expected an even number`);
  return {
    ...sizes,
    blockSize: Math.min(sizes.blockSize, traits.window ?? Infinity),
    nHead,
    nKvHead,
    headDim,
    eps: hf.positive("rms_norm_eps", 1e-6),
    rotary: rotaryOf(hf, headDim),
    traits,
    tied: hf.flag("tie_word_embeddings", false),
  };
}

/** The parameter table. */
function table(config: LlamaConfig): ParameterSpec[] {
  const { nEmbd: C, nInner, nHead, nKvHead, headDim: D, initStd, traits } = config;
  const { qkvBias = false, outBias = false, mlpBias = false, headNorms = false } = traits;
  const std = { normal: initStd };
  const block = (layer: string): ParameterSpec[] => [
    gain(`${layer}.input_layernorm.weight`, C),
    ...linearSpecs(`${layer}.self_attn.q_proj`, [nHead * D, C], std, qkvBias),
    ...linearSpecs(`${layer}.self_attn.k_proj`, [nKvHead * D, C], std, qkvBias),
    ...linearSpecs(`${layer}.self_attn.v_proj`, [nKvHead * D, C], std, qkvBias),
    ...linearSpecs(`${layer}.self_attn.o_proj`, [C, nHead * D], std, outBias),
    ...(headNorms ? ["q", "k"].map((x) => gain(`${layer}.self_attn.${x}_norm.weight`, D)) : []),
    gain(`${layer}.post_attention_layernorm.weight`, C),
    ...linearSpecs(`${layer}.mlp.gate_proj`, [nInner, C], std, mlpBias),
    ...linearSpecs(`${layer}.mlp.up_proj`, [nInner, C], std, mlpBias),
    ...linearSpecs(`${layer}.mlp.down_proj`, [C, nInner], std, mlpBias),
  ];
  return [
    weight("model.embed_tokens.weight", [config.vocabSize, C], std),
    ...blockSpecs("model.layers", config.nLayer, block),
    gain("model.norm.weight", C),
  ];
}

function hidden(config: LlamaConfig, { parameters: p, batch, computing, cache }: Pass): Tensor {
  const { nHead, nKvHead, headDim, eps, rotary, traits } = config;
  const norm = (x: Tensor, name: string): Tensor => rmsNorm(x, p.get(`${name}.weight`), { eps });
  const { dense, onto } = linearLayers(p, computing);
  // In place: only attention reads the projection.
  const angles = { ...rotary, rotaryDim: headDim, maxPositions: config.blockSize, inPlace: true };
  const turn = (heads: Tensor): Tensor => rope(heads, batch.positions, { ...angles, heads: nHead + nKvHead });
  const normed = (heads: Tensor, name: string): Tensor => {
    const [ends, H] = [nHead + nKvHead, heads.dim(2)];
    const queries = norm(slice(heads, 2, 0, nHead), `${name}.q_norm`);
    const keys = norm(slice(heads, 2, nHead, ends), `${name}.k_norm`);
    return concat([queries, keys, slice(heads, 2, ends, H)], 2);
  };
  const attention = (residual: Tensor, x: Tensor, name: string, layer: number): Tensor => {
    const qkv = dense(x, `${name}.q_proj`, `${name}.k_proj`, `${name}.v_proj`);
    const heads = splitHeads(qkv, config);
    const turned = turn(traits.headNorms ? normed(heads, name) : heads);
    return onto(residual, attend(turned, { config, batch, cache, layer, ...computing }), `${name}.o_proj`);
  };
  const mlp = (residual: Tensor, x: Tensor, name: string): Tensor =>
    onto(residual, packedSwiglu(dense(x, `${name}.gate_proj`, `${name}.up_proj`)), `${name}.down_proj`);

  const block = (x: Tensor, i: number): Tensor => {
    const layer = `model.layers.${i}`;
    const middle = attention(x, norm(x, `${layer}.input_layernorm`), `${layer}.self_attn`, i);
    return mlp(middle, norm(middle, `${layer}.post_attention_layernorm`), `${layer}.mlp`);
  };
  const start = embedding(p.get("model.embed_tokens.weight"), batch.ids);
  return norm(stack(start, config.nLayer, block, computing), "model.norm");
}

/**
 * A family of Llama's kin.
 * @param name Hugging Face's `model_type`
 * @param prefix what its class names begin with
 * @param traits in what it differs, from its config
 */
export function llamaFamily(
  name: string,
  prefix: string,
  traits: (hf: HfConfig) => LlamaTraits,
): ModelFamily {
  return decoderFamily<LlamaConfig>({
    name,
    architectures: { lm: `${prefix}ForCausalLM`, scalar: `${prefix}ForSequenceClassification` },
    embedding: "model.embed_tokens.weight",
    head: "lm_head.weight",
    parse: (hf) => parse(hf, name, traits(hf)),
    table,
    rename: (tensor) => (tensor.endsWith(".rotary_emb.inv_freq") ? undefined : tensor),
    hidden,
    toHf: (config) => ({
      ...writeSizes(config, SIZE_KEYS),
      num_key_value_heads: config.nKvHead,
      head_dim: config.headDim,
      rms_norm_eps: config.eps,
      rope_theta: config.rotary.theta,
      hidden_act: "silu",
    }),
    toGguf: (config) => ggufForm(config),
  });
}

const GGUF_NAMES: GgufForm["names"] = {
  "model.embed_tokens": "token_embd",
  "model.layers.#.input_layernorm": "blk.#.attn_norm",
  "model.layers.#.self_attn.q_proj": "blk.#.attn_q",
  "model.layers.#.self_attn.k_proj": "blk.#.attn_k",
  "model.layers.#.self_attn.v_proj": "blk.#.attn_v",
  "model.layers.#.self_attn.o_proj": "blk.#.attn_output",
  "model.layers.#.self_attn.q_norm": "blk.#.attn_q_norm",
  "model.layers.#.self_attn.k_norm": "blk.#.attn_k_norm",
  "model.layers.#.post_attention_layernorm": "blk.#.ffn_norm",
  "model.layers.#.mlp.gate_proj": "blk.#.ffn_gate",
  "model.layers.#.mlp.up_proj": "blk.#.ffn_up",
  "model.layers.#.mlp.down_proj": "blk.#.ffn_down",
  "model.norm": "output_norm",
  lm_head: "output",
};

/** Llama and Mistral are one architecture there, whose heads turn neighbours; Qwen's turn halves, as everywhere here. */
function ggufForm(config: LlamaConfig): GgufForm {
  const { family, headDim, nHead, nKvHead } = config;
  const { metadata, factors } = ggufRotary(config.rotary, headDim);
  const isLlama = family === "llama" || family === "mistral";
  if (factors && !isLlama)
    throw new ConfigError(`${family}: llama.cpp has no such scaling of rotary positions in this family`);
  return {
    architecture: isLlama ? "llama" : family,
    metadata: {
      ...metadata,
      "attention.layer_norm_rms_epsilon": f32(config.eps),
      "attention.key_length": u32(headDim),
      "attention.value_length": u32(headDim),
    },
    names: GGUF_NAMES,
    ropeFactors: factors,
    rowOrder(module) {
      const kind = isLlama ? /\.(q|k)_proj$/.exec(module)?.[1] : undefined;
      return kind === undefined ? undefined : neighbours(kind === "q" ? nHead : nKvHead, headDim);
    },
  };
}

/** Rows of heads whose halves turn together, ordered so that neighbours do. */
const neighbours = (heads: number, D: number): number[] =>
  Array.from({ length: heads * D }, (_, row) => {
    const at = row % D;
    return row - at + (at % 2) * (D / 2) + Math.floor(at / 2);
  });

/** The Llama family. */
export const llama: ModelFamily = llamaFamily("llama", "Llama", (hf) => {
  const attention = hf.flag("attention_bias", false);
  return { qkvBias: attention, outBias: attention, mlpBias: hf.flag("mlp_bias", false) };
});
