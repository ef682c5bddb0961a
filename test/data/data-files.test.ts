/** Which files a flag names: patterns, and splits among the files of a dataset. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { chooseFiles } from "../../src/data/datasets/splits.ts";
import { dataFiles } from "../../src/data/datasets/files.ts";
import {
  readDocuments,
  readExamples,
  readLabelled,
  readPreferences,
} from "../../src/data/datasets/dataset.ts";
import { globPattern, isGlob, patternOf } from "../../src/data/datasets/glob.ts";
import { readTable } from "../../src/data/datasets/table.ts";
import { endingOf } from "../../src/data/datasets/unpack.ts";
import { ConfigError } from "../../src/errors.ts";
import { collect, formatErrorOf, temporaryFolder } from "./support.ts";

function folderOf(files: Readonly<Record<string, string>>): string {
  const folder = temporaryFolder();
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(folder, name, ".."), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
  return folder;
}

describe("a pattern", () => {
  it.each([
    ["*.jsonl", ["a.jsonl", ".jsonl"], ["a/b.jsonl", "a.jsonlx", "ajsonl"]],
    ["**/*.jsonl", ["a.jsonl", "a/b/c.jsonl"], ["a/b.json"]],
    ["data/**", ["data/a", "data/a/b"], ["data", "xdata/a"]],
    ["a?c[0-9][!x]", ["abc1y"], ["abc1x", "a/c1y", "abcay"]],
    ["{train,test-*}.(1)+$.csv", ["train.(1)+$.csv", "test-7.(1)+$.csv"], ["dev.(1)+$.csv"]],
    ["[a", ["[a"], ["a"]],
    ["ü{é,日}", ["ü日"], ["ü"]],
  ])("%s", (glob, fits, not) => {
    const pattern = globPattern(glob);
    expect(fits.filter((name) => !pattern.test(name))).toEqual([]);
    expect(not.filter((name) => pattern.test(name))).toEqual([]);
  });

  it("that fits nothing is refused, and plain names are none", () => {
    expect(() => globPattern("[z-a].csv")).toThrow(ConfigError);
    expect(["a.csv", "a/b-c.csv", "a*", "a?", "a[b]", "{a}"].map(isGlob)).toEqual([
      false,
      false,
      true,
      true,
      true,
      true,
    ]);
  });

  it.each([
    [["a.csv"], "a.csv"],
    [["d/train-00000-of-00002.parquet", "d/train-00001-of-00002.parquet"], "d/train-*-of-00002.parquet"],
    [["t-0-of-2-0123456789abcdef.csv", "t-1-of-2-fedcba9876543210.csv"], "t-*-of-2-*.csv"],
    [["d/a.csv", "d/b.csv"], "d/{a,b}.csv"],
    [["d/a.csv", "e/b.json"], "{d/a.csv,e/b.json}"],
  ])("for %j is %s", (names, pattern) => {
    expect(patternOf(names)).toBe(pattern);
    expect(names.every((name) => globPattern(pattern).test(name))).toBe(true);
  });
});

describe("shards on disk", () => {
  const folder = folderOf({
    "s/1.jsonl": '{"text":"one"}\n{"text":"two","label":1}\n',
    "s/2.jsonl": '{"text":"three"}\n{"txt":"four"}\n',
    "s/deep/3.jsonl": '{"text":"five"}\n',
    "s/a.txt": "a<|endoftext|>b",
    "s/b.txt": "c\nd",
    "p/1.csv": "chosen,rejected\ngood,bad\n",
    "p/2.csv": "chosen,rejected\nbetter,worse\n",
    "l/x[1].jsonl": '{"text":"literal","label":0}\n',
    "l/x1.jsonl": '{"text":"other","label":1}\n',
  });
  const at = (name: string): string => join(folder, name);

  it("are read one after the other, and complaints name the file", async () => {
    const rows = readExamples(at("s/*.jsonl"));
    const texts: unknown[] = [];
    const read = async (): Promise<void> => {
      for await (const row of rows) texts.push("text" in row && row.text);
    };
    await expect(read()).rejects.toThrow(`${at("s/2.jsonl")}:2: expected {"text"}`);
    expect(texts).toEqual(["one", "two", "three"]);
    expect(await collect(readDocuments(at("s/*.txt")))).toEqual(["a", "b", "c\nd"]);
    expect(await collect(readDocuments(at("s/*.txt"), { format: "lines" }))).toHaveLength(3);
    expect(await readPreferences(at("p/*.csv"), "chosen", "rejected")).toHaveLength(2);
  });

  it("go below folders for ** alone", async () => {
    expect(await dataFiles(at("s/*.jsonl"))).toEqual([at("s/1.jsonl"), at("s/2.jsonl")]);
    expect(await dataFiles(at("s/**/*.jsonl"))).toHaveLength(3);
    expect(await dataFiles(at("*/{1,3}.csv"))).toEqual([at("p/1.csv")]);
  });

  it("a file whose name looks like a pattern is that file", async () => {
    expect(await dataFiles(at("l/x[1].jsonl"))).toEqual([at("l/x[1].jsonl")]);
    expect(await readLabelled({ file: at("l/x[1].jsonl") })).toEqual([{ text: "literal", label: 0 }]);
  });

  it("that are none, or of several kinds, are refused", async () => {
    await expect(dataFiles(at("s/*.csv"))).rejects.toThrow(/no file fits this pattern/);
    await expect(dataFiles(at("none/*.csv"))).rejects.toThrow(/no file fits this pattern/);
    await expect(dataFiles(at("s/*"))).rejects.toThrow(
      /ends otherwise than .*expected the ending in the pattern/,
    );
    await expect(collect(readExamples(at("none.jsonl")))).rejects.toThrow(/none\.jsonl: no such file/);
  });
});

describe("files in gzip", () => {
  const folder = temporaryFolder();
  const write = (name: string, bytes: Uint8Array): string => {
    writeFileSync(join(folder, name), bytes);
    return join(folder, name);
  };
  const lines = Array.from({ length: 5000 }, (_, i) => `{"text":"number ${i} ü"}\n`).join("");

  it("are read as what they hold", async () => {
    const path = write("a.jsonl.gz", gzipSync(lines));
    const examples = await collect(readExamples(path));
    expect([examples.length, examples.at(-1)]).toEqual([
      5000,
      { text: "number 4999 ü", where: `${path}:5000` },
    ]);
    const csv = write("b.CSV.gz", Buffer.concat([gzipSync("text,label\nin two,1\n"), gzipSync("parts,0\n")]));
    expect(await readLabelled({ file: csv })).toEqual([
      { text: "in two", label: 1 },
      { text: "parts", label: 0 },
    ]);
    expect(await collect(readTable(write("c.tsv.gz", gzipSync("a\tb\n1\t2\n"))))).toEqual([
      { line: 2, value: { a: "1", b: "2" } },
    ]);
    const text = write("d.txt.gz", gzipSync("a<|endoftext|>b\nc"));
    expect(await collect(readDocuments(text))).toEqual(["a", "b\nc"]);
    expect(await dataFiles(join(folder, "*.jsonl.gz"))).toEqual([path]);
    await expect(dataFiles(join(folder, "*.gz"))).rejects.toThrow(/expected the ending in the pattern/);
  });

  it.each([
    ["cut", gzipSync(lines).subarray(0, 3000)],
    ["another file", Buffer.from(lines)],
  ])("that are none are refused: %s", async (_, bytes) => {
    const path = write("bad.jsonl.gz", bytes);
    expect(await formatErrorOf(collect(readExamples(path)))).toContain(`${path}: not a whole file of gzip`);
    const table = write("bad.csv.gz", gzipSync(`a,b\n${"1,2\n".repeat(3000)}`).subarray(0, 40));
    expect(await formatErrorOf(collect(readTable(table)))).toContain(`${table}: not a whole file of gzip`);
    await expect(collect(readExamples(join(folder, "none.jsonl.gz")))).rejects.toThrow(/no such file/);
  });

  it("have endings of two parts", () => {
    expect(["a.jsonl", "a/b.c.jsonl.gz", "a.gz", "a.b/c", "c"].map(endingOf)).toEqual([
      ".jsonl",
      ".jsonl.gz",
      ".gz",
      "",
      "",
    ]);
  });
});

describe("of a dataset's files", () => {
  const choose = (all: readonly string[], path = "", split?: string): readonly string[] =>
    chooseFiles(all, { who: "hf://datasets/o/n@main", path, split }).files;
  const about = ["README.md", ".gitattributes", "dataset_infos.json", "LICENSE.txt", "img/a.png"];
  const imdb = [
    ...about,
    "plain_text/test-00000-of-00001.parquet",
    "plain_text/train-00001-of-00002.parquet",
    "plain_text/train-00000-of-00002.parquet",
    "plain_text/unsupervised-00000-of-00001.parquet",
  ];

  it("those of train are taken where nothing is said, in order", () => {
    expect(choose(imdb)).toEqual([
      "plain_text/train-00000-of-00002.parquet",
      "plain_text/train-00001-of-00002.parquet",
    ]);
    expect(choose(imdb, "", "test")).toEqual(["plain_text/test-00000-of-00001.parquet"]);
    expect(choose(imdb, "plain_text", "unsupervised")).toHaveLength(1);
    expect(choose(imdb, "plain_text/t*-00000*")).toHaveLength(2);
    expect(choose(imdb, "plain_text/test-00000-of-00001.parquet", "train")).toHaveLength(1);
  });

  it.each([
    [["train.jsonl", "valid.jsonl", "test.jsonl"], undefined, ["train.jsonl"]],
    [["train.jsonl", "valid.jsonl", "test.jsonl"], "validation", ["valid.jsonl"]],
    [["train.jsonl", "validation.jsonl"], "dev", ["validation.jsonl"]],
    [
      ["data/dev_1.csv", "data/dev_2.csv", "data/train_1.csv"],
      "validation",
      ["data/dev_1.csv", "data/dev_2.csv"],
    ],
    [
      ["default/train/0000.parquet", "default/train/0001.parquet", "default/test/0000.parquet"],
      "test",
      ["default/test/0000.parquet"],
    ],
    [["train/en.jsonl", "train/de.jsonl", "test/en.jsonl"], undefined, ["train/de.jsonl", "train/en.jsonl"]],
    [["train_data/train.jsonl", "train_data/test.jsonl"], undefined, ["train_data/train.jsonl"]],
    [
      [
        "data/train-00000-of-00002-1028f23e353fbe3e.parquet",
        "data/train-00001-of-00002-2028f23e353fbe3e.parquet",
      ],
      undefined,
      2,
    ],
    [
      ["data/train_sft-00000-of-00001.parquet", "data/train_gen-00000-of-00001.parquet"],
      "train_sft",
      ["data/train_sft-00000-of-00001.parquet"],
    ],
    [["harmless/train.jsonl.gz", "harmless/test.jsonl.gz"], undefined, ["harmless/train.jsonl.gz"]],
    [["part-0.json.gz", "part-1.json.gz"], undefined, ["part-0.json.gz", "part-1.json.gz"]],
    [["retrained.jsonl", "README.md"], "train", ["retrained.jsonl"]],
    [["c4-train.00000-of-01024.json", "c4-train.00001-of-01024.json"], undefined, 2],
    [["part-0.jsonl", "part-1.jsonl", "config.json"], undefined, ["part-0.jsonl", "part-1.jsonl"]],
    [["TRAIN.JSONL"], undefined, ["TRAIN.JSONL"]],
  ])("%j, split %s", (all, split, expected) => {
    const files = choose([...about, ...all], "", split);
    if (typeof expected === "number") expect(files).toHaveLength(expected);
    else expect(files).toEqual(expected);
  });

  it.each([
    [
      "two sets",
      ["en/train.jsonl", "de/train.jsonl"],
      "",
      undefined,
      /several sets of files of the split "train": en\/train\.jsonl, de\/train\.jsonl\. Put .*@main\/en\/train\.jsonl/,
    ],
    ["two kinds", ["train.jsonl", "train.parquet"], "", undefined, /several sets/],
    [
      "two that are no split",
      ["pos.txt", "neg.txt"],
      "",
      undefined,
      /several sets of files: pos\.txt, neg\.txt/,
    ],
    [
      "other splits",
      ["test-00000-of-00002.csv", "test-00001-of-00002.csv"],
      "",
      undefined,
      /no files of the split "train"; it has test-\*-of-00002\.csv\. Choose with --split/,
    ],
    ["models of two sizes", ["gpt2_train.csv", "gpt4_train.csv"], "", "train", /several sets of files/],
    ["no such split", ["train.csv"], "", "test", /no files of the split "test"; it has train\.csv/],
    [
      "a script",
      ["imdb.py"],
      "",
      undefined,
      /has no files of data; it has README\.md, .*@~parquet|datasets\/o\/n@~parquet/,
    ],
    [
      "a file that is not there",
      ["train.csv"],
      "tain.csv",
      undefined,
      /no files of data at "tain\.csv"; it has .*train\.csv/,
    ],
    ["a pattern that fits nothing", ["train.csv"], "x*.csv", undefined, /no files of data at "x\*\.csv"/],
    [
      "a pattern for two kinds",
      ["train.csv", "train.jsonl"],
      "train*",
      undefined,
      /fits files of several kinds \(\.csv, \.jsonl\)/,
    ],
    [
      "what cannot be read",
      ["train.jsonl.zst"],
      "train.jsonl.zst",
      undefined,
      /train\.jsonl\.zst cannot be read; expected \.parquet, .*o\/n@~parquet/,
    ],
  ])("%s", (_, all, path, split, message) => {
    expect(() => choose([...about, ...all], path, split)).toThrow(message);
    expect(() => choose([...about, ...all], path, split)).toThrow(ConfigError);
  });

  it("those of a list that may go on are named whole", () => {
    const all = Array.from({ length: 50_000 }, (_, i) => `train/${i}.jsonl`);
    expect(choose(all, "train/7.jsonl")).toEqual(["train/7.jsonl"]);
    expect(() => choose(all)).toThrow(/50000 files or more/);
  });
});
