/* oxlint-disable no-control-regex -- control characters are what these tests are about */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatResults, formatTable, sideBySide } from "../../src/report/console-table.ts";
import { displayWidth } from "../../src/report/text.ts";
import { bare, sample } from "./sample-comparison.ts";

interface Row {
  readonly name: string;
  readonly win?: number;
}
const columns = [
  { title: "Method", value: (row: Row) => row.name },
  { title: "Win", value: (row: Row) => row.win, digits: 3 },
];

describe("formatTable", () => {
  it("aligns text left and numbers right", () => {
    expect(
      formatTable(
        [{ name: "vbon", win: 0.8375 }, { name: "a longer name", win: 10 }, { name: "none" }],
        columns,
      ),
    ).toBe(
      [
        "Method            Win",
        "\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500  \u2500\u2500\u2500\u2500\u2500\u2500",
        "vbon            0.838",
        "a longer name  10.000",
        "none                \u2013",
      ].join("\n"),
    );
  });

  it("cuts long text, never numbers, to the width of the terminal", () => {
    const text = formatTable([{ name: "word ".repeat(60), win: 123456.789 }], columns, { width: 40 });
    for (const line of text.split("\n")) expect(displayWidth(line)).toBeLessThanOrEqual(40);
    expect(text).toContain("123456.789");
    expect(text).toContain("\u2026");
  });

  it("lets no control character through, and no ANSI unless asked", () => {
    const rows = [{ name: "\u001B[31mred\u0007\nnext", win: 1 }];
    expect(formatTable(rows, columns)).not.toMatch(/\u001B|\u0007/);
    expect(formatTable(rows, columns, { ansi: true }).match(/\u001B\[\d+m/g)).toHaveLength(2);
  });

  it("prints a head for no rows, and fits any text", () => {
    expect(formatTable([], columns).split("\n")).toHaveLength(2);
    fc.assert(
      fc.property(
        fc.array(fc.record({ name: fc.string({ unit: "grapheme" }), win: fc.double() })),
        (rows) => {
          const lines = formatTable(rows, columns, { width: 10_000 }).split("\n");
          const widths = lines.slice(2).map(displayWidth);
          expect(lines).toHaveLength(rows.length + 2);
          for (const width of widths) expect(width).toBe(displayWidth(lines[1] ?? ""));
        },
      ),
    );
  });
});

describe("formatResults", () => {
  it("shows the columns that were measured, with intervals", () => {
    const text = formatResults(sample.methods, { width: 200 });
    expect(text).toContain("0.838 0.826 to 0.849");
    expect(text.split("\n")).toHaveLength(sample.methods.length + 2);
    expect(formatResults(bare.methods)).not.toContain("k3");
  });
});

describe("sideBySide", () => {
  it("puts responses beside each other where there is room", () => {
    const text = sideBySide(sample.samples, { width: 110 });
    const [prompt, names, numbers] = text.split("\n");
    expect(prompt).toBe("> Once upon a time, there was a");
    expect(names?.split("\u2502").map((name) => name.trim())).toEqual(["reference", "vbon", "ppo"]);
    expect(numbers).toContain("score 0.952, rank 0.984");
    for (const line of text.split("\n")) expect(displayWidth(line)).toBeLessThanOrEqual(110);
  });

  it("stacks them where there is not, without losing a word", () => {
    const text = sideBySide(sample.samples, { width: 50 });
    expect(text).not.toContain("\u2502");
    const words = text.split(/\s+/);
    for (const { rows } of sample.samples) {
      for (const row of rows) for (const word of row.text.trim().split(/\s+/)) expect(words).toContain(word);
    }
  });

  it("survives control characters and prompts without responses", () => {
    expect(sideBySide([{ prompt: "p\u001B[2J", rows: [] }])).toBe("> p[U+001B][2J");
  });
});
