import { writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  readDocuments,
  readExamples,
  readJsonl,
  readLabelled,
  readLines,
  splitHeldOut,
} from "../../src/data/datasets/dataset.ts";
import { readPieces } from "../../src/data/files.ts";
import { ConfigError } from "../../src/errors.ts";
import { collect, formatErrorOf, sharedData, temporaryFolder } from "./support.ts";

const folder = temporaryFolder();
let files = 0;

function write(content: string | Uint8Array): string {
  const path = join(folder, `${files++}.txt`);
  writeFileSync(path, content);
  return path;
}

describe("lines", () => {
  it.each([
    ["\uFEFFa\r\nb\n\nc", ["a", "b", "", "c"]],
    ["a\u2028b\u0085c\n", ["a\u2028b\u0085c"]],
    ["", []],
    ["\n", [""]],
    ["x\n\uFEFFy", ["x", "\uFEFFy"]],
  ])("of %j", async (content, expected) => {
    const lines = await collect(readLines(write(content)));
    expect(lines.map(({ text }) => text)).toEqual(expected);
    expect(lines.map(({ line }) => line)).toEqual(expected.map((_, i) => i + 1));
  });

  it("longer than a piece, and pieces that cut characters", async () => {
    const long = "é".repeat(1_500_000);
    const path = write(`x\n${long}\ny`);
    expect((await collect(readPieces(path))).length).toBeGreaterThan(2);
    expect((await collect(readLines(path))).map(({ text }) => text)).toEqual(["x", long, "y"]);
  });

  it("refuses what is not UTF-8, with its line", async () => {
    const path = write(Buffer.from([0x61, 0x0a, 0xff, 0x0a]));
    expect(await formatErrorOf(collect(readLines(path)))).toContain(`${path}:2: not UTF-8`);
  });

  it("says that a file is missing", async () => {
    expect(await formatErrorOf(collect(readLines(join(folder, "none"))))).toContain("no such file");
  });
});

describe("documents", () => {
  it("are cut at the separator, anywhere in a line, and trimmed", async () => {
    const path = write(
      "one\ntwo\n<|endoftext|>\nthree<|endoftext|> four <|endoftext|>\n<|endoftext|>\n\nfive\n",
    );
    expect(await collect(readDocuments(path))).toEqual(["one\ntwo", "three", "four", "five"]);
    expect(await collect(readDocuments(path, { format: "lines" }))).toHaveLength(6);
  });

  it("are what splitting the whole text gives", async () => {
    const text = fc.array(fc.constantFrom("a", " ", "\n", "##", "é"), { maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(text, async (parts) => {
        const content = parts.join("");
        const expected = content
          .split("##")
          .map((document) => document.trim())
          .filter((document) => document !== "");
        expect(await collect(readDocuments(write(content), { separator: "##" }))).toEqual(expected);
      }),
      { numRuns: 100 },
    );
  });

  it("may be separated by blank lines", async () => {
    const path = write("a\nb\n\nc\r\n\r\n\r\nd\n");
    expect(await collect(readDocuments(path, { separator: "\n\n" }))).toEqual(["a\nb", "c", "d"]);
  });

  it("refuses an empty separator", async () => {
    await expect(collect(readDocuments(write("a"), { separator: "" }))).rejects.toThrow(ConfigError);
  });
});

describe("JSONL", () => {
  it("gives values with their lines, blank lines skipped", async () => {
    const path = write('{"a":1}\n\n  \r\n[2]\n');
    expect(await collect(readJsonl(path))).toEqual([
      { line: 1, value: { a: 1 } },
      { line: 4, value: [2] },
    ]);
  });

  it("names the line that is malformed, after giving those before", async () => {
    const path = write('{"a":1}\n{"a":}\n');
    const rows = readJsonl(path);
    expect((await rows.next()).value).toEqual({ line: 1, value: { a: 1 } });
    expect(await formatErrorOf(rows.next())).toBe(
      `${path}:2: malformed JSON at column 6: expected a value, got }`,
    );
  });

  it("knows the three kinds of examples", async () => {
    const path = write('{"text":"t","label":1}\n{"prompt":"p","response":""}\n{"ids":[1,2]}\n{"ids":[]}\n');
    expect(await collect(readExamples(path))).toEqual([
      { text: "t", where: `${path}:1` },
      { prompt: "p", response: "", where: `${path}:2` },
      { ids: [1, 2], where: `${path}:3` },
      { ids: [], where: `${path}:4` },
    ]);
  });

  it.each(['{"prompt":"p"}', '{"ids":[1.5]}', '{"ids":[-1]}', '{"text":3}', "[]", '"text"'])(
    "refuses %s",
    async (line) => {
      const path = write(`{"text":"good"}\n${line}\n`);
      expect(await formatErrorOf(collect(readExamples(path)))).toContain(`${path}:2: expected {"text"}`);
    },
  );
});

describe("labelled text", () => {
  it("comes from JSONL or from two files", async () => {
    const jsonl = write('{"text":"a","label":0}\n{"text":"b","label":true}\n');
    expect(await readLabelled({ file: jsonl })).toEqual([
      { text: "a", label: 0 },
      { text: "b", label: 1 },
    ]);
    const [positive, negative] = [write("good \nfine\n"), write("bad\n\n")];
    expect(await readLabelled({ positive, negative })).toEqual([
      { text: "good", label: 1 },
      { text: "fine", label: 1 },
      { text: "bad", label: 0 },
    ]);
  });

  it.each(['{"text":"a"}', '{"text":"a","label":2}', '{"text":"a","label":"1"}', '{"label":1}'])(
    "refuses %s",
    async (line) => {
      const path = write(`${line}\n`);
      expect(await formatErrorOf(readLabelled({ file: path }))).toContain(
        `${path}:1: expected {"text": string`,
      );
    },
  );
});

describe("the held-out split", () => {
  const items = Array.from({ length: 100 }, (_, i) => i);

  it("is a partition in the order of the items, the same for the same seed", () => {
    const { train, heldOut } = splitHeldOut(items, { fraction: 0.1, seed: 3 });
    expect([train.length, heldOut.length]).toEqual([90, 10]);
    expect([...train, ...heldOut].sort((a, b) => a - b)).toEqual(items);
    expect(heldOut).toEqual(heldOut.toSorted((a, b) => a - b));
    expect(splitHeldOut(items, { fraction: 0.1, seed: 3 }).heldOut).toEqual(heldOut);
    expect(splitHeldOut(items, { fraction: 0.1, seed: 4 }).heldOut).not.toEqual(heldOut);
  });

  it("refuses to leave a side empty", () => {
    for (const fraction of [0, 1, 0.001, NaN]) {
      expect(() => splitHeldOut(items, { fraction, seed: 0 })).toThrow(ConfigError);
    }
  });
});

const shared = sharedData("");
describe.skipIf(shared === undefined)("the shared material", () => {
  it("has the number of items that its page states", async () => {
    const path = (name: string): string => join(shared as string, name);
    const [first = "", ...others] = await collect(readDocuments(path("tinystories/train.txt")));
    expect(others).toHaveLength(1849);
    expect(first.startsWith("One day, a little girl named Lily")).toBe(true);
    expect(await readLabelled({ file: path("movie-reviews/movie_reviews.jsonl") })).toHaveLength(2000);
    const [positive, negative] = [path("rt-polarity/rt-polarity.pos"), path("rt-polarity/rt-polarity.neg")];
    expect(await readLabelled({ positive, negative })).toHaveLength(10662);
    expect(await collect(readExamples(path("imdb-prompts/reviews.jsonl")))).toHaveLength(300);
  });
});
