/** The last projection of language models, and what is read from it. */
import { headCompare, headLogits, headLogprobs } from "../ops/head.ts";
import type { LanguageModel, LmHead } from "./lm.ts";

/** The part of a language model that follows its hidden states. */
export function languageHead(head: LmHead): Pick<LanguageModel, "head" | "logits" | "logprobs" | "compare"> {
  const { weight, bias } = head;
  return {
    head,
    logits: (hidden) => headLogits(hidden, weight, bias),
    logprobs(hidden, targets, at = {}) {
      const [logprobs, entropy] = headLogprobs(hidden, weight, bias, targets, at);
      return { logprobs, entropy };
    },
    compare(hidden, targets, { model: { head: theirs }, hidden: theirHidden }, at = {}) {
      const other = [theirHidden, theirs.weight, theirs.bias] as const;
      const [logprobs, entropy, otherLogprobs, kl] = headCompare(hidden, weight, bias, ...other, targets, at);
      return { logprobs, entropy, otherLogprobs, kl };
    },
  };
}
