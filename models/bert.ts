/** BERT (Devlin et al. 2019): the pooler, a layer and a tanh, stands between the first token and the classifier. */
import { unary } from "../src/ops/unary.ts";
import { activationOf } from "./activations.ts";
import { firstTokenClassifier } from "./classifier.ts";
import { bertNames, type EncoderConfig, encoderFamily } from "./encoder.ts";
import type { ModelFamily } from "./family.ts";
import type { HfConfig } from "./hf-config.ts";
import { readEvenSizes, SIZE_KEYS, writeSizes } from "./sizes.ts";

/**
 * The config of BERT and of RoBERTa, which spells it alike.
 * @throws FormatError for a decoder, or for positions that are not learned
 */
export function bertConfig(hf: HfConfig, family: string): EncoderConfig {
  if (hf.flag("is_decoder", false)) hf.refuse("is_decoder is true; only encoders are supported");
  const positions = hf.text("position_embedding_type", "absolute");
  if (positions !== "absolute")
    hf.refuse(`position_embedding_type is "${positions}"; only "absolute" is supported`);
  return {
    ...readEvenSizes(hf, family, SIZE_KEYS),
    eps: hf.positive("layer_norm_eps", 1e-12),
    activation: activationOf(hf, "hidden_act", "gelu"),
    firstPosition: 0,
    tokenTypes: hf.count("type_vocab_size", 2),
  };
}

/** The same fields of a `config.json`. */
export function bertToHf(config: EncoderConfig): Record<string, unknown> {
  return {
    ...writeSizes(config, SIZE_KEYS),
    layer_norm_eps: config.eps,
    hidden_act: config.activation.name,
    type_vocab_size: config.tokenTypes,
  };
}

/** The BERT family. */
export const bert: ModelFamily = encoderFamily({
  name: "bert",
  prefix: "Bert",
  names: bertNames("bert"),
  parse: (hf) => bertConfig(hf, "bert"),
  classifier: ({ nEmbd, initStd }) =>
    firstTokenClassifier(
      nEmbd,
      { normal: initStd },
      "bert.pooler.dense",
      (x) => unary(x, { kind: "tanh" }),
      "classifier",
    ),
  ignored: /^cls\./,
  toHf: bertToHf,
});
