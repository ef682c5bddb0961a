import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  bonCurve,
  bonKlBound,
  bonWinRate,
  expectedBest,
  expectedBonWin,
  tieGroupKl,
} from "../../src/evaluate/bon-curve.ts";
import { expectClose, golden } from "../support/golden.ts";

describe("Best-of-N curve", () => {
  it("meets the expected best of n drawn without replacement", () => {
    const { reward_list: list, expected_max: rows } = golden<{
      reward_list: number[];
      expected_max: [n: number, withReplacement: number, without: number][];
    }>("bon_formulas.json");
    for (const [n, , want] of rows) expectClose(expectedBest(list, n), want, 1e-13, `n ${n}`);
    expectClose(expectedBest([0.9, 0.1, 1.3, 0.5, 0.4], 3), 1.1, 1e-14);
  });

  it("is the mean over all subsets, and so is the win rate with ties half", () => {
    const lists = fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 2, maxLength: 7 });
    fc.assert(
      fc.property(lists, fc.nat(), (scores, pick) => {
        const n = 1 + (pick % (scores.length - 1));
        const { best, win } = byEnumeration(scores, n);
        expectClose(expectedBest(scores, n), best, 1e-12);
        expectClose(expectedBonWin(scores, n), win, 1e-12);
      }),
    );
  });

  it("wins n/(n+1) of the time on untied scores, whatever M", () => {
    for (const n of [1, 2, 7, 63]) {
      expectClose(
        expectedBonWin(
          Array.from({ length: 64 }, (_, i) => i),
          n,
        ),
        bonWinRate(n),
        1e-13,
      );
    }
  });

  it("averages prompts, and leaves the win rate out where no opponent is left", () => {
    const curve = bonCurve(
      [
        [0, 1],
        [2, 4],
      ],
      [1, 2],
    );
    expect(curve).toEqual([
      { n: 1, reward: 1.75, winRate: 0.5, klBound: 0 },
      { n: 2, reward: 2.5, winRate: undefined, klBound: Math.log(2) - 0.5 },
    ]);
    expect(() => expectedBest([1, 2], 3)).toThrow(/from 1 to the 2 samples/);
    expect(() => expectedBest([1, 2], 1.5)).toThrow(/integer/);
  });

  it("has the exact KL of discrete scores, below the bound", () => {
    expectClose(tieGroupKl([0.7, 0.3], 4), 0.44934, 1e-5);
    expectClose(tieGroupKl([0.7, 0.3], 128), 1.20397, 1e-5);
    expect(tieGroupKl([1], 50)).toBe(0);
    const levels = Array.from({ length: 20000 }, () => 1 / 20000);
    expectClose(tieGroupKl(levels, 8), bonKlBound(8), 1e-3);
    expect(tieGroupKl(levels, 8)).toBeLessThan(bonKlBound(8));
    expect(() => tieGroupKl([0.5, 0.4], 2)).toThrow(/sum to 0.9/);
  });
});

function byEnumeration(scores: number[], n: number): { best: number; win: number } {
  let subsets = 0;
  let best = 0;
  let win = 0;
  for (let mask = 0; mask < 2 ** scores.length; mask++) {
    const drawn = scores.filter((_, i) => (mask >> i) & 1);
    const left = scores.filter((_, i) => !((mask >> i) & 1));
    if (drawn.length !== n) continue;
    const top = Math.max(...drawn);
    subsets++;
    best += top;
    win += left.reduce((sum, other) => sum + (1 + Math.sign(top - other)) / 2, 0) / left.length;
  }
  return { best: best / subsets, win: win / subsets };
}
