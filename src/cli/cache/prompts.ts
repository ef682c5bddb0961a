/** Prompts as commands get them: checked against the model before anything is computed. */
import type { Prompt } from "../../align/cache/build.ts";
import { ConfigError } from "../../errors.ts";
import type { ModelConfig } from "../../nn/lm.ts";

/**
 * Refuses prompts that the model cannot read.
 * @param who the file or flag they came from
 * @throws ConfigError for no prompts, an empty one, an id outside the vocabulary
 */
export function checkPrompts(who: string, prompts: readonly Prompt[], { vocabSize }: ModelConfig): void {
  if (prompts.length === 0) throw new ConfigError(`${who}: expected at least one prompt, got none`);
  prompts.forEach(({ ids }, i) => {
    if (ids.length === 0)
      throw new ConfigError(`${who}: prompt ${i + 1} has no tokens; expected at least one`);
    const strange = ids.find((id) => !(Number.isInteger(id) && id >= 0 && id < vocabSize));
    if (strange === undefined) return;
    throw new ConfigError(
      `${who}: prompt ${i + 1} holds the id ${strange}; expected ids from 0 to ${vocabSize - 1}, the model's`,
    );
  });
}

/**
 * How many tokens a response may have.
 * @param asked `--max-new-tokens`; without it `fallback`, or what the context leaves
 * @throws ConfigError naming the longest prompt when there is no room
 */
export function roomFor(
  who: string,
  prompts: readonly Prompt[],
  { blockSize }: ModelConfig,
  asked: number | undefined,
  fallback: number,
): number {
  const longest = prompts.reduce((best, p, i) => (p.ids.length > prompts[best]!.ids.length ? i : best), 0);
  const { length } = prompts[longest]!.ids;
  const room = blockSize - length;
  if (room >= (asked ?? 1)) return asked ?? Math.min(fallback, room);
  const wanted = asked === undefined ? "" : ` and ${asked} new ones are asked for`;
  throw new ConfigError(
    `${who}: prompt ${longest + 1} has ${length} tokens${wanted}; the model's context holds ${blockSize}; ` +
      `shorten the prompt${asked !== undefined && room > 0 ? ` or set --max-new-tokens to at most ${room}` : ""}`,
  );
}

/** Each prompt once, in order of first appearance. */
export function distinctPrompts(prompts: readonly Prompt[]): Prompt[] {
  return [...new Map(prompts.toReversed().map((p) => [p.ids.join(","), p])).values()].toReversed();
}
