/** Responses that end by what they say: a text of the caller's instead of a token. */
import type { Tokenizer } from "../data/tokenizer/tokenizer.ts";

/** A text at which responses end. */
export interface Stop {
  readonly text: string;
  /**
   * How many of a response's first tokens belong to it: as few as it takes for them to say the text. Undefined while it goes on.
   * A response is so the same however often it is looked at.
   * @param from of so many tokens it is known that they do not say it
   */
  lengthOf(ids: readonly number[], from?: number): number | undefined;
}

/** A response ends with the token that completes `text`, which stays in it, as with transformers' `stop_strings`. */
export function stopAt(text: string, tokenizer: Tokenizer): Stop {
  const says = (ids: readonly number[]): boolean =>
    tokenizer.decode(ids, { skipSpecialTokens: true }).includes(text);
  // A token that adds to the text adds a byte at least.
  const reach = new TextEncoder().encode(text).length;
  return {
    text,
    lengthOf(ids, from = 0) {
      const start = Math.max(0, from - reach - 1);
      if (!says(ids.slice(start))) return undefined;
      for (let length = from + 1; length < ids.length; length++)
        if (says(ids.slice(start, length))) return length;
      return ids.length;
    },
  };
}
