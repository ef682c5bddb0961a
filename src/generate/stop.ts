/** Responses that end by what they say: a text of the caller's instead of a token. */
import type { Tokenizer } from "../data/tokenizer/tokenizer.ts";

/** A text at which responses end. */
export interface Stop {
  readonly text: string;
  /**
   * How many of a response's first tokens belong to it: as few as it takes for them to say the text. Undefined while it goes on.
   * It depends on `ids` alone, so that a response is the same however often it is looked at.
   */
  lengthOf(ids: readonly number[]): number | undefined;
}

/** A response ends with the token that completes `text`, which stays in it, as with transformers' `stop_strings`. */
export function stopAt(text: string, tokenizer: Tokenizer): Stop {
  const says = (ids: readonly number[]): boolean =>
    tokenizer.decode(ids, { skipSpecialTokens: true }).includes(text);
  return {
    text,
    lengthOf(ids) {
      if (!says(ids)) return undefined;
      let length = ids.length;
      while (length > 1 && says(ids.slice(0, length - 1))) length--;
      return length;
    },
  };
}
