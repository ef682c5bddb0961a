/** Words merged one by one give the ids of the whole text. */
import { Tokenizer as HfTokenizer } from "@huggingface/tokenizers";
import fc from "fast-check";
import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { wordSplit } from "../../src/data/tokenizer/sentence-piece.ts";

const PIECES = ["▁", "t", "h", "e", "▁▁", "▁t", "▁th", "▁the", "he", "▁▁▁▁", "é"];
const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`);

const tiny = (merges: readonly string[]): Record<string, unknown> => ({
  added_tokens: [{ id: 0, content: "<s>", special: true }],
  normalizer: {
    type: "Sequence",
    normalizers: [
      { type: "Prepend", prepend: "▁" },
      { type: "Replace", pattern: { String: " " }, content: "▁" },
    ],
  },
  pre_tokenizer: null,
  post_processor: null,
  decoder: null,
  model: {
    type: "BPE",
    byte_fallback: true,
    vocab: Object.fromEntries(["<s>", ...bytes, ...PIECES, "e▁"].map((token, id) => [token, id])),
    merges,
  },
});

const MERGES = ["▁ ▁", "h e", "▁ t", "▁t h", "▁▁ ▁▁", "▁th e"];
const real = new URL("../../../shared/data/stories260K/tokenizer.json", import.meta.url);

/** A tokenizer, and what texts for it are made of. */
type Kind = readonly [name: string, json: Record<string, unknown>, letters: string];
const KINDS: Kind[] = [["a small one", tiny(MERGES), "the <s> ▁é\n"]];
if (existsSync(real))
  KINDS.push(["stories260K", JSON.parse(readFileSync(real, "utf8")) as Kind[1], "Once upon a ▁,.é"]);

describe.each(KINDS)("%s", (_, json, letters) => {
  it("answers the ids of the library, word by word", () => {
    const split = wordSplit(json);
    expect(split).toBeDefined();
    const [whole, words] = [json, { ...json, pre_tokenizer: split }].map(
      (given) => new HfTokenizer(given as never, {}),
    );
    const pieces = fc.oneof(
      fc.constantFrom(...letters, "  ", " the", "<s>"),
      fc.string({ unit: "grapheme" }),
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 40 }), (parts) => {
        const text = parts.join("");
        expect(words!.encode(text).ids).toEqual(whole!.encode(text).ids);
      }),
      { numRuns: 300 },
    );
  });
});

it.each([
  ["merges lead across words", tiny([...MERGES, "e ▁"])],
  ["there are no spaces in it", tiny(["h e"])],
  ["it has a pre-tokenizer", { ...tiny(MERGES), pre_tokenizer: { type: "Whitespace" } }],
  [
    "whole texts are looked up",
    { ...tiny(MERGES), model: { ...(tiny(MERGES)["model"] as object), ignore_merges: true } },
  ],
])("leaves a tokenizer as it is where %s", (_, json) => {
  expect(wordSplit(json)).toBeUndefined();
});
