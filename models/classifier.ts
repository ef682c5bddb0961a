/** How families make scores from hidden states. */
import type { Init, ParameterSpec } from "../src/nn/init.ts";
import type { Parameters } from "../src/nn/parameters.ts";
import type { Reads } from "../src/nn/pooling.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import type { HfConfig } from "./hf-config.ts";
import { linearLayers, linearSpecs } from "./layers.ts";

/** A classifier on top of a trunk. */
export interface Classifier {
  /** The token of each text whose hidden state it takes. */
  readonly reads: Reads;
  /** Its tensors. `has`: whether the checkpoint has one of this name, where that decides. */
  specs(labels: number, has: (name: string) => boolean): ParameterSpec[];
  /** Logits [R, labels] of hidden states [R, C]. */
  logits(parameters: Parameters, hidden: Tensor): Tensor;
}

/**
 * How many labels a classifier's config names: two where it does not say, as in Hugging Face.
 * @throws FormatError when there is none
 */
export function labelsOf(hf: HfConfig): number {
  const names = hf.object("id2label");
  if (!names) return hf.count("num_labels", 2);
  return Object.keys(names.json).length || hf.refuse("id2label is empty; expected a label at least");
}

/** Of decoders: one matrix, `score`, with a bias only where the checkpoint has one. */
export function lastTokenClassifier(nEmbd: number, init: Init): Classifier {
  return {
    reads: "last",
    specs: (labels, has) => linearSpecs("score", [labels, nEmbd], init, has("score.bias")),
    logits: (parameters, hidden) => linearLayers(parameters).dense(hidden, "score"),
  };
}

/** Of encoders: a layer named `inner`, an activation, a layer named `outer`, at the first token. */
export function firstTokenClassifier(
  nEmbd: number,
  init: Init,
  inner: string,
  activation: (x: Tensor) => Tensor,
  outer: string,
): Classifier {
  return {
    reads: "first",
    specs: (labels) => [
      ...linearSpecs(inner, [nEmbd, nEmbd], init),
      ...linearSpecs(outer, [labels, nEmbd], init),
    ],
    logits: (parameters, hidden) => {
      const { dense } = linearLayers(parameters);
      return dense(activation(dense(hidden, inner)), outer);
    },
  };
}
