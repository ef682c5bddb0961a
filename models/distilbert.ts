/** DistilBERT (Sanh et al. 2019): half of BERT's blocks, no token types, a ReLU before the classifier. */
import { relu } from "../src/ops/unary.ts";
import { activationOf } from "./activations.ts";
import { firstTokenClassifier } from "./classifier.ts";
import { encoderFamily } from "./encoder.ts";
import type { ModelFamily } from "./family.ts";
import { readEvenSizes, type SizeKeys, writeSizes } from "./sizes.ts";

const KEYS: SizeKeys = {
  nEmbd: "dim",
  nHead: "n_heads",
  nLayer: "n_layers",
  nInner: "hidden_dim",
  maxPositions: "max_position_embeddings",
};

/** The DistilBERT family. */
export const distilbert: ModelFamily = encoderFamily({
  name: "distilbert",
  prefix: "DistilBert",
  names: {
    trunk: "distilbert",
    blocks: "transformer.layer",
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    attentionOut: "attention.out_lin",
    attentionNorm: "sa_layer_norm",
    up: "ffn.lin1",
    down: "ffn.lin2",
    mlpNorm: "output_layer_norm",
  },
  parse: (hf) => ({
    ...readEvenSizes(hf, "distilbert", KEYS),
    eps: 1e-12,
    activation: activationOf(hf, "activation", "gelu"),
    firstPosition: 0,
    tokenTypes: 0,
  }),
  classifier: ({ nEmbd, initStd }) =>
    firstTokenClassifier(nEmbd, { normal: initStd }, "pre_classifier", relu, "classifier"),
  ignored: /^vocab_(transform|layer_norm|projector)\./,
  toHf: (config) => ({ ...writeSizes(config, KEYS), activation: config.activation.name }),
});
