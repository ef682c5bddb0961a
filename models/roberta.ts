/** RoBERTa (Liu et al. 2019): BERT whose positions begin after the padding's, with a classifier of two layers. */
import { unary } from "../src/ops/unary.ts";
import { bertConfig, bertToHf } from "./bert.ts";
import { firstTokenClassifier } from "./classifier.ts";
import { bertNames, encoderFamily } from "./encoder.ts";
import type { ModelFamily } from "./family.ts";

/** The RoBERTa family. */
export const roberta: ModelFamily = encoderFamily({
  name: "roberta",
  prefix: "Roberta",
  names: bertNames("roberta"),
  parse(hf) {
    const config = bertConfig(hf, "roberta");
    // fairseq numbers positions from padding_idx + 1, whatever the padding: rows before it are never read.
    const firstPosition = (hf.tokenId("pad_token_id") ?? 1) + 1;
    const blockSize = config.maxPositions - firstPosition;
    if (blockSize < 1)
      hf.refuse(
        `max_position_embeddings ${config.maxPositions} leaves no position after pad_token_id ${firstPosition - 1}`,
      );
    return { ...config, firstPosition, blockSize };
  },
  classifier: ({ nEmbd, initStd }) =>
    firstTokenClassifier(
      nEmbd,
      { normal: initStd },
      "classifier.dense",
      (x) => unary(x, { kind: "tanh" }),
      "classifier.out_proj",
    ),
  ignored: /^(lm_head|roberta\.pooler)\./,
  toHf: (config) => ({ ...bertToHf(config), pad_token_id: config.firstPosition - 1 }),
});
