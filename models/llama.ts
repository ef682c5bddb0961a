/**
 * Llama (Touvron et al. 2023): rotary positions (half-split form), RMSNorm before each block, SwiGLU, grouped
 * key/value heads, no biases unless the config asks for them.
 */
import { attend, splitHeads } from "../src/nn/attention.ts";
import { bias, gain, type ParameterSpec, weight } from "../src/nn/init.ts";
import { linears } from "../src/nn/joined.ts";
import type { Batch, Computing, KvCache, ModelConfig } from "../src/nn/lm.ts";
import type { Parameters } from "../src/nn/parameters.ts";
import { stack } from "../src/nn/stack.ts";
import { add } from "../src/ops/binary.ts";
import { embedding } from "../src/ops/embedding.ts";
import { rmsNorm } from "../src/ops/norm.ts";
import { rope } from "../src/ops/rope.ts";
import { packedSwiglu } from "../src/ops/swiglu.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import type { Architecture, ModelFamily } from "./family.ts";
import type { HfConfig } from "./hf-config.ts";

interface LlamaConfig extends ModelConfig {
  readonly nInner: number;
  readonly eps: number;
  readonly theta: number;
  readonly attentionBias: boolean;
  readonly mlpBias: boolean;
  readonly tied: boolean;
  readonly initStd: number;
}

function parse(hf: HfConfig): LlamaConfig {
  const [nEmbd, nHead] = [hf.count("hidden_size"), hf.count("num_attention_heads")];
  const nKvHead = hf.count("num_key_value_heads", nHead);
  if (nHead % nKvHead !== 0)
    hf.refuse(`num_attention_heads ${nHead} is not a multiple of num_key_value_heads ${nKvHead}`);
  const headDim = hf.count("head_dim", nEmbd / nHead);
  const act = hf.text("hidden_act", "silu");
  if (act !== "silu" && act !== "swish") hf.refuse(`hidden_act is "${act}"; only silu is supported`);
  return {
    family: "llama",
    vocabSize: hf.count("vocab_size"),
    blockSize: hf.count("max_position_embeddings"),
    nLayer: hf.count("num_hidden_layers"),
    nHead,
    nKvHead,
    nEmbd,
    headDim,
    bosId: hf.tokenId("bos_token_id"),
    eosId: hf.tokenId("eos_token_id"),
    nInner: hf.count("intermediate_size"),
    eps: hf.positive("rms_norm_eps", 1e-6),
    theta: thetaOf(hf),
    attentionBias: hf.flag("attention_bias", false),
    mlpBias: hf.flag("mlp_bias", false),
    tied: hf.flag("tie_word_embeddings", false),
    initStd: hf.positive("initializer_range", 0.02),
  };
}

/** The rotary base, from the older spelling or from `rope_parameters`; a scaling other than "default" is refused. */
function thetaOf(hf: HfConfig): number {
  for (const key of ["rope_scaling", "rope_parameters"]) {
    const scaling = hf.object(key);
    const type = scaling?.text("rope_type", scaling.text("type", "default")) ?? "default";
    if (type !== "default")
      hf.refuse(`${key} asks for "${type}" scaling of rotary positions; only "default" is supported`);
  }
  const theta = hf.positive("rope_theta", 10000);
  return hf.object("rope_parameters")?.positive("rope_theta", theta) ?? theta;
}

/** The parameter table. */
function table(config: LlamaConfig): ParameterSpec[] {
  const { nEmbd: C, nInner, nHead, nKvHead, headDim: D, initStd } = config;
  const dense = (name: string, N: number, K: number, withBias: boolean): ParameterSpec[] => [
    weight(`${name}.weight`, [N, K], { normal: initStd }),
    ...(withBias ? [bias(`${name}.bias`, N)] : []),
  ];
  const block = (layer: string): ParameterSpec[] => [
    gain(`${layer}.input_layernorm.weight`, C),
    ...dense(`${layer}.self_attn.q_proj`, nHead * D, C, config.attentionBias),
    ...dense(`${layer}.self_attn.k_proj`, nKvHead * D, C, config.attentionBias),
    ...dense(`${layer}.self_attn.v_proj`, nKvHead * D, C, config.attentionBias),
    ...dense(`${layer}.self_attn.o_proj`, C, nHead * D, config.attentionBias),
    gain(`${layer}.post_attention_layernorm.weight`, C),
    ...dense(`${layer}.mlp.gate_proj`, nInner, C, config.mlpBias),
    ...dense(`${layer}.mlp.up_proj`, nInner, C, config.mlpBias),
    ...dense(`${layer}.mlp.down_proj`, C, nInner, config.mlpBias),
  ];
  return [
    weight("model.embed_tokens.weight", [config.vocabSize, C], { normal: initStd }),
    ...Array.from({ length: config.nLayer }, (_, i) => block(`model.layers.${i}`)).flat(),
    gain("model.norm.weight", C),
  ];
}

function hidden(
  config: LlamaConfig,
  p: Parameters,
  batch: Batch,
  computing: Computing,
  cache: KvCache | undefined,
): Tensor {
  const { nHead, nKvHead, headDim, eps, theta } = config;
  const norm = (x: Tensor, name: string): Tensor => rmsNorm(x, p.get(`${name}.weight`), { eps });
  const dense = (x: Tensor, ...names: string[]): Tensor => linears(x, p, names, computing.precision);
  // In place: only attention reads the projection.
  const turned = { theta, rotaryDim: headDim, maxPositions: config.blockSize, inPlace: true };
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

function toHf(config: LlamaConfig): Record<string, unknown> {
  return {
    model_type: "llama",
    vocab_size: config.vocabSize,
    max_position_embeddings: config.blockSize,
    num_hidden_layers: config.nLayer,
    num_attention_heads: config.nHead,
    num_key_value_heads: config.nKvHead,
    hidden_size: config.nEmbd,
    head_dim: config.headDim,
    intermediate_size: config.nInner,
    rms_norm_eps: config.eps,
    rope_theta: config.theta,
    hidden_act: "silu",
    attention_bias: config.attentionBias,
    mlp_bias: config.mlpBias,
    tie_word_embeddings: config.tied,
    initializer_range: config.initStd,
  };
}

/** The Llama family. */
export const llama: ModelFamily = {
  name: "llama",
  architectures: { lm: "LlamaForCausalLM", scalar: "LlamaForSequenceClassification" },
  fromHf(hf): Architecture {
    const config = parse(hf);
    const { tied, initStd, vocabSize, nEmbd } = config;
    return {
      config,
      specs: table(config),
      lmHead: tied ? "model.embed_tokens.weight" : "lm_head.weight",
      lmHeadSpec: tied ? undefined : weight("lm_head.weight", [vocabSize, nEmbd], { normal: initStd }),
      initStd,
      rename: (name) => (name.endsWith(".rotary_emb.inv_freq") ? undefined : name),
      hidden: (parameters, batch, computing, cache) => hidden(config, parameters, batch, computing, cache),
      toHf: () => toHf(config),
    };
  },
};
