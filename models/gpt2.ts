/**
 * GPT-2 (Radford et al. 2019): learned positions, LayerNorm before each block, GELU, biases everywhere, tied head.
 * Weights of its "Conv1D" layers are stored [in, out].
 */
import { f32 } from "../src/data/weights/gguf-values.ts";
import { ConfigError } from "../src/errors.ts";
import { attend } from "../src/nn/attention.ts";
import { bias, type ParameterSpec, weight } from "../src/nn/init.ts";
import { stack } from "../src/nn/stack.ts";
import { add } from "../src/ops/binary.ts";
import { embedding } from "../src/ops/embedding.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { type Activation, activationOf, needGelu } from "./activations.ts";
import { type DecoderConfig, decoderFamily } from "./decoder.ts";
import type { GgufForm, ModelFamily, Pass } from "./family.ts";
import type { HfConfig } from "./hf-config.ts";
import { blockSpecs, linearLayers, norms, normSpecs } from "./layers.ts";
import { readEvenSizes, type SizeKeys, writeSizes } from "./sizes.ts";

interface Gpt2Config extends DecoderConfig {
  readonly eps: number;
  readonly activation: Activation;
  readonly scaleWeights: boolean;
  readonly scaleByLayer: boolean;
}

const KEYS: SizeKeys = {
  nEmbd: "n_embd",
  nHead: "n_head",
  nLayer: "n_layer",
  nInner: "n_inner",
  maxPositions: "n_positions",
};

function parse(hf: HfConfig): Gpt2Config {
  if (hf.flag("add_cross_attention", false))
    hf.refuse("add_cross_attention is true; encoder-decoder models are not supported");
  return {
    ...readEvenSizes(hf, "gpt2", KEYS, 4 * hf.count(KEYS.nEmbd)),
    eps: hf.positive("layer_norm_epsilon", 1e-5),
    activation: activationOf(hf, "activation_function", "gelu_new"),
    scaleWeights: hf.flag("scale_attn_weights", true),
    scaleByLayer: hf.flag("scale_attn_by_inverse_layer_idx", false),
    tied: hf.flag("tie_word_embeddings", true),
  };
}

/** The parameter table. Projections into the residual stream start smaller by √(2 nLayer) (section 2.3 of the paper). */
function table(config: Gpt2Config): ParameterSpec[] {
  const { nEmbd: C, nInner, initStd, nLayer } = config;
  const std = { normal: initStd };
  const residual = { normal: initStd / Math.sqrt(2 * nLayer) };
  const conv = (name: string, K: number, N: number, init = std): ParameterSpec[] => [
    { ...weight(`${name}.weight`, [K, N], init), layout: "in_out" },
    bias(`${name}.bias`, N),
  ];
  const block = (h: string): ParameterSpec[] => [
    ...normSpecs(`${h}.ln_1`, C),
    ...conv(`${h}.attn.c_attn`, C, 3 * C),
    ...conv(`${h}.attn.c_proj`, C, C, residual),
    ...normSpecs(`${h}.ln_2`, C),
    ...conv(`${h}.mlp.c_fc`, C, nInner),
    ...conv(`${h}.mlp.c_proj`, nInner, C, residual),
  ];
  return [
    weight("transformer.wte.weight", [config.vocabSize, C], std),
    { ...weight("transformer.wpe.weight", [config.blockSize, C], std), positions: true },
    ...blockSpecs("transformer.h", nLayer, block),
    ...normSpecs("transformer.ln_f", C),
  ];
}

function hidden(config: Gpt2Config, { parameters: p, batch, computing, cache }: Pass): Tensor {
  const norm = norms(p, config.eps);
  const { dense: conv, onto, mlp } = linearLayers(p, computing, "in_out");
  const { kind } = config.activation;
  const attention = (residual: Tensor, x: Tensor, h: string, layer: number): Tensor => {
    const options = { config, batch, cache, layer, ...computing, scale: scaleOf(config, layer) };
    return onto(residual, attend(conv(x, `${h}.attn.c_attn`), options), `${h}.attn.c_proj`);
  };

  const block = (x: Tensor, layer: number): Tensor => {
    const h = `transformer.h.${layer}`;
    const middle = attention(x, norm(x, `${h}.ln_1`), h, layer);
    return mlp(middle, norm(middle, `${h}.ln_2`), { up: `${h}.mlp.c_fc`, down: `${h}.mlp.c_proj`, kind });
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

const GGUF_NAMES: GgufForm["names"] = {
  "transformer.wte": "token_embd",
  "transformer.wpe": "position_embd",
  "transformer.h.#.ln_1": "blk.#.attn_norm",
  "transformer.h.#.attn.c_attn": "blk.#.attn_qkv",
  "transformer.h.#.attn.c_proj": "blk.#.attn_output",
  "transformer.h.#.ln_2": "blk.#.ffn_norm",
  "transformer.h.#.mlp.c_fc": "blk.#.ffn_up",
  "transformer.h.#.mlp.c_proj": "blk.#.ffn_down",
  "transformer.ln_f": "output_norm",
  lm_head: "output",
};

/** The GPT-2 family. */
export const gpt2: ModelFamily = decoderFamily<Gpt2Config>({
  name: "gpt2",
  architectures: { lm: "GPT2LMHeadModel", scalar: "GPT2ForSequenceClassification" },
  embedding: "transformer.wte.weight",
  head: "lm_head.weight",
  parse,
  table,
  rename,
  hidden,
  toHf: (config) => ({
    ...writeSizes(config, KEYS),
    n_ctx: config.maxPositions,
    layer_norm_epsilon: config.eps,
    activation_function: config.activation.name,
    scale_attn_weights: config.scaleWeights,
    scale_attn_by_inverse_layer_idx: config.scaleByLayer,
  }),
  toGguf(config) {
    needGelu(config.activation);
    if (!config.scaleWeights || config.scaleByLayer)
      throw new ConfigError(
        "gpt2: llama.cpp divides scores by the root of the head's width, and by nothing else",
      );
    return {
      architecture: "gpt2",
      metadata: { "attention.layer_norm_epsilon": f32(config.eps) },
      names: GGUF_NAMES,
    };
  },
});
