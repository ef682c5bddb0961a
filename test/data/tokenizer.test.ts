import { mkdirSync, writeFileSync } from "node:fs";
import { copyFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { trainBpe } from "../../src/data/tokenizer/bpe.ts";
import type { Tokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import { createTextStream, loadTokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import { ConfigError } from "../../src/errors.ts";
import { formatErrorOf, sharedData, temporaryFolder } from "./support.ts";
import { saveBpeTokenizer } from "../support/bpe.ts";

const folder = temporaryFolder();

async function small(): Promise<Tokenizer> {
  const path = join(folder, "small");
  await saveBpeTokenizer(path, trainBpe(["the cat , the cat . 😀 é"], { vocabSize: 262 }));
  return loadTokenizer(path);
}

function streamed(tokenizer: Tokenizer, ids: readonly number[], skipSpecialTokens: boolean): string[] {
  const stream = createTextStream(tokenizer, { skipSpecialTokens });
  return [...ids.map((id) => stream.push(id)), stream.flush()];
}

describe("a small byte-level tokenizer", () => {
  it("decodes text as it was, with no clean-up before punctuation", async () => {
    const tokenizer = await small();
    expect(tokenizer.decode(tokenizer.encode("the cat , do n't ."))).toBe("the cat , do n't .");
  });

  it("decodes nothing from nothing and from padding rows, refuses what is no id", async () => {
    const tokenizer = await small();
    expect(tokenizer.decode([])).toBe("");
    expect(tokenizer.decode([tokenizer.vocabSize + 5])).toBe("");
    expect(() => tokenizer.decode([1.5])).toThrow(ConfigError);
    expect(() => tokenizer.decode([-1])).toThrow(ConfigError);
  });

  it("leaves special tokens out when asked", async () => {
    const tokenizer = await small();
    const ids = tokenizer.encode("cat<|endoftext|>");
    expect(tokenizer.decode(ids)).toBe("cat<|endoftext|>");
    expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe("cat");
  });

  it("streams complete characters only", async () => {
    const tokenizer = await small();
    const pieces = streamed(
      tokenizer,
      [0xf0, 0x9f, 0x98, 0x80].map((byte) => byteId(tokenizer, byte)),
      true,
    );
    expect(pieces).toEqual(["", "", "", "😀", ""]);
    expect(streamed(tokenizer, [byteId(tokenizer, 0xf0), byteId(tokenizer, 0x41)], true)).toEqual([
      "",
      "\uFFFDA",
      "",
    ]);
    expect(streamed(tokenizer, [byteId(tokenizer, 0xf0)], true)).toEqual(["", "\uFFFD"]);
  });

  it("streams what decode gives, whatever the ids", async () => {
    const tokenizer = await small();
    const id = fc.nat(tokenizer.vocabSize + 1);
    fc.assert(
      fc.property(fc.array(id, { maxLength: 30 }), fc.boolean(), (ids, skipSpecialTokens) => {
        const whole = tokenizer.decode(ids, { skipSpecialTokens });
        expect(streamed(tokenizer, ids, skipSpecialTokens).join("")).toBe(whole);
      }),
      { numRuns: 2000 },
    );
  });

  it("saves what it loaded", async () => {
    const tokenizer = await small();
    await tokenizer.save(join(folder, "copy"));
    const copy = await loadTokenizer(join(folder, "copy"));
    expect([copy.vocabSize, copy.bosId, copy.eosId]).toEqual([
      tokenizer.vocabSize,
      tokenizer.bosId,
      tokenizer.eosId,
    ]);
    expect(copy.encode("the cat 😀")).toEqual(tokenizer.encode("the cat 😀"));
  });

  it("takes special ids from config.json where no file names the tokens", async () => {
    const path = join(folder, "ids");
    await (await small()).save(path);
    writeFileSync(join(path, "tokenizer_config.json"), "{}");
    writeFileSync(
      join(path, "config.json"),
      '{"bos_token_id": 3, "eos_token_id": [4, 5], "pad_token_id": 99999}',
    );
    const tokenizer = await loadTokenizer(path);
    expect([tokenizer.bosId, tokenizer.eosId, tokenizer.padId]).toEqual([3, 4, undefined]);
  });

  it("says what is missing or malformed", async () => {
    const path = join(folder, "broken");
    mkdirSync(path);
    expect(await formatErrorOf(loadTokenizer(path))).toContain("expected tokenizer.json");
    writeFileSync(join(path, "tokenizer.json"), '{"model": {"type": "Magic"}}');
    expect(await formatErrorOf(loadTokenizer(path))).toContain("not a tokenizer that");
    writeFileSync(join(path, "tokenizer.json"), "{");
    expect(await formatErrorOf(loadTokenizer(path))).toContain("malformed JSON at column 2");
    writeFileSync(join(path, "tokenizer.json"), "[]");
    expect(await formatErrorOf(loadTokenizer(path))).toContain("expected a JSON object");
  });
});

/** The id of a single byte: GPT-2's order, printable ones first. */
function byteId(tokenizer: Tokenizer, byte: number): number {
  const printable = (b: number): boolean => (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b !== 0xad);
  const order = Array.from({ length: 256 }, (_, b) => b).sort(
    (a, b) => Number(printable(b)) - Number(printable(a)) || a - b,
  );
  const id = order.indexOf(byte);
  expect(id).toBeLessThan(tokenizer.vocabSize);
  return id;
}

const stories = sharedData("stories260K");
describe.skipIf(stories === undefined)("a published Llama tokenizer", () => {
  const load = (): Promise<Tokenizer> => loadTokenizer(stories as string);

  it("reproduces the published text byte for byte, whole and streamed", async () => {
    const tokenizer = await load();
    const { text } = JSON.parse(await readFile(join(stories as string, "expected_greedy.json"), "utf8")) as {
      text: string;
    };
    const ids = tokenizer.encode(text);
    expect([tokenizer.vocabSize, tokenizer.bosId, tokenizer.eosId, ids[0]]).toEqual([512, 1, 2, 1]);
    expect(ids.every((id) => id >= 0 && id < 512)).toBe(true);
    expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(text);
    expect(streamed(tokenizer, ids, true).join("")).toBe(text);
    expect(tokenizer.encode("")).toEqual([1]);
    expect(tokenizer.encode(text, { addSpecialTokens: false })).toEqual(ids.slice(1));
  });

  it("streams what decode gives, whatever the ids", async () => {
    const tokenizer = await load();
    fc.assert(
      fc.property(fc.array(fc.nat(511), { maxLength: 30 }), fc.boolean(), (ids, skipSpecialTokens) => {
        const whole = tokenizer.decode(ids, { skipSpecialTokens });
        expect(streamed(tokenizer, ids, skipSpecialTokens).join("")).toBe(whole);
      }),
      { numRuns: 2000 },
    );
  });
});

const gpt2 = sharedData("gpt2-tokenizer");
describe.skipIf(gpt2 === undefined)("the GPT-2 tokenizer", () => {
  it("gives the known ids", async () => {
    const tokenizer = await loadTokenizer(gpt2 as string);
    expect([tokenizer.vocabSize, tokenizer.bosId, tokenizer.eosId]).toEqual([50257, 50256, 50256]);
    expect(tokenizer.encode("Hello world")).toEqual([15496, 995]);
    expect(tokenizer.encode("Hello, I'm a language model,")).toEqual([
      15496, 11, 314, 1101, 257, 3303, 2746, 11,
    ]);
    expect(tokenizer.encode("a<|endoftext|>")).toEqual([64, 50256]);
  });

  it("round trips arbitrary text", async () => {
    const tokenizer = await loadTokenizer(gpt2 as string);
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: "binary" }), fc.lorem()), (text) => {
        expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
      }),
      { numRuns: 500 },
    );
  });

  it("is the same from vocab.json and merges.txt", async () => {
    const path = join(folder, "old-gpt2");
    mkdirSync(path);
    for (const file of ["vocab.json", "merges.txt", "special_tokens_map.json"]) {
      await copyFile(join(gpt2 as string, file), join(path, file));
    }
    const [old, tokenizer] = [await loadTokenizer(path), await loadTokenizer(gpt2 as string)];
    const text = "It's 10 o'clock; naïve café 😀\n\n  def f(x):<|endoftext|>";
    expect(old.encode(text)).toEqual(tokenizer.encode(text));
    expect([old.vocabSize, old.eosId]).toEqual([50257, 50256]);
    expect(old.decode(old.encode(text), { skipSpecialTokens: true })).toBe(text.replace("<|endoftext|>", ""));
  });
});
