/** Responses as text, and what the reward says of them. */
import type { Tokenizer } from "../data/tokenizer/tokenizer.ts";
import type { Sample } from "../generate/engine.ts";
import { type Prompt, responseText, rewardInput } from "./cache/build.ts";
import type { Reward } from "./rewards.ts";

/** Who judges, and whose prompts. */
export interface Jury {
  readonly prompts: readonly Prompt[];
  readonly tokenizer: Tokenizer;
  readonly reward: Reward;
}

/**
 * Text and score of each response.
 * @param picks the number of each response's prompt
 * @throws ConfigError when the reward gives something else than finite numbers
 */
export async function judgeSamples(
  picks: readonly number[],
  samples: readonly Sample[],
  { prompts, tokenizer, reward }: Jury,
): Promise<{ readonly texts: readonly string[]; readonly scores: Float64Array }> {
  const texts = samples.map((s, e) => responseText(tokenizer, prompts[picks[e]!]!, s.ids));
  const inputs = samples.map((s, e) => rewardInput(prompts[picks[e]!]!, texts[e]!, s.ids));
  return { texts, scores: await reward.score(inputs) };
}
