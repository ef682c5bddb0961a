import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { learnMerges } from "../../src/data/tokenizer/bpe-merges.ts";
import { byteAlphabet, countPreTokens, trainBpe } from "../../src/data/tokenizer/bpe.ts";
import { loadTokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import { ConfigError } from "../../src/errors.ts";
import { temporaryFolder } from "./support.ts";
import { saveBpeTokenizer } from "../support/bpe.ts";

const folder = temporaryFolder();

describe("training by hand", () => {
  it("merges the toy corpus of Sennrich et al. as Stanford's CS336 (2025, assignment 1, section 2.4) publishes it", () => {
    // low x5, lower x2, newest x6, widest x3. es and st occur 9 times each: st is the greater;
    // then (e, st) 9; (o, w) and (l, o) 7 each: (o, w) is the greater; (l, ow) 7; then (n, e), (e, w), (w, est) 6 each.
    const words = new Map([
      ["low", 5],
      ["lower", 2],
      ["newest", 6],
      ["widest", 3],
    ]);
    const { tokens, merges } = learnMerges(words, 12, 1);
    expect(merges.map(([a, b]) => [tokens[a], tokens[b]])).toEqual([
      ["s", "t"],
      ["e", "st"],
      ["o", "w"],
      ["l", "ow"],
      ["w", "est"],
      ["n", "e"],
      ["ne", "west"],
      ["w", "i"],
      ["wi", "d"],
      ["wid", "est"],
      ["low", "e"],
      ["lowe", "r"],
    ]);
  });

  it("counts a run of equal letters without overlap", () => {
    const { tokens, merges } = learnMerges(new Map([["aaaaa", 2]]), 10, 2);
    expect(merges.map(([a, b]) => `${tokens[a]} ${tokens[b]}`)).toEqual(["a a", "aa aa", "aaaa a"]);
  });

  it("stops where pairs become rare, and at the size asked for", () => {
    const texts = ["abab abab xy"];
    expect(trainBpe(texts, { vocabSize: 1000 }).merges.length).toBe(2);
    expect(trainBpe(texts, { vocabSize: 258 }).tokens.length).toBe(258);
    expect(trainBpe(texts, { vocabSize: 1000, minFrequency: 1 }).merges.length).toBe(5);
  });

  it("never merges across a special token, nor counts one", () => {
    const counts = countPreTokens(["ab<|endoftext|>ab", "<|end|>"], ["<|end|>", "<|endoftext|>"]);
    expect([...counts]).toEqual([["ab", 2]]);
    const trained = trainBpe(["ab<|endoftext|>ab"], { vocabSize: 300 });
    expect(trained.merges).toEqual([["a", "b"]]);
    expect(trained.tokens.at(-1)).toBe("<|endoftext|>");
  });

  it("splits text as GPT-2 does", () => {
    const counts = countPreTokens(["I'll  pay $12, café!\n\n"], []);
    const expected = ["I", "'ll", " ", " pay", " $", "12", ",", " caf\u00c3\u00a9", "!", "\n\n"];
    expect([...counts.keys()]).toEqual(expected);
  });

  it("refuses a size without room for bytes and special tokens, or a special token that is a byte", () => {
    expect(() => trainBpe([], { vocabSize: 256 })).toThrow(ConfigError);
    expect(() => trainBpe([], { vocabSize: 300, specialTokens: ["a"] })).toThrow(ConfigError);
  });
});

describe("the byte alphabet", () => {
  it("is GPT-2's", () => {
    expect(new Set(byteAlphabet).size).toBe(256);
    expect([0x20, 0x0a, 0x41, 0x00, 0x7f, 0xad, 0xff].map((byte) => byteAlphabet[byte]).join("")).toBe(
      "ĠĊAĀġŃÿ",
    );
    expect(trainBpe([], { vocabSize: 257 }).tokens.slice(0, 3)).toEqual(["!", '"', "#"]);
  });
});

/** The definition, slowly: segment every word with the merges so far, count all pairs, take the best. */
function referenceMerges(words: ReadonlyMap<string, number>, newTokens: number): string[] {
  const merges: string[] = [];
  const made = new Set<string>();
  while (made.size < newTokens) {
    const counts = new Map<string, number>();
    for (const [word, frequency] of words) {
      const parts = segment(word, merges);
      for (let i = 1; i < parts.length; i++) {
        const pair = `${parts[i - 1]} ${parts[i]}`;
        counts.set(pair, (counts.get(pair) ?? 0) + frequency);
      }
    }
    const best = [...counts]
      .filter(([, count]) => count >= 2)
      .sort(([a, m], [b, n]) => n - m || (greater(a, b) ? -1 : 1));
    if (best[0] === undefined) break;
    merges.push(best[0][0]);
    made.add(best[0][0].replace(" ", ""));
  }
  return merges;
}

/** As an encoder does it: the earliest merge that applies, at its leftmost place, until none does. */
function segment(word: string, merges: readonly string[]): string[] {
  const parts = [...word];
  for (;;) {
    const ranks = parts.slice(1).map((part, i) => merges.indexOf(`${parts[i]} ${part}`));
    const lowest = Math.min(...ranks.filter((rank) => rank >= 0));
    if (lowest === Infinity) return parts;
    const at = ranks.indexOf(lowest);
    parts.splice(at, 2, `${parts[at]}${parts[at + 1]}`);
  }
}

function greater(a: string, b: string): boolean {
  const [left = "", right = ""] = a.split(" ");
  const [otherLeft = "", otherRight = ""] = b.split(" ");
  return left === otherLeft ? right > otherRight : left > otherLeft;
}

it("gives the merges of a plain recount, and no token twice", () => {
  const word = fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: 16 });
  const corpus = fc.array(fc.tuple(word, fc.integer({ min: 1, max: 5 })), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(corpus, (pairs) => {
      const words = new Map(pairs);
      const { tokens, merges } = learnMerges(words, 25, 2);
      expect(merges.map(([a, b]) => `${tokens[a]} ${tokens[b]}`)).toEqual(referenceMerges(words, 25));
      expect(new Set(tokens).size).toBe(tokens.length);
    }),
    { numRuns: 500 },
  );
});

describe("a saved tokenizer", () => {
  const texts = [
    "the cat and the hat",
    "Über den Wolken 😀😀 über den Wolken",
    "1 2 10 100 the end<|endoftext|>the end",
  ];
  const trained = trainBpe(texts, { vocabSize: 300, specialTokens: ["<|endoftext|>", "<|pad|>"] });

  it("loads, with its special tokens, and spells what was learnt", async () => {
    await saveBpeTokenizer(folder, trained, { padToken: "<|pad|>" });
    const tokenizer = await loadTokenizer(folder);
    const size = trained.tokens.length;
    expect(tokenizer).toMatchObject({ vocabSize: size, bosId: size - 2, eosId: size - 2, padId: size - 1 });
    expect(trained.tokens.every((token, id) => tokenizer.idOf(token) === id)).toBe(true);
    expect(tokenizer.encode("the")).toEqual([tokenizer.idOf("the")]);
    expect(tokenizer.encode("a<|endoftext|>")).toEqual([tokenizer.idOf("a"), size - 2]);
  });

  it("round trips arbitrary text", async () => {
    await saveBpeTokenizer(folder, trained);
    const tokenizer = await loadTokenizer(folder);
    const text = fc.oneof(fc.string({ unit: "binary" }), fc.string({ unit: "grapheme" }), fc.lorem());
    fc.assert(
      fc.property(text, (s) => {
        expect(tokenizer.decode(tokenizer.encode(s))).toBe(s);
      }),
      { numRuns: 500 },
    );
  });

  it("refuses a role for a token that is not special", async () => {
    await expect(saveBpeTokenizer(folder, trained, { eosToken: "the" })).rejects.toThrow(ConfigError);
  });
});
