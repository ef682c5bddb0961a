import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { paretoFront, paretoShare } from "../../src/evaluate/pareto.ts";
import { distinctN, eosRate, lengthSummary } from "../../src/evaluate/text-metrics.ts";
import { bootstrapMean, pairedWinRate, promptWinRates } from "../../src/evaluate/win-rate.ts";
import { createRandom } from "../../src/tensor/random.ts";
import { expectClose, golden } from "../support/golden.ts";

describe("win rate", () => {
  it("trap 36: ties count half, so the reference itself wins .5", () => {
    const reference = [1, 1, 1, 0, 0, 0, 0, 0, 0, 0];
    const [rate = NaN] = promptWinRates([{ policy: reference, reference }]);
    expectClose(rate, 0.5, 1e-15);
    // Strictly, p (1 - p) = .21 for p = .3.
    const strict = reference.map((score) => reference.filter((other) => other < score).length / 10);
    expectClose(strict.reduce((sum, x) => sum + x, 0) / 10, 0.21, 1e-15);
  });

  it("is .5 for any list against itself, and 0 or 1 at the ends", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -3, max: 3 }), { minLength: 1 }), (list) => {
        expectClose(promptWinRates([{ policy: list, reference: list }])[0] ?? NaN, 0.5, 1e-12);
        expect(promptWinRates([{ policy: [-9, 9], reference: list }])).toEqual([0.5]);
        expect(
          promptWinRates([
            { policy: [9], reference: list },
            { policy: [-9], reference: list },
          ]),
        ).toEqual([1, 0]);
      }),
    );
  });

  it("pairs with one opponent, ties half", () => {
    expect(pairedWinRate([1, 2, 3, 0], [0, 2, 4, -1])).toBe(0.625);
    expect(() => pairedWinRate([1], [])).toThrow(/expected as many/);
  });

  it("bootstraps over prompts, the same for the same stream, and covers the mean", () => {
    const values = Array.from({ length: 50 }, (_, i) => i / 49);
    const first = bootstrapMean(values, createRandom(1, "bootstrap"));
    expect(bootstrapMean(values, createRandom(1, "bootstrap"))).toEqual(first);
    expectClose(first.mean, 0.5, 1e-12);
    // The standard error is sqrt(.0867 / 50) = .0416; a 95 % interval is about 1.96 of it each side.
    expect(first.high - first.low).toBeGreaterThan(0.13);
    expect(first.high - first.low).toBeLessThan(0.2);
    expect(bootstrapMean([3], createRandom(0, 0))).toEqual({ mean: 3, low: 3, high: 3 });
  });
});

describe("Pareto front", () => {
  interface Case {
    name: string;
    kl: number[];
    value: number[];
    method: string[];
    front_indices: number[];
    share_percent: Record<string, number>;
  }
  it.each(golden<{ cases: Case[] }>("pareto.json").cases)("meets $name", (c) => {
    const points = c.kl.map((kl, i) => ({ kl, value: c.value[i] ?? NaN, method: c.method[i] ?? "" }));
    expect(paretoFront(points)).toEqual(c.front_indices);
    const share = paretoShare(points);
    expect(share.size).toBe(Object.keys(c.share_percent).length);
    for (const [method, percent] of share)
      expectClose(100 * percent, c.share_percent[method] ?? NaN, 1e-12, method);
  });

  it("trap 37: minimises KL, maximises value, and ties of one coordinate are dominated", () => {
    const points = [
      [1, 0.6],
      [2, 0.7],
      [2, 0.65],
      [3, 0.7],
    ].map(([kl = 0, value = 0]) => ({ kl, value }));
    expect(paretoFront(points)).toEqual([0, 1]);
    expect(() => paretoFront([{ kl: NaN, value: 1 }])).toThrow(/point 0 is \(NaN, 1\)/);
  });
});

describe("text metrics", () => {
  it("counts different n-grams over all", () => {
    expect(
      distinctN(
        [
          [1, 2, 1, 2],
          [1, 2],
        ],
        2,
      ),
    ).toBe(2 / 4);
    expect(
      distinctN(
        [
          [1, 11],
          [11, 1],
        ],
        2,
      ),
    ).toBe(1);
    expect(distinctN([[1]], 2)).toBe(0);
  });

  it("summarises lengths and endings", () => {
    expect(lengthSummary([5, 1, 3, 7])).toEqual({ mean: 4, min: 1, median: 4, max: 7 });
    expect(lengthSummary([2, 9, 4]).median).toBe(4);
    expect(eosRate([true, false, true, true])).toBe(0.75);
  });
});
