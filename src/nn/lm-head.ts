/** The last projection of language models, and what is read from it. */
import { headCompare, headLogits, headLogprobs } from "../ops/head.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { operand } from "./linear.ts";
import type { LanguageModel, LmHead } from "./lm.ts";

/** The part of a language model that follows its hidden states. */
export function languageHead(head: LmHead): Pick<LanguageModel, "head" | "logits" | "logprobs" | "compare"> {
  return {
    head,
    logits: (hidden) => headLogits(...operands(hidden, head)),
    logprobs(hidden, targets, at = {}) {
      const [logprobs, entropy] = headLogprobs(...operands(hidden, head), targets, at);
      return { logprobs, entropy };
    },
    compare(hidden, targets, { model, hidden: theirs }, at = {}) {
      const both = [...operands(hidden, head), ...operands(theirs, model.head)] as const;
      const [logprobs, entropy, otherLogprobs, kl] = headCompare(...both, targets, at);
      return { logprobs, entropy, otherLogprobs, kl };
    },
  };
}

/** Hidden states, weight and bias as the product reads them. */
const operands = (
  hidden: Tensor,
  { weight, bias, precision }: LmHead,
): readonly [hidden: Tensor, weight: Tensor, bias: Tensor | undefined] => [
  operand(hidden, precision),
  operand(weight, precision),
  bias,
];
