/** Tables: CSV and TSV with all that RFC 4180 allows, Parquet in groups of rows, and what is no table. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parquetWriteBuffer } from "hyparquet-writer";
import { describe, expect, it } from "vitest";
import {
  readDocuments,
  readExamples,
  readLabelled,
  readPreferences,
  readTexts,
} from "../../src/data/datasets/dataset.ts";
import { readTable } from "../../src/data/datasets/table.ts";
import { cli } from "../support/run-cli.ts";
import { documents, scratch, TINY } from "../support/training.ts";

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

function file(name: string, content: string | Uint8Array): string {
  const path = join(scratch(), name);
  writeFileSync(path, content);
  return path;
}

type Columns = Parameters<typeof parquetWriteBuffer>[0]["columnData"];
const parquet = (columnData: Columns, codec: "SNAPPY" | "UNCOMPRESSED" = "SNAPPY"): string =>
  file("data.parquet", new Uint8Array(parquetWriteBuffer({ columnData, codec, rowGroupSize: 3 })));

describe("CSV", () => {
  it("has quotes, commas and line breaks in cells, a byte order mark, either line end, empty lines", async () => {
    const path = file("a.csv", '\uFEFFtext,label\r\n"one, ""two""\nthree",1\r\n\r\nfour ü,0\n');
    expect(await all(readTable(path))).toEqual([
      { line: 3, value: { text: 'one, "two"\nthree', label: "1" } },
      { line: 5, value: { text: "four ü", label: "0" } },
    ]);
    expect(await readLabelled({ file: path })).toEqual([
      { text: 'one, "two"\nthree', label: 1 },
      { text: "four ü", label: 0 },
    ]);
  });

  it("may be separated by tabs, and streams", async () => {
    const rows = Array.from({ length: 60_000 }, (_, i) => `prompt ${i}\tanswer, ${"x".repeat(i % 60)}`);
    const path = file("a.tsv", `prompt\tresponse\n${rows.join("\n")}`);
    let count = 0;
    for await (const example of readExamples(path)) {
      expect(example).toMatchObject({ prompt: `prompt ${count}`, where: `${path}:${count + 2}` });
      if (++count === 3) break;
    }
    expect(await all(readExamples(path))).toHaveLength(60_000);
  });

  it.each([
    ["a,b\n1\n", /a\.csv: not CSV: .*line 2/],
    ['a,b\n"1,2\n', /a\.csv: not CSV: .*[Qq]uot/],
    ["a,a\n1,2\n", /a\.csv:1: expected the names of the columns, each once, got "a" twice/],
    ["a,\n1,2\n", /got "" as a name/],
    [Uint8Array.from([97, 10, 0xff, 0xfe]), /not UTF-8/],
  ])("%j is refused", async (content, message) => {
    await expect(all(readTable(file("a.csv", content)))).rejects.toThrow(message);
  });

  it("says which columns there are", async () => {
    const path = file("a.csv", "body,stars\nhello,5\n");
    await expect(all(readTexts(path, "text"))).rejects.toThrow(
      /a\.csv:2: expected a text in "text", got columns body, stars/,
    );
    expect(await all(readTexts(path, "body"))).toEqual([{ where: `${path}:2`, text: "hello" }]);
    await expect(all(readTable(join(scratch(), "none.csv")))).rejects.toThrow(/none\.csv/);
  });
});

describe("Parquet", () => {
  const texts = Array.from({ length: 8 }, (_, i) => `text number ${i}, with some words ü`);

  it.each(["SNAPPY", "UNCOMPRESSED"] as const)("is read group by group: %s", async (codec) => {
    const label = texts.map((_, i) => BigInt(i % 2));
    const path = parquet(
      [
        { name: "text", data: texts, type: "STRING" },
        { name: "label", data: label, type: "INT64" },
      ],
      codec,
    );
    expect(await readLabelled({ file: path })).toEqual(texts.map((text, i) => ({ text, label: i % 2 })));
    expect((await all(readTable(path))).map(({ line }) => line)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(await all(readDocuments(path))).toEqual(texts);
  });

  it("holds preferences by the names of columns", async () => {
    const path = parquet([
      { name: "prompt", data: ["a ", "b "], type: "STRING" },
      { name: "good", data: ["x", "y"], type: "STRING" },
      { name: "bad", data: ["u", "v"], type: "STRING" },
    ]);
    expect(await readPreferences(path, "good", "bad")).toEqual([
      { chosen: "a x", rejected: "a u" },
      { chosen: "b y", rejected: "b v" },
    ]);
  });

  it("is refused where it is none, or cut short, or missing", async () => {
    const whole = readFileSync(parquet([{ name: "text", data: texts, type: "STRING" }]));
    for (const bytes of [Buffer.from("hello"), whole.subarray(0, -9), whole.subarray(40)])
      await expect(all(readTable(file("bad.parquet", bytes)))).rejects.toThrow(
        /bad\.parquet: not a Parquet file that can be read/,
      );
    await expect(all(readTable(join(scratch(), "none.parquet")))).rejects.toThrow(
      /none\.parquet: no such file/,
    );
  });
});

it("`vbon sft` trains the same on a table as on text", async () => {
  const text = readFileSync(documents(40), "utf8").split("\n<|endoftext|>\n");
  const lines = text.map((body) => `${JSON.stringify({ body })}\n`).join("");
  const csv = `id,body\n${text.map((body, i) => `${i},"${body}"`).join("\n")}\n`;
  const weights = [];
  for (const data of [
    file("a.jsonl", lines),
    file("a.csv", csv),
    parquet([{ name: "body", data: text, type: "STRING" }]),
  ]) {
    const out = join(scratch(), "run");
    const rest = ["--steps", "2", "--eval-fraction", "0", "--text-field", "body", "--out", out];
    const { code, stderr } = await cli(["sft", "--data", data, ...TINY, ...rest]);
    expect(code, stderr).toBe(0);
    weights.push(readFileSync(join(out, "model/model.safetensors")).toString("base64"));
  }
  expect(weights[1]).toBe(weights[0]);
  expect(weights[2]).toBe(weights[0]);
});
