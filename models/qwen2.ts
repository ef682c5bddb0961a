/** Qwen2 and Qwen2.5 (Yang et al. 2024): a Llama with biases of queries, keys and values, and of nothing else. */
import type { ModelFamily } from "./family.ts";
import type { HfConfig } from "./hf-config.ts";
import { llamaFamily } from "./llama.ts";

/** Qwen's configs name a window also where it is not in use; where it is, longer contexts are refused. */
export function windowOf(hf: HfConfig): number | undefined {
  return hf.flag("use_sliding_window", false) ? hf.count("sliding_window", 4096) : undefined;
}

/** The Qwen2 family. */
export const qwen2: ModelFamily = llamaFamily("qwen2", "Qwen2", (hf) => ({
  qkvBias: true,
  window: windowOf(hf),
}));
