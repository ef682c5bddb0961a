/** `vbon report` on a run and on a sweep of a random model: pages that hold their figures and numbers, and run nothing. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import type { SweepResults } from "../../src/report/types.ts";
import { openAlignTask } from "../support/align-task.ts";
import { flags, vbon } from "../support/run-cli.ts";

const { device, task, at } = await openAlignTask();

beforeAll(async () => {
  const { cache, n: _, ...shared } = task.run!;
  const align = { ...shared, cache, evalCache: task.test, episodes: 16, passes: 1 };
  const runs = [
    { method: ["vbon", "vbon-l", "bon-sft"], n: 2 },
    { method: "vbon", name: "by M", n: 2, maxSamples: [2, 4, 8] },
  ];
  const evaluations = { "in-T1": { cache: task.test, samples: 2 } };
  writeFileSync(at("sweep.json"), JSON.stringify({ title: "<b>A & B</b>", align, runs, evaluations }));
  // As a sweep leaves it beside a cache that it has built.
  writeFileSync(task.train.replace(".jsonl", ".cost.json"), '{"secondsPerSample":0.5,"prompts":6}');
  const { code, stderr } = await vbon(device, ["sweep", at("sweep.json"), "--out", at("sweep")]);
  if (code !== 0) throw new Error(stderr);
});

const page = async (...argv: string[]): Promise<string> => {
  const { code, stdout, stderr } = await vbon(undefined, ["report", ...argv]);
  expect(code, stderr).toBe(0);
  return readFileSync(stdout.trim(), "utf8");
};
const headings = (html: string): string[] => [...html.matchAll(/<h2>(.*?)<\/h2>/g)].map((m) => m[1]!);

describe("the page of a sweep", () => {
  it("has the figures that its runs draw, and no others", async () => {
    const html = await page(at("sweep"));
    expect(headings(html)).toEqual([
      "Figures 2a and 2b: win rate and reward against KL",
      "Figure 6: the exact objective and its bounds",
      "Figure 7: with BoN-SFT",
      "Figure 4: how many cached samples M are enough",
      "Figure 4, by what sampling took",
      "All points",
      "Responses",
      "Setting",
    ]);
    const { rows } = JSON.parse(readFileSync(at("sweep/points.json"), "utf8")) as SweepResults;
    const took = rows.filter((row) => row.name === "by M" && row.evaluation === "held-out");
    expect(took.map(({ samplingSeconds }) => samplingSeconds)).toEqual([6, 12, 24]);
    expect(html).toContain("<h1>&lt;b&gt;A &amp; B&lt;/b&gt;</h1>");
    expect(html).not.toMatch(/<script|https?:\/\/(?!www\.w3\.org)/);
    expect(html.match(/download="points\.(json|csv)"/g)).toHaveLength(2);
    // Shares of the pooled front sum to 1: 100 % for two series together.
    const [shares] = /<table>[\s\S]*?<\/table>/.exec(html)!;
    const percents = [...shares.matchAll(/>(\d+)\s?%</g)].map((m) => Number(m[1]));
    expect(percents.reduce((a, b) => a + b, 0)).toBeGreaterThanOrEqual(199);
  });

  it("draws averages of seeds beside their series, and only there", async () => {
    const path = at("sweep/points.json");
    const results = JSON.parse(readFileSync(path, "utf8")) as SweepResults;
    const soups = results.rows
      .filter(({ name }) => name === "vbon")
      .map((row) => ({ ...row, name: "vbon soup", id: `${row.id}-soup` }));
    writeFileSync(at("soups.json"), JSON.stringify({ ...results, rows: [...results.rows, ...soups] }));
    mkdirSync(at("soups"));
    renameSync(at("soups.json"), at("soups/points.json"));
    const html = await page(at("soups"));
    expect(headings(html)).toContain("Soups: weights averaged over seeds");
    const [, figure2 = ""] = /id="fig2-win"([\s\S]*?)<\/svg>/.exec(html) ?? [];
    expect(figure2).not.toContain("soup");
  });

  it("shows the temperatures where there are several", async () => {
    const path = at("sweep/points.json");
    const results = JSON.parse(readFileSync(path, "utf8")) as {
      rows: { evaluation: string; temperature: number }[];
      baselines: Record<string, object>;
    };
    const further = results.rows.filter(({ evaluation }) => evaluation === "in-T1");
    const colder = further.map((row) => ({ ...row, evaluation: "in-T0.5", temperature: 0.5 }));
    writeFileSync(path, JSON.stringify({ ...results, rows: [...results.rows, ...colder] }));
    const html = await page(at("sweep"), "--out", at("warm.html"));
    expect(headings(html)).toContain("Figure 5: sampling temperatures");
    expect(html).toContain("win rate, in");
  });
});

describe("the page of a run", () => {
  it("has results, training curves, distributions, responses and the command", async () => {
    const html = await page(join(at("sweep"), "runs", "vbon-seed0"));
    expect(headings(html)).toEqual([
      "Results",
      "Reward and win rate against KL",
      "Training",
      "Rewards under the reference",
      "Samples",
      "Setting",
    ]);
    expect(html).toContain("vbon align --policy");
  });

  it("refuses folders that hold nothing to show", async () => {
    const wrong = async (...argv: string[]): Promise<string> => {
      const { code, stderr } = await vbon(undefined, ["report", ...argv]);
      expect(code).toBe(2);
      return stderr;
    };
    expect(await wrong(task.folder)).toMatch(/neither a run .* nor a sweep/);
    expect(await wrong()).toMatch(/expected one folder, got 0/);
    const { code } = await vbon(device, [
      "align",
      ...flags({ ...task.run, episodes: 16, out: at("unjudged") }),
    ]);
    expect(code).toBe(0);
    expect(await wrong(at("unjudged"))).toMatch(/has no evaluation\.json/);
  });
});

it("a smoke preset trains the shipped models, evaluates them at two temperatures, and is drawn", async () => {
  const out = at("smoke");
  const { code, stderr } = await vbon(device, ["sweep", "fig5-smoke", "--out", out]);
  expect(code, stderr).toBe(0);
  const html = await page(out);
  expect(headings(html)).toContain("Figure 5: sampling temperatures");
  expect(html).toContain("Best-of-4");
  expect(html).toContain("movie-lm, aligned to movie-sentiment: 2 runs, each judged on 8 held-out prompts");
}, 240_000);
