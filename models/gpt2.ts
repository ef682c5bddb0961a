/**
 * GPT-2 (Radford et al. 2019): learned positions, LayerNorm before each block, GELU, biases everywhere, tied head.
 * Weights of its "Conv1D" layers are stored [in, out].
 */
import { attend } from "../src/nn/attention.ts";
import { bias, gain, type ParameterSpec, weight } from "../src/nn/init.ts";
import { linear } from "../src/nn/linear.ts";
import type { Batch, Computing, KvCache, ModelConfig } from "../src/nn/lm.ts";
import type { Parameters } from "../src/nn/parameters.ts";
import { stack } from "../src/nn/stack.ts";
import { add } from "../src/ops/binary.ts";
import { embedding } from "../src/ops/embedding.ts";
import { layerNorm } from "../src/ops/norm.ts";
import { unary, type UnaryKind } from "../src/ops/unary.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { ACTIVATIONS } from "./activations.ts";
import type { Architecture, ModelFamily } from "./family.ts";
import type { HfConfig } from "./hf-config.ts";

interface Gpt2Config extends ModelConfig {
  readonly nInner: number;
  readonly eps: number;
  readonly activation: UnaryKind;
  readonly scaleWeights: boolean;
  readonly scaleByLayer: boolean;
  readonly tied: boolean;
  readonly initStd: number;
}

function parse(hf: HfConfig): Gpt2Config {
  const [nEmbd, nHead] = [hf.count("n_embd"), hf.count("n_head")];
  if (nEmbd % nHead !== 0) hf.refuse(`n_embd ${nEmbd} is not a multiple of n_head ${nHead}`);
  const name = hf.text("activation_function", "gelu_new");
  const known = Object.keys(ACTIVATIONS).join(", ");
  const activation =
    ACTIVATIONS[name] ?? hf.refuse(`activation_function is "${name}"; expected one of ${known}`);
  if (hf.flag("add_cross_attention", false))
    hf.refuse("add_cross_attention is true; encoder-decoder models are not supported");
  return {
    family: "gpt2",
    vocabSize: hf.count("vocab_size"),
    blockSize: hf.count("n_positions"),
    nLayer: hf.count("n_layer"),
    nHead,
    nKvHead: nHead,
    nEmbd,
    headDim: nEmbd / nHead,
    bosId: hf.tokenId("bos_token_id"),
    eosId: hf.tokenId("eos_token_id"),
    nInner: hf.count("n_inner", 4 * nEmbd),
    eps: hf.positive("layer_norm_epsilon", 1e-5),
    activation,
    scaleWeights: hf.flag("scale_attn_weights", true),
    scaleByLayer: hf.flag("scale_attn_by_inverse_layer_idx", false),
    tied: hf.flag("tie_word_embeddings", true),
    initStd: hf.positive("initializer_range", 0.02),
  };
}

/** The parameter table. Projections into the residual stream start smaller by √(2 nLayer) (section 2.3 of the paper). */
function table(config: Gpt2Config): ParameterSpec[] {
  const { nEmbd: C, nInner, initStd, nLayer } = config;
  const std = { normal: initStd };
  const residual = { normal: initStd / Math.sqrt(2 * nLayer) };
  const norm = (name: string): ParameterSpec[] => [gain(`${name}.weight`, C), bias(`${name}.bias`, C)];
  const conv = (name: string, K: number, N: number, init = std): ParameterSpec[] => [
    weight(`${name}.weight`, [K, N], init),
    bias(`${name}.bias`, N),
  ];
  const block = (h: string): ParameterSpec[] => [
    ...norm(`${h}.ln_1`),
    ...conv(`${h}.attn.c_attn`, C, 3 * C),
    ...conv(`${h}.attn.c_proj`, C, C, residual),
    ...norm(`${h}.ln_2`),
    ...conv(`${h}.mlp.c_fc`, C, nInner),
    ...conv(`${h}.mlp.c_proj`, nInner, C, residual),
  ];
  return [
    weight("transformer.wte.weight", [config.vocabSize, C], std),
    weight("transformer.wpe.weight", [config.blockSize, C], std),
    ...Array.from({ length: nLayer }, (_, i) => block(`transformer.h.${i}`)).flat(),
    ...norm("transformer.ln_f"),
  ];
}

function hidden(
  config: Gpt2Config,
  p: Parameters,
  batch: Batch,
  computing: Computing,
  cache: KvCache | undefined,
): Tensor {
  const norm = (x: Tensor, name: string): Tensor =>
    layerNorm(x, p.get(`${name}.weight`), p.get(`${name}.bias`), { eps: config.eps });
  const conv = (x: Tensor, name: string): Tensor =>
    linear(x, p.get(`${name}.weight`), p.get(`${name}.bias`), "in_out", computing.precision);
  const attention = (x: Tensor, h: string, layer: number): Tensor => {
    const options = { config, batch, cache, layer, scale: scaleOf(config, layer) };
    return conv(attend(conv(x, `${h}.attn.c_attn`), options), `${h}.attn.c_proj`);
  };
  const mlp = (x: Tensor, h: string): Tensor =>
    conv(unary(conv(x, `${h}.mlp.c_fc`), { kind: config.activation }), `${h}.mlp.c_proj`);

  const block = (x: Tensor, layer: number): Tensor => {
    const h = `transformer.h.${layer}`;
    const middle = add(x, attention(norm(x, `${h}.ln_1`), h, layer));
    return add(middle, mlp(norm(middle, `${h}.ln_2`), h));
  };
  const tokens = embedding(p.get("transformer.wte.weight"), batch.ids);
  const start = add(tokens, embedding(p.get("transformer.wpe.weight"), batch.positions));
  return norm(stack(start, config.nLayer, block, computing), "transformer.ln_f");
}

function scaleOf({ headDim, scaleWeights, scaleByLayer }: Gpt2Config, layer: number): number {
  return (scaleWeights ? 1 / Math.sqrt(headDim) : 1) / (scaleByLayer ? layer + 1 : 1);
}

/** Older checkpoints lack the `transformer.` prefix and carry the causal masks. */
function rename(name: string): string | undefined {
  if (/\.attn\.(bias|masked_bias)$/.test(name)) return undefined;
  return /^(wte|wpe|h|ln_f)\./.test(name) ? `transformer.${name}` : name;
}

function toHf(config: Gpt2Config): Record<string, unknown> {
  const names = Object.entries(ACTIVATIONS);
  return {
    model_type: "gpt2",
    vocab_size: config.vocabSize,
    n_positions: config.blockSize,
    n_ctx: config.blockSize,
    n_layer: config.nLayer,
    n_head: config.nHead,
    n_embd: config.nEmbd,
    n_inner: config.nInner,
    layer_norm_epsilon: config.eps,
    activation_function: names.find(([, kind]) => kind === config.activation)?.[0],
    scale_attn_weights: config.scaleWeights,
    scale_attn_by_inverse_layer_idx: config.scaleByLayer,
    tie_word_embeddings: config.tied,
    initializer_range: config.initStd,
  };
}

/** The GPT-2 family. */
export const gpt2: ModelFamily = {
  name: "gpt2",
  architectures: { lm: "GPT2LMHeadModel", scalar: "GPT2ForSequenceClassification" },
  fromHf(hf): Architecture {
    const config = parse(hf);
    const { tied, initStd, vocabSize, nEmbd } = config;
    return {
      config,
      specs: table(config),
      lmHead: tied ? "transformer.wte.weight" : "lm_head.weight",
      lmHeadSpec: tied ? undefined : weight("lm_head.weight", [vocabSize, nEmbd], { normal: initStd }),
      initStd,
      rename,
      hidden: (parameters, batch, computing, cache) => hidden(config, parameters, batch, computing, cache),
      toHf: () => toHf(config),
    };
  },
};
