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
  it("finds the front of a sweep, who owns it, who leads at equal KL, and where estimators of KL disagree", async () => {
    const point = (name: string, kl: number, win: number, klK1 = kl): object => ({
      id: `${name}-${kl}`,
      name,
      seed: 0,
      evaluation: "held-out",
      kl,
      win,
      reward: win,
      klSe: 0.01,
      klK1,
      klK1Se: 0.05,
      klK3: kl,
      klK3Se: 1,
    });
    // The golden points of the Pareto trap: (1, .6), (2, .7) own the front.
    const rows = [point("a", 1, 0.6), point("a", 2, 0.7), point("b", 2.5, 0.65), point("b", 3, 0.7, 3.5)];
    const judged = [point("a", 1, 0.6), point("a", 3, 0.8), point("b", 0.5, 0.5), point("b", 3, 0.75)];
    for (const row of judged) rows.push({ ...row, evaluation: "judge" });
    writeFileSync(join(folder, "points.json"), JSON.stringify({ rows, baselines: {} }));
    const { code, stdout, stderr } = await cli(["analyse", "--points", folder, "--json"]);
    expect(code, stderr).toBe(0);
    const [pareto, equal, kl] = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { name: string; rows: Record<string, unknown>[]; notes: string[] });
    expect(pareto!.rows.map(({ run, fronts, own }) => [run, fronts, own])).toEqual([
      ["a-1", "win, reward", "yes"],
      ["a-2", "win, reward", "yes"],
      ["b-2.5", "", "yes"],
      ["b-3", "", "yes"],
    ]);
    expect(pareto!.notes[0]).toBe("Front of win rates: 2 of 4 runs; shares: a 100 %, b 0 %.");
    // Held out, there is no KL that both lines reach.
    const wins = equal!.rows.filter(({ measure }) => measure === "win");
    expect(wins.map((row) => row["evaluation"])).toEqual(Array(10).fill("judge"));
    expect(wins.slice(0, 2).map(({ kl: at, series, value }) => [at, series, value])).toEqual([
      [1, "a", 0.6],
      [1, "b", expect.closeTo(0.55, 12)],
    ]);
    expect(kl!.rows[3]!["z"]).toBeCloseTo(10, 9);
    expect(kl!.notes[1]).toMatch(/more than 3 .* in b-3/);
  });
  it.each([
    [["kss"], "did you mean ks?"],
    [["ks", "--m", "five"], "--m five: expected numbers of at least 1"],
    [["ks", "--m", "30"], "--m 30: expected whole numbers from 1 to 29"],
    [["ties", "--svg", join(folder, "no.svg")], "ties has no picture"],
    [["--svg", join(folder, "no.svg")], "--svg draws one analysis"],
    [["pareto"], "--points DIR, the folder of a sweep is required: pareto reads it"],
    [["pareto", "--points", join(folder, "nowhere")], "no such file"],
  ])("refuses %j in one line", async (args, said) => {
    const { code, stderr } = await cli(["analyse", ...args, "--cache", cache]);
    expect(code).toBe(2);
    expect(stderr).toContain(said);
  });
});
