/**
 * A quicker way through BPE of SentencePiece's kind (Llama 1 and 2, Mistral): there a whole text is one word, in which "▁" stands for
 * a space. Where no merge leads across the end of a word, every word can be merged, and remembered, on its own.
 */
import { isRecord } from "../json.ts";

type Fields = Readonly<Record<string, unknown>>;

/** Spaces and the word after them. */
const WORDS = "▁*[^▁]+|▁+";
/** The end of one word and the beginning of the next. */
const SEAM = /[^▁]▁/u;

/** A pre-tokenizer for `tokenizer.json` that cuts words and changes no id; undefined where there is none, or one already. */
export function wordSplit({ model, pre_tokenizer: given }: Fields): Fields | undefined {
  if (given != null || !isRecord(model) || model["type"] !== "BPE" || model["ignore_merges"] === true)
    return undefined;
  const affixes = [model["continuing_subword_prefix"], model["end_of_word_suffix"]];
  const { merges } = model;
  if (affixes.some(Boolean) || !Array.isArray(merges)) return undefined;
  const made = merges.map((pair: unknown) => (Array.isArray(pair) ? pair.join("") : seamless(pair)));
  if (made.some((token) => SEAM.test(token)) || !made.some((token) => token.startsWith("▁")))
    return undefined;
  return { type: "Split", pattern: { Regex: WORDS }, behavior: "Removed", invert: true };
}

/** "a b" joined. */
const seamless = (pair: unknown): string => String(pair).replace(" ", "");
