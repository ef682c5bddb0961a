/** `vbon analyse` from a file to a table, to JSON and to a picture; and what it says of wrong words. */
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { cli } from "../support/run-cli.ts";

const folder = mkdtempSync(join(tmpdir(), "vbon-analyse-"));
const cache = join(folder, "cache.jsonl");
// The released code's form: one prompt a line.
writeFileSync(
  cache,
  Array.from({ length: 4 }, (_, p) => {
    const rewards = Array.from({ length: 30 }, (_, i) => ((i * 17 + p * 5) % 31) / 10);
    return `${JSON.stringify({ prompt: `prompt ${p}`, rewards })}\n`;
  }).join(""),
);

describe("vbon analyse", () => {
  it("runs every analysis without a device and writes them as JSON", async () => {
    const out = join(folder, "all.json");
    const { code, stdout } = await cli(["analyse", "--cache", cache, "--out", out]);
    expect(code).toBe(0);
    for (const title of ["Table 1", "Figure 3", "tied pairs", "-a exp(-b r)", "KL of Best-of-N", "win rate"])
      expect(stdout).toContain(title);
    const written = JSON.parse(readFileSync(out, "utf8")) as { name: string; rows: unknown[] }[];
    expect(written.map(({ name }) => name)).toEqual(["ks", "logf", "ties", "fit", "cap", "bon"]);
    expect(written.every(({ rows }) => rows.length > 0)).toBe(true);
  });
  it("draws", async () => {
    const svg = join(folder, "logf.svg");
    expect((await cli(["analyse", "logf", "--m", "5,10", "--cache", cache, "--svg", svg])).code).toBe(0);
    expect(readFileSync(svg, "utf8")).toMatch(/^<svg[^]*M = 30[^]*<\/svg>$/);
  });
  it.each([
    [["kss"], "did you mean ks?"],
    [["ks", "--m", "five"], "--m five: expected numbers of at least 1"],
    [["ks", "--m", "30"], "--m 30: expected whole numbers from 1 to 29"],
    [["ties", "--svg", join(folder, "no.svg")], "ties has no picture"],
    [["--svg", join(folder, "no.svg")], "--svg draws one analysis"],
  ])("refuses %j in one line", async (args, said) => {
    const { code, stderr } = await cli(["analyse", ...args, "--cache", cache]);
    expect(code).toBe(2);
    expect(stderr).toContain(said);
  });
});
