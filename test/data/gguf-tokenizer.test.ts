/** Tokenizers as llama.cpp has them: vocabularies, kinds of tokens, names of pre-tokenizers, scores of pieces. */
import { describe, expect, it } from "vitest";
import { trainBpe } from "../../src/data/tokenizer/bpe.ts";
import { ggufTokenizer } from "../../src/data/tokenizer/gguf.ts";
import { loadTokenizer, type Tokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import { FormatError } from "../../src/errors.ts";
import { sharedData, temporaryFolder } from "./support.ts";
import { saveBpeTokenizer } from "../support/bpe.ts";

const folder = temporaryFolder();
const bpe = trainBpe(["the cat sat on the mat, the cat sat"], { vocabSize: 262 });
await saveBpeTokenizer(folder, bpe);
const trained = await loadTokenizer(folder);
const LLAMA3 =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const BYTES = { type: "ByteLevel", add_prefix_space: false, use_regex: false };

/** The trained tokenizer, cutting words otherwise. */
const cutting = (pre_tokenizer: unknown): Tokenizer => ({
  ...trained,
  json: { ...trained.json, pre_tokenizer },
});
const split = (Regex: string): Tokenizer =>
  cutting({ type: "Sequence", pretokenizers: [{ type: "Split", pattern: { Regex } }, BYTES] });

describe("byte-level BPE", () => {
  it("keeps tokens, merges and special tokens, and names the rows that have none", () => {
    const metadata = ggufTokenizer(trained, 264, "x.gguf");
    expect(metadata).toMatchObject({
      "tokenizer.ggml.model": "gpt2",
      "tokenizer.ggml.pre": "gpt-2",
      "tokenizer.ggml.bos_token_id": { type: "u32", value: 261 },
      "tokenizer.ggml.eos_token_id": { type: "u32", value: 261 },
      "tokenizer.ggml.add_bos_token": false,
      "tokenizer.ggml.add_eos_token": false,
      "tokenizer.ggml.tokens": { type: "string", values: [...bpe.tokens, "[PAD262]", "[PAD263]"] },
      "tokenizer.ggml.merges": { type: "string", values: bpe.merges.map((pair) => pair.join(" ")) },
      "tokenizer.ggml.token_type": { type: "i32", values: [...Array<number>(261).fill(1), 3, 5, 5] },
    });
    expect(metadata).not.toHaveProperty("tokenizer.ggml.padding_token_id");
    expect(metadata).not.toHaveProperty("tokenizer.chat_template");
  });

  it.each<[string, Tokenizer]>([
    ["llama-bpe", split(LLAMA3)],
    ["qwen2", split(LLAMA3.replace("{1,3}", ""))],
    [
      "smollm",
      cutting({ type: "Sequence", pretokenizers: [{ type: "Digits" }, { ...BYTES, use_regex: true }] }),
    ],
  ])("knows how %s cuts words", (name, tokenizer) => {
    expect(ggufTokenizer(tokenizer, 262, "x")["tokenizer.ggml.pre"]).toBe(name);
  });

  it("takes the template of conversations along", () => {
    const template = "{{ messages }}";
    const metadata = ggufTokenizer(trained.withChatTemplate(template), 262, "x");
    expect(metadata["tokenizer.chat_template"]).toBe(template);
  });

  it.each<[string, Tokenizer, RegExp]>([
    [
      "a WordPiece",
      { ...trained, json: { model: { type: "WordPiece" } } },
      /x\.gguf: expected a BPE tokenizer, got WordPiece/,
    ],
    ["no model", { ...trained, json: {} }, /got none/],
    [
      "words cut in a way of their own",
      split("\\w+"),
      /cuts words by \\w\+, which llama\.cpp has no name for/,
    ],
    ["bytes that are not cut", cutting(BYTES), /ByteLevel without its rule/],
    [
      "a space before texts",
      cutting({ ...BYTES, use_regex: true, add_prefix_space: true }),
      /ByteLevel after a space/,
    ],
    ["nothing before the bytes", cutting(null), /by nothing/],
  ])("refuses %s", (_, tokenizer, message) => {
    expect(() => ggufTokenizer(tokenizer, 262, "x.gguf")).toThrow(FormatError);
    expect(() => ggufTokenizer(tokenizer, 262, "x.gguf")).toThrow(message);
  });
});

describe("SentencePiece's BPE", () => {
  const path = sharedData("stories260K");
  it.skipIf(path === undefined)("scores a piece by the rank of its first merge", async () => {
    const tokenizer = await loadTokenizer(path!);
    const metadata = ggufTokenizer(tokenizer, tokenizer.vocabSize, "x");
    expect(metadata).toMatchObject({
      "tokenizer.ggml.model": "llama",
      "tokenizer.ggml.add_space_prefix": true,
      "tokenizer.ggml.add_bos_token": true,
      "tokenizer.ggml.bos_token_id": { type: "u32", value: 1 },
      "tokenizer.ggml.unknown_token_id": { type: "u32", value: 0 },
    });
    const list = (name: string): readonly (number | string)[] => {
      const value = metadata[`tokenizer.ggml.${name}`] as { readonly values: readonly (number | string)[] };
      return value.values;
    };
    const [tokens, scores, kinds] = [list("tokens"), list("scores"), list("token_type")];
    expect(kinds.slice(0, 4)).toEqual([2, 3, 3, 6]);
    expect(tokens.slice(0, 4)).toEqual(["<unk>", "<s>", "</s>", "<0x00>"]);
    const { merges } = tokenizer.json["model"] as { readonly merges: readonly (string | string[])[] };
    const first = [merges[0]!].flat().join("").replace(" ", "");
    expect(Object.is(scores[tokens.indexOf(first)], -0)).toBe(true);
    // Merging by score is merging by rank: every word of a text comes out as the library has it.
    const score = new Map(tokens.map((token, id) => [token as string, scores[id] as number]));
    const text = "Once upon a time, there was a little girl named Lily.";
    const ids = tokenizer.encode(text, { addSpecialTokens: false });
    expect(mergedByScore(`▁${text.replaceAll(" ", "▁")}`, score)).toEqual(ids.map((id) => tokens[id]));
  });
});

/** llama.cpp's llm_tokenizer_spm: the two neighbours whose piece scores highest merge, the first of equals. */
function mergedByScore(text: string, score: ReadonlyMap<string, number>): string[] {
  const symbols = [...text];
  for (;;) {
    const made = symbols.slice(1).map((next, i) => score.get(symbols[i]! + next) ?? -Infinity);
    const best = Math.max(...made);
    if (best === -Infinity) return symbols;
    const at = made.indexOf(best);
    symbols.splice(at, 2, symbols[at]! + symbols[at + 1]!);
  }
}
