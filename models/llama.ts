/**
 * Llama (Touvron et al. 2023): rotary positions (half-split form), RMSNorm before each block, SwiGLU, grouped
 * key/value heads, no biases unless the config asks for them.
 */
import { attend, splitHeads } from "../src/nn/attention.ts";
import { gain, type ParameterSpec, weight } from "../src/nn/init.ts";
import { stack } from "../src/nn/stack.ts";
import { add } from "../src/ops/binary.ts";
import { embedding } from "../src/ops/embedding.ts";
import { rmsNorm } from "../src/ops/norm.ts";
import { rope } from "../src/ops/rope.ts";
import { packedSwiglu } from "../src/ops/swiglu.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { type DecoderConfig, decoderFamily } from "./decoder.ts";
import type { ModelFamily, Pass } from "./family.ts";
import type { HfConfig } from "./hf-config.ts";
import { blockSpecs, dense as linearsOf, linearSpecs } from "./layers.ts";
import { type Rotary, rotaryOf } from "./rotary.ts";
import { readSizes, SIZE_KEYS, writeSizes } from "./sizes.ts";

interface LlamaConfig extends DecoderConfig {
  readonly eps: number;
  readonly rotary: Rotary;
  readonly attentionBias: boolean;
  readonly mlpBias: boolean;
}

function parse(hf: HfConfig): LlamaConfig {
  const sizes = readSizes(hf, "llama", SIZE_KEYS);
  const nHead = hf.count("num_attention_heads");
  const nKvHead = hf.count("num_key_value_heads", nHead);
  if (nHead % nKvHead !== 0)
    hf.refuse(`num_attention_heads ${nHead} is not a multiple of num_key_value_heads ${nKvHead}`);
  const act = hf.text("hidden_act", "silu");
  if (act !== "silu" && act !== "swish") hf.refuse(`hidden_act is "${act}"; only silu is supported`);
  return {
    ...sizes,
    nHead,
    nKvHead,
    headDim: hf.count("head_dim", sizes.nEmbd / nHead),
    eps: hf.positive("rms_norm_eps", 1e-6),
    rotary: rotaryOf(hf),
    attentionBias: hf.flag("attention_bias", false),
    mlpBias: hf.flag("mlp_bias", false),
    tied: hf.flag("tie_word_embeddings", false),
  };
}

/** The parameter table. */
function table(config: LlamaConfig): ParameterSpec[] {
  const { nEmbd: C, nInner, nHead, nKvHead, headDim: D, initStd, attentionBias, mlpBias } = config;
  const std = { normal: initStd };
  const block = (layer: string): ParameterSpec[] => [
    gain(`${layer}.input_layernorm.weight`, C),
    ...linearSpecs(`${layer}.self_attn.q_proj`, [nHead * D, C], std, attentionBias),
    ...linearSpecs(`${layer}.self_attn.k_proj`, [nKvHead * D, C], std, attentionBias),
    ...linearSpecs(`${layer}.self_attn.v_proj`, [nKvHead * D, C], std, attentionBias),
    ...linearSpecs(`${layer}.self_attn.o_proj`, [C, nHead * D], std, attentionBias),
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
  const { nHead, nKvHead, headDim, eps, rotary } = config;
  const norm = (x: Tensor, name: string): Tensor => rmsNorm(x, p.get(`${name}.weight`), { eps });
  const dense = linearsOf(p);
  // In place: only attention reads the projection.
  const turned = { ...rotary, rotaryDim: headDim, maxPositions: config.blockSize, inPlace: true };
  const rotate = (qkv: Tensor): Tensor =>
    rope(splitHeads(qkv, config), batch.positions, { ...turned, heads: nHead + nKvHead });
  const attention = (x: Tensor, name: string, layer: number): Tensor => {
    const qkv = rotate(dense(x, `${name}.q_proj`, `${name}.k_proj`, `${name}.v_proj`));
    return dense(attend(qkv, { config, batch, cache, layer }), `${name}.o_proj`);
  };
  const mlp = (x: Tensor, name: string): Tensor =>
    dense(packedSwiglu(dense(x, `${name}.gate_proj`, `${name}.up_proj`)), `${name}.down_proj`);

  const block = (x: Tensor, i: number): Tensor => {
    const layer = `model.layers.${i}`;
    const middle = add(x, attention(norm(x, `${layer}.input_layernorm`), `${layer}.self_attn`, i));
    return add(middle, mlp(norm(middle, `${layer}.post_attention_layernorm`), `${layer}.mlp`));
  };
  const start = embedding(p.get("model.embed_tokens.weight"), batch.ids);
  return norm(stack(start, config.nLayer, block, computing), "model.norm");
}

/** The Llama family. */
export const llama: ModelFamily = decoderFamily<LlamaConfig>({
  name: "llama",
  architectures: { lm: "LlamaForCausalLM", scalar: "LlamaForSequenceClassification" },
  embedding: "model.embed_tokens.weight",
  head: "lm_head.weight",
  parse,
  table,
  rename: (name) => (name.endsWith(".rotary_emb.inv_freq") ? undefined : name),
  hidden,
  toHf: (config) => ({
    ...writeSizes(config, SIZE_KEYS),
    num_key_value_heads: config.nKvHead,
    head_dim: config.headDim,
    rms_norm_eps: config.eps,
    rope_theta: config.rotary.theta,
    hidden_act: "silu",
    attention_bias: config.attentionBias,
    mlp_bias: config.mlpBias,
  }),
});
