/** The analyses against what theory says of their numbers, and on scores that break careless ones. */
import { describe, expect, it } from "vitest";
import { analyses } from "../../src/align/analyses/index.ts";
import type { AnalysisResult, ScoredPrompt } from "../../src/align/analyses/analysis.ts";
import { estimatedOptimum } from "../../src/align/analyses/cap.ts";
import { createRandom } from "../../src/tensor/random.ts";

const run = (name: string, prompts: readonly ScoredPrompt[], more: object = {}): AnalysisResult =>
  analyses.find((analysis) => analysis.name === name)!.run(prompts, { alpha: 0.05, ...more });

/** Prompts whose scores are normal with means of their own. */
function normal(prompts: number, samples: number): ScoredPrompt[] {
  const random = createRandom(7, "analyses");
  return Array.from({ length: prompts }, (_, i) => ({
    prompt: `prompt ${i}`,
    rewards: Array.from({ length: samples }, () => i / 10 + random.normal()),
  }));
}

describe("ks", () => {
  const { rows } = run("ks", normal(400, 200), { m: [5, 20, 100] });
  const rejected = (design: string, m: number): number =>
    Number(
      rows.find((row) => row["design"] === design && row["m"] === m && row["p"] === "exact")!["rejected"],
    );

  // Three standard errors of a share of 5 % over 400 prompts: 3.3 points; the exact test is conservative.
  it.each([5, 20, 100])("rejects about alpha of the independent design at M = %d", (m) => {
    expect(rejected("independent", m)).toBeGreaterThan(1);
    expect(rejected("independent", m)).toBeLessThan(8.3);
  });
  it("rejects fewer and fewer of the subset design, as Table 1 does", () => {
    expect(rejected("subset", 100)).toBeLessThan(0.76); // half the samples: below two of 400
    expect(rejected("subset", 100)).toBeLessThanOrEqual(rejected("subset", 5));
  });
  it("refuses M beyond the samples, and caches too small to test", () => {
    expect(() => run("ks", normal(2, 64), { m: [64] })).toThrow(
      "--m 64: expected whole numbers from 1 to 63",
    );
    expect(() => run("ks", normal(2, 5))).toThrow("5 samples a prompt are too few");
  });
});

describe("cap", () => {
  // alignment.md 1.4 and 3.2.
  it.each([
    [10, 8, "code", 1.3112, 0.8952],
    [10, 8, "pooled", 1.3516, 0.899],
    [2, 5, "code", 0.1294, 0.6389],
    [2, 5, "pooled", 0.1837, 0.662],
    [10, 32, "code", 1.3845, 0.907],
    [10, 200, "code", 1.4, 0.90885],
  ] as const)("N = %d with M = %d, %s: KL %d, win %d", (n, m, estimator, kl, win) => {
    const optimum = estimatedOptimum(m, n, estimator);
    expect(optimum.kl).toBeCloseTo(kl, 3);
    expect(optimum.win).toBeCloseTo(win, 3);
  });
  it("reads M from the cache, and N from whoever asks", () => {
    expect(run("cap", normal(1, 8), { n: [10] }).rows[0]!["code"]).toBeCloseTo(1.3112, 3);
  });
});

describe("bon", () => {
  it("meets the theory of continuous scores: win rate n/(n + 1), rewards of normal order statistics", () => {
    const { rows } = run("bon", normal(50, 64), { n: [1, 2, 8] });
    const [one, two, eight] = rows as readonly Readonly<Record<string, number>>[];
    expect(two!["win"]).toBeCloseTo(2 / 3, 2);
    expect(eight!["win"]).toBeCloseTo(8 / 9, 2);
    // E[max of 2, 8 normals] = 0.5642, 1.4236; 50 x 64 samples: within 4 standard errors.
    expect(two!["reward"]! - one!["reward"]!).toBeCloseTo(0.5642, 1);
    expect(eight!["reward"]! - one!["reward"]!).toBeCloseTo(1.4236, 0);
    expect(eight!["tied"]).toBeLessThan(eight!["bound"]!);
  });
  it("knows the KL of two levels: p = 0.3, N = 4 gives 0.44934 (alignment.md 3.1)", () => {
    const rewards = Array.from({ length: 10 }, (_, i) => (i < 3 ? 1 : 0));
    expect(run("bon", [{ prompt: "binary", rewards }], { n: [4] }).rows[0]!["tied"]).toBeCloseTo(0.44934, 5);
  });
});

describe("ties", () => {
  it("counts pairs, as cached and as narrower types would make them", () => {
    const rows = run("ties", [{ prompt: "p", rewards: [1, 1, 1, 2, 2.0001] }]).rows;
    const pairs = Object.fromEntries(rows.map((row) => [row["stored"], row["pairs"]]));
    expect(pairs).toEqual({ "as cached": 3, f32: 3, f16: 4, bf16: 4 });
  });
  it("finds about 8 tied pairs of f16 and 63 of bf16 at M = 200, sd 1.5 around 3", () => {
    const prompts = normal(60, 200).map(({ prompt, rewards }, i) => ({
      prompt,
      rewards: rewards.map((r) => 3 + 1.5 * (r - i / 10)),
    }));
    const rows = run("ties", prompts).rows;
    expect(Number(rows[2]!["pairs"])).toBeGreaterThan(6);
    expect(Number(rows[2]!["pairs"])).toBeLessThan(10);
    expect(Number(rows[3]!["pairs"])).toBeGreaterThan(55);
    expect(Number(rows[3]!["pairs"])).toBeLessThan(71);
  });
});

describe("logf", () => {
  it("takes the lowest, the middle and the highest prompt, and ends at no difference", () => {
    const result = run("logf", normal(21, 100), { m: [10, 50] });
    expect(result.rows.map((row) => String(row["prompt"]).split(":")[0])).toEqual(
      ["lowest", "middle", "highest"].flatMap((name) => [name, name, name]),
    );
    expect(result.rows[2]!["rms"]).toBe(0);
    expect(result.picture!.curves).toHaveLength(9);
    for (const { points } of result.picture!.curves)
      for (const [i, [, y]] of points.entries())
        expect(y).toBeGreaterThanOrEqual(points[i - 1]?.[1] ?? -Infinity);
  });
  it("has one curve where there is one prompt", () => {
    expect(run("logf", normal(1, 12), { m: [4] }).rows).toHaveLength(2);
  });
});

describe("fit", () => {
  it("accepts the scores of a Gumbel distribution, and says why it refuses a constant", () => {
    const rewards = Array.from({ length: 200 }, (_, k) => 2 - 0.5 * Math.log(-Math.log((k + 1) / 201)));
    expect(run("fit", [{ prompt: "gumbel", rewards }]).rows[0]!).toMatchObject({ accepted: 100, why: "" });
    const constant = run("fit", [{ prompt: "constant", rewards: [1, 1, 1] }]).rows[0]!;
    expect(constant).toMatchObject({ accepted: 0, why: "fewer than two different scores (1)" });
  });
});
