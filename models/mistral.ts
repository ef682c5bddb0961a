/**
 * Mistral (Jiang et al. 2023): a Llama whose tokens see `sliding_window` tokens back. Contexts longer than the window
 * are refused: within it the window changes nothing.
 */
import type { ModelFamily } from "./family.ts";
import { llamaFamily } from "./llama.ts";

/** The Mistral family. */
export const mistral: ModelFamily = llamaFamily("mistral", "Mistral", (hf) => ({
  window: hf.count("sliding_window", Number.MAX_SAFE_INTEGER), // null: none
}));
