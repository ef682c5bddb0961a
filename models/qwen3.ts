/** Qwen3 (Yang et al. 2025): a Llama whose heads' queries and keys are normed before they turn. */
import type { ModelFamily } from "./family.ts";
import { llamaFamily } from "./llama.ts";
import { windowOf } from "./qwen2.ts";

/** The Qwen3 family. */
export const qwen3: ModelFamily = llamaFamily("qwen3", "Qwen3", (hf) => {
  const bias = hf.flag("attention_bias", false);
  return { qkvBias: bias, outBias: bias, headNorms: true, headDim: 128, window: windowOf(hf) };
});
