import { describe, expect, it } from "vitest";
import { resultsTable, samplesText, timeTable } from "../../src/cli/demo/print.ts";
import { displayWidth } from "../../src/report/text.ts";
import { sample } from "../report/sample-comparison.ts";

const widest = (text: string): number => Math.max(...text.split("\n").map(displayWidth));

describe("the demo's text", () => {
  it("has its results in 80 columns, with no number cut", () => {
    const table = resultsTable(sample.methods, 8, { width: 80 });
    expect(widest(table)).toBeLessThanOrEqual(80);
    expect(table).toMatch(/^vbon +0\.812 ± 0\.009 +0\.838 \(0\.826 to 0\.849\) +1\.464 +−0\.626$/m);
    expect(table).toContain("-KL(policy || Best-of-8 policy)");
  });

  it("has samples beside each other in a wide terminal, below each other in a narrow one", () => {
    const wide = samplesText(sample.samples, { width: 120 });
    expect(wide).toMatch(/^reference +│ vbon +│ ppo/m);
    expect(widest(wide)).toBeLessThanOrEqual(120);
    const narrow = samplesText(sample.samples, { width: 60 });
    expect(narrow).toMatch(/^ {2}reference {4}0\.36 {2}little boy named Tim\./m);
    expect(narrow).toMatch(/^ {21}\S/m);
    expect(widest(narrow)).toBeLessThanOrEqual(60);
  });

  it("says where time went, the longest first, and all of it", () => {
    const lines = timeTable({ cache: 10, "align: update": 90 }).split("\n");
    expect(lines.slice(2).map((line) => line.replace(/\s+/g, " "))).toEqual([
      "align: update 1 min 30 s 90 %",
      "cache 10.0 s 10 %",
      "all 1 min 40 s 100 %",
    ]);
  });
});
