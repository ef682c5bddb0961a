/**
 * GPT-NeoX (Black et al. 2022; Pythia): rotary positions on the first part of each head, LayerNorm, GELU, biases,
 * attention and MLP side by side or one after the other, an LM head of its own.
 */
import { attend } from "../src/nn/attention.ts";
import { bias, gain, type ParameterSpec, weight } from "../src/nn/init.ts";
import { linear } from "../src/nn/linear.ts";
import type { Batch, Computing, KvCache, ModelConfig } from "../src/nn/lm.ts";
import type { Parameters } from "../src/nn/parameters.ts";
import { stack } from "../src/nn/stack.ts";
import { add } from "../src/ops/binary.ts";
import { embedding } from "../src/ops/embedding.ts";
import { concat, slice } from "../src/ops/layout.ts";
import { layerNorm } from "../src/ops/norm.ts";
import { rope } from "../src/ops/rope.ts";
import { unary } from "../src/ops/unary.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { ACTIVATIONS } from "./activations.ts";
import type { Architecture, ModelFamily } from "./family.ts";
import type { HfConfig } from "./hf-config.ts";

interface NeoxConfig extends ModelConfig {
  readonly nInner: number;
  readonly eps: number;
  readonly theta: number;
  readonly rotaryShare: number;
  readonly rotaryDim: number;
  /** Hugging Face's name of the activation, kept for writing. */
  readonly act: string;
  readonly parallel: boolean;
  readonly attentionBias: boolean;
  readonly tied: boolean;
  readonly initStd: number;
}

function parse(hf: HfConfig): NeoxConfig {
  const [nEmbd, nHead] = [hf.count("hidden_size"), hf.count("num_attention_heads")];
  if (nEmbd % nHead !== 0)
    hf.refuse(`hidden_size ${nEmbd} is not a multiple of num_attention_heads ${nHead}`);
  const act = hf.text("hidden_act", "gelu");
  const known = Object.keys(ACTIVATIONS).join(", ");
  if (!ACTIVATIONS[act]) hf.refuse(`hidden_act is "${act}"; expected one of ${known}`);
  return {
    family: "gpt_neox",
    vocabSize: hf.count("vocab_size"),
    blockSize: hf.count("max_position_embeddings"),
    nLayer: hf.count("num_hidden_layers"),
    nHead,
    nKvHead: nHead,
    nEmbd,
    headDim: nEmbd / nHead,
    bosId: hf.tokenId("bos_token_id"),
    eosId: hf.tokenId("eos_token_id"),
    nInner: hf.count("intermediate_size"),
    eps: hf.positive("layer_norm_eps", 1e-5),
    ...rotaryOf(hf, nEmbd / nHead),
    act,
    parallel: hf.flag("use_parallel_residual", true),
    attentionBias: hf.flag("attention_bias", true),
    tied: hf.flag("tie_word_embeddings", false),
    initStd: hf.positive("initializer_range", 0.02),
  };
}

/** Base and share of the rotary positions, in the older spelling or in `rope_parameters`; scaled forms are refused. */
function rotaryOf(hf: HfConfig, headDim: number): Pick<NeoxConfig, "theta" | "rotaryShare" | "rotaryDim"> {
  for (const key of ["rope_scaling", "rope_parameters"]) {
    const scaling = hf.object(key);
    const type = scaling?.text("rope_type", scaling.text("type", "default")) ?? "default";
    if (type !== "default")
      hf.refuse(`${key} asks for "${type}" scaling of rotary positions; only "default" is supported`);
  }
  const newer = hf.object("rope_parameters");
  const theta = hf.positive("rotary_emb_base", hf.positive("rope_theta", 10000));
  const share = hf.positive("rotary_pct", 0.25);
  const rotaryShare = newer?.positive("partial_rotary_factor", share) ?? share;
  const rotaryDim = Math.floor(headDim * rotaryShare);
  if (rotaryDim < 2 || rotaryDim > headDim || rotaryDim % 2 !== 0)
    hf.refuse(
      `rotary_pct ${rotaryShare} turns ${rotaryDim} of ${headDim} dimensions; expected an even number`,
    );
  return { theta: newer?.positive("rope_theta", theta) ?? theta, rotaryShare, rotaryDim };
}

/** The parameter table. */
function table(config: NeoxConfig): ParameterSpec[] {
  const { nEmbd: C, nInner, initStd, attentionBias } = config;
  const std = { normal: initStd };
  const norm = (name: string): ParameterSpec[] => [gain(`${name}.weight`, C), bias(`${name}.bias`, C)];
  const dense = (name: string, N: number, K: number, withBias = true): ParameterSpec[] => [
    weight(`${name}.weight`, [N, K], std),
    ...(withBias ? [bias(`${name}.bias`, N)] : []),
  ];
  const block = (h: string): ParameterSpec[] => [
    ...norm(`${h}.input_layernorm`),
    ...norm(`${h}.post_attention_layernorm`),
    ...dense(`${h}.attention.query_key_value`, 3 * C, C, attentionBias),
    ...dense(`${h}.attention.dense`, C, C, attentionBias),
    ...dense(`${h}.mlp.dense_h_to_4h`, nInner, C),
    ...dense(`${h}.mlp.dense_4h_to_h`, C, nInner),
  ];
  return [
    weight("gpt_neox.embed_in.weight", [config.vocabSize, C], std),
    ...Array.from({ length: config.nLayer }, (_, i) => block(`gpt_neox.layers.${i}`)).flat(),
    ...norm("gpt_neox.final_layer_norm"),
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

function hidden(
  config: NeoxConfig,
  p: Parameters,
  batch: Batch,
  computing: Computing,
  cache: KvCache | undefined,
): Tensor {
  const { theta, rotaryDim, blockSize: maxPositions, nHead } = config;
  const norm = (x: Tensor, name: string): Tensor =>
    layerNorm(x, p.get(`${name}.weight`), p.get(`${name}.bias`), { eps: config.eps });
  const dense = (x: Tensor, name: string): Tensor => {
    const shift = p.has(`${name}.bias`) ? p.get(`${name}.bias`) : undefined;
    return linear(x, p.get(`${name}.weight`), shift, "out_in", computing.precision);
  };
  // In place: only attention reads the regrouped copy.
  const turned = { theta, rotaryDim, maxPositions, inPlace: true, heads: 2 * nHead };
  const attention = (x: Tensor, h: string, layer: number): Tensor => {
    const qkv = rope(byKind(dense(x, `${h}.query_key_value`), config), batch.positions, turned);
    return dense(attend(qkv, { config, batch, cache, layer }), `${h}.dense`);
  };
  const kind = ACTIVATIONS[config.act]!;
  const mlp = (x: Tensor, h: string): Tensor =>
    dense(unary(dense(x, `${h}.dense_h_to_4h`), { kind }), `${h}.dense_4h_to_h`);

  const block = (x: Tensor, layer: number): Tensor => {
    const h = `gpt_neox.layers.${layer}`;
    const middle = add(x, attention(norm(x, `${h}.input_layernorm`), `${h}.attention`, layer));
    // Side by side, the MLP reads what attention read, not what it wrote.
    const source = config.parallel ? x : middle;
    return add(middle, mlp(norm(source, `${h}.post_attention_layernorm`), `${h}.mlp`));
  };
  const start = embedding(p.get("gpt_neox.embed_in.weight"), batch.ids);
  return norm(stack(start, config.nLayer, block, computing), "gpt_neox.final_layer_norm");
}

function toHf(config: NeoxConfig): Record<string, unknown> {
  return {
    model_type: "gpt_neox",
    vocab_size: config.vocabSize,
    max_position_embeddings: config.blockSize,
    num_hidden_layers: config.nLayer,
    num_attention_heads: config.nHead,
    hidden_size: config.nEmbd,
    intermediate_size: config.nInner,
    layer_norm_eps: config.eps,
    rotary_emb_base: config.theta,
    rotary_pct: config.rotaryShare,
    hidden_act: config.act,
    use_parallel_residual: config.parallel,
    attention_bias: config.attentionBias,
    tie_word_embeddings: config.tied,
    initializer_range: config.initStd,
  };
}

/** Checkpoints may carry causal masks and rotary tables. */
const rename = (name: string): string | undefined =>
  /\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)$/.test(name) ? undefined : name;

/** The GPT-NeoX family. */
export const gptNeox: ModelFamily = {
  name: "gpt_neox",
  architectures: { lm: "GPTNeoXForCausalLM", scalar: "GPTNeoXForSequenceClassification" },
  fromHf(hf): Architecture {
    const config = parse(hf);
    const { tied, initStd, vocabSize, nEmbd } = config;
    return {
      config,
      specs: table(config),
      lmHead: tied ? "gpt_neox.embed_in.weight" : "embed_out.weight",
      lmHeadSpec: tied ? undefined : weight("embed_out.weight", [vocabSize, nEmbd], { normal: initStd }),
      initStd,
      rename,
      hidden: (parameters, batch, computing, cache) => hidden(config, parameters, batch, computing, cache),
      toHf: () => toHf(config),
    };
  },
};
