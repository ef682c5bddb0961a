import { describe, expect, it } from "vitest";
import { kolmogorovSurvival } from "../../src/evaluate/kolmogorov.ts";
import { ksTest } from "../../src/evaluate/ks.ts";
import { createRandom } from "../../src/tensor/random.ts";
import { expectClose, golden } from "../support/golden.ts";

interface Case {
  name: string;
  x: number[] | string;
  y: number[] | string;
  statistic: number;
  p_exact_own: number;
  scipy: { asymp: { pvalue: number } };
  reject_at_0_05: boolean;
}
const { shared, cases } = golden<{ shared: Record<string, number[]>; cases: Case[] }>("ks.json");

// Above 140 points scipy switches to the Pelz-Good series, good to 1e-6 only; these are the same matrix power at 60 digits.
const exactAsymptotic: Record<string, number> = {
  shifted_200_600: 0.02155376393582835,
  ties_200_600: 0.6305856808592334,
  same_distribution_250_600: 0.6708478224833169,
  ties_250_600: 0.1773433176557784,
};
const list = (sample: number[] | string): number[] =>
  typeof sample === "string" ? (shared[sample] ?? []) : sample;

describe("two-sample Kolmogorov-Smirnov", () => {
  it.each(cases)("meets $name", (c) => {
    const got = ksTest(list(c.x), list(c.y));
    expectClose(got.statistic, c.statistic, 1e-15);
    expect(Math.abs(got.pExact / c.p_exact_own - 1), "exact p, relative").toBeLessThan(1e-11);
    expect(got.pExact < 0.05).toBe(c.reject_at_0_05);
    expectClose(got.pAsymptotic, exactAsymptotic[c.name] ?? c.scipy.asymp.pvalue, 1e-12, "asymptotic p");
  });

  it("is symmetric in its samples", () => {
    const [a, b] = [list("big").slice(0, 30), list("big").slice(100, 170)];
    const [ab, ba] = [ksTest(a, b), ksTest(b, a)];
    expect(ab.statistic).toBe(ba.statistic);
    expectClose(ab.pExact, ba.pExact, 1e-12);
  });

  it("rejects about 5 % of pairs from one distribution, independent design", () => {
    const random = createRandom(4, "ks");
    const draw = (size: number): number[] => Array.from({ length: size }, () => random.normal());
    const rejected = Array.from({ length: 600 }, () => ksTest(draw(20), draw(100)).pExact < 0.05);
    const rate = rejected.filter(Boolean).length / rejected.length;
    // The test is conservative (discrete D): 4 to 5 %; four standard errors around.
    expect(rate).toBeGreaterThan(0.01);
    expect(rate).toBeLessThan(0.085);
  });

  it("has the one-sample distribution in closed form for one sample", () => {
    for (const d of [0.5, 0.6, 0.9]) expectClose(kolmogorovSurvival(d, 1), 2 * (1 - d), 1e-14);
    expect([kolmogorovSurvival(0, 3), kolmogorovSurvival(1, 3)]).toEqual([1, 0]);
  });

  it("trap 43: refuses scores that are not finite", () => {
    expect(() => ksTest([1, NaN], [2])).toThrow(/score 1 is NaN/);
  });
});
