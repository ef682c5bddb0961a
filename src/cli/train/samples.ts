/** Samples while a language model is trained. */
import type { Tokenizer } from "../../data/tokenizer/tokenizer.ts";
import { createEngine, type Engine } from "../../generate/engine.ts";
import type { LanguageModel } from "../../nn/lm.ts";
import { endIds } from "../open.ts";

/** Draws a few continuations of one prompt. */
export interface Sampler {
  /** The continuations as text; the same step gives the same random numbers. */
  sample(step: number): Promise<string[]>;
  dispose(): void;
}

/** What to sample. */
export interface SamplerOptions {
  /** "" = a new document. */
  readonly prompt: string;
  readonly rows: number;
  readonly seed: number;
}

const NEW_TOKENS = 64;

/**
 * Prepares sampling from the model's weights as they are at each call.
 * @throws ConfigError when the prompt does not fit the model's context
 */
export async function createSampler(
  model: LanguageModel,
  tokenizer: Tokenizer,
  { prompt, rows, seed }: SamplerOptions,
): Promise<Sampler> {
  const ids = promptIds(prompt, tokenizer);
  const maxNewTokens = Math.max(1, Math.min(NEW_TOKENS, model.config.blockSize - ids.length));
  const settings = { maxNewTokens, temperature: 1, eosIds: endIds(model, tokenizer) };
  const engine: Engine = await createEngine(model, rows, ids.length, settings);
  await engine.prepare(1);
  return {
    async sample(step) {
      const requests = Array.from({ length: rows }, (_, r) => ({ ids, stream: [step, r] as const }));
      const samples = await engine.generate(requests, { seed });
      return samples.map((s) => prompt + tokenizer.decode(s.ids, { skipSpecialTokens: true }));
    },
    dispose: () => engine.dispose(),
  };
}

/** A document begins after BOS; where the tokenizer has none, after the end of the document before. */
function promptIds(prompt: string, tokenizer: Tokenizer): number[] {
  const ids = prompt === "" ? [] : tokenizer.encode(prompt);
  const begin = tokenizer.bosId ?? tokenizer.eosId;
  return begin === undefined || ids[0] === begin ? ids : [begin, ...ids];
}
