/** The quick way through byte-level BPE gives the library's ids, every byte comes back, and it is quick. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Tokenizer as HfTokenizer } from "@huggingface/tokenizers";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { byteLevelEncoder } from "../../src/data/tokenizer/byte-level.ts";
import { byteAlphabet, byteLevelJson, toTokenizerJson, trainBpe } from "../../src/data/tokenizer/bpe.ts";
import { loadTokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import { sharedData, temporaryFolder } from "./support.ts";

const folder = temporaryFolder();

type Json = Record<string, unknown>;

const bpe = toTokenizerJson(
  trainBpe(["the cat sat on the cat's mat , it 's 12345 cats !\n\n  naïve 😀 日本 <|end|>"], {
    vocabSize: 300,
    specialTokens: ["<|end|>", "<|end|>more"],
  }),
);
const optional = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null };

/** Llama 3's pre-tokenizer, as its tokenizer.json spells it. */
const LLAMA3 = {
  type: "Sequence",
  pretokenizers: [
    {
      type: "Split",
      pattern: {
        Regex:
          "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
      },
      behavior: "Isolated",
      invert: false,
    },
    { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
  ],
};
const roberta = { type: "RobertaProcessing", cls: ["<|end|>", 0], sep: ["<|end|>more", 0] };
const bos = {
  type: "TemplateProcessing",
  single: [{ SpecialToken: { id: "<|end|>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
};

const piece = fc.oneof(
  fc.constantFrom(
    "the",
    " cat",
    "'s",
    "'LL",
    "  ",
    "\n",
    " \n\t",
    "12345",
    "<|end|>",
    "<|end|>more",
    "<|",
    "日本",
    "é",
  ),
  fc.string({ unit: "binary", maxLength: 8 }),
);
const text = fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join(""));

describe.each<[string, Json]>([
  ["GPT-2's", {}],
  ["Llama 3's", { pre_tokenizer: LLAMA3 }],
  [
    "one without pre-tokens",
    { pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: false } },
  ],
  ["one that frames texts", { post_processor: roberta }],
  ["one that begins texts", { post_processor: bos }],
])("%s tokenizer", (_, changes) => {
  const json = { ...optional, ...bpe, ...changes };
  const hf = new HfTokenizer(json, {});
  const encode = byteLevelEncoder(hf, json, {})!;

  it("gives the ids of the library, and every byte back", () => {
    fc.assert(
      fc.property(text, fc.boolean(), (given, special) => {
        const ids = encode(given, special);
        expect(ids).toEqual(hf.encode(given, { add_special_tokens: special }).ids);
        const back = encode(given, false);
        if (back.length > 0) expect(hf.decode(back, { clean_up_tokenization_spaces: false })).toBe(given);
      }),
      { numRuns: 300 },
    );
  });
});

it.each<[string, Json, Json]>([
  ["a normalizer", { normalizer: { type: "NFC" } }, {}],
  ["a space before texts", { pre_tokenizer: { type: "ByteLevel", add_prefix_space: true } }, {}],
  ["no byte level", { pre_tokenizer: { type: "Whitespace" } }, {}],
  ["tokens that take spaces", { added_tokens: [{ id: 0, content: "!", lstrip: true, special: true }] }, {}],
  ["lower case", {}, { do_lowercase_and_remove_accent: true }],
])("leaves %s to the library", (_, changes, config) => {
  const json = { ...optional, ...bpe, ...changes };
  expect(byteLevelEncoder(new HfTokenizer(json, config), json, config)).toBeUndefined();
});

it("drops bytes that have no token, as the library does", () => {
  const vocab = Object.fromEntries(byteAlphabet.slice(0x61, 0x63).map((letter, id) => [letter, id]));
  const json = { ...optional, ...byteLevelJson(vocab, [], []) };
  const hf = new HfTokenizer(json, {});
  expect(byteLevelEncoder(hf, json, {})!("abcab", false)).toEqual(hf.encode("abcab").ids);
});

const gpt2 = sharedData("gpt2-tokenizer");
const reviews = sharedData("movie-reviews/movie_reviews.jsonl");

describe.skipIf(!gpt2 || !reviews)("GPT-2's own", () => {
  const texts = (): string[] =>
    readFileSync(reviews!, "utf8")
      .split("\n", 1500)
      .map((line) => (JSON.parse(line) as { text: string }).text);

  it("encodes reviews as the library, and faster than a megabyte a second", async () => {
    const json = {
      ...optional,
      ...(JSON.parse(readFileSync(join(gpt2!, "tokenizer.json"), "utf8")) as Json),
    };
    const hf = new HfTokenizer(json, {});
    const tokenizer = await loadTokenizer(gpt2!);
    const all = texts();
    for (const some of all.slice(0, 10)) expect(tokenizer.encode(some)).toEqual(hf.encode(some).ids);
    const bytes = all.reduce((sum, some) => sum + Buffer.byteLength(some), 0);
    const start = process.cpuUsage();
    for (const some of all) tokenizer.encode(some);
    const { user } = process.cpuUsage(start);
    expect(bytes / user).toBeGreaterThan(1); // bytes a microsecond: megabytes a second
  });
});

describe("special tokens of older folders", () => {
  const trained = trainBpe(["the cat sat"], { vocabSize: 262, specialTokens: ["<|endoftext|>"] });
  const written = (name: string, files: Readonly<Record<string, unknown>>): string => {
    const path = join(folder, name);
    mkdirSync(path);
    const vocab = Object.fromEntries(trained.tokens.map((token, id) => [token, id]));
    writeFileSync(join(path, "vocab.json"), JSON.stringify(vocab));
    writeFileSync(
      join(path, "merges.txt"),
      `#version: 0.2\n${trained.merges.map(([a, b]) => `${a} ${b}\n`).join("")}`,
    );
    for (const [file, json] of Object.entries(files)) writeFileSync(join(path, file), JSON.stringify(json));
    return path;
  };
  const eos = "<|endoftext|>";

  it("come from added_tokens.json and the maps, and the padding is not taken to be EOS", async () => {
    const size = trained.tokens.length;
    const path = written("added", {
      "added_tokens.json": { "<pad>": size, "[USER]": size + 1 },
      "special_tokens_map.json": { eos_token: { content: eos }, pad_token: "<pad>" },
    });
    const tokenizer = await loadTokenizer(path);
    expect([tokenizer.eosId, tokenizer.padId, tokenizer.vocabSize]).toEqual([size - 1, size, size + 2]);
    const ids = tokenizer.encode("cat<pad>[USER]the");
    expect(ids.filter((id) => id >= size)).toEqual([size, size + 1]);
    expect(tokenizer.decode(ids)).toBe("cat<pad>[USER]the");
    expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe("catthe");
    await tokenizer.save(join(folder, "added-saved"));
    expect((await loadTokenizer(join(folder, "added-saved"))).padId).toBe(size);
  });

  it("are none where no file names them, and ends are those of generation_config.json", async () => {
    const path = written("plain", {
      "tokenizer_config.json": { eos_token: eos },
      "generation_config.json": { eos_token_id: [3, 5, 99_999] },
    });
    const tokenizer = await loadTokenizer(path);
    expect([tokenizer.padId, tokenizer.bosId, tokenizer.endIds]).toEqual([undefined, undefined, [3, 5]]);
  });
});
