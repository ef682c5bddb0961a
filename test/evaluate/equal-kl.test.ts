/** Series compared at equal KL. */
import { describe, expect, it } from "vitest";
import { seriesAt, valueAt } from "../../src/evaluate/equal-kl.ts";

describe("a line of runs", () => {
  const line = [
    { kl: 2, value: 0.8 },
    { kl: 1, value: 0.6 },
  ];
  it.each([
    [0.99, undefined],
    [1, 0.6],
    [1.75, 0.75],
    [2, 0.8],
    [2.01, undefined],
  ])("at KL %d is %d", (kl, value) => {
    const found = valueAt(line, kl);
    if (value === undefined) expect(found).toBeUndefined();
    else expect(found).toBeCloseTo(value, 12);
  });
});

it("compares series seed by seed, the best first", () => {
  const point = (series: string, seed: number, value: number): object => ({ series, seed, kl: 2, value });
  const points = [
    point("vbon", 0, 0.7),
    point("vbon", 1, 0.8),
    point("ppo", 0, 0.74),
    point("ppo", 1, 0.82),
    point("dpo", 0, 0.6),
  ] as Parameters<typeof seriesAt>[0];
  const [ppo, vbon, dpo] = seriesAt(points, 2, "vbon");
  expect([ppo!.series, vbon!.series, dpo!.series]).toEqual(["ppo", "vbon", "dpo"]);
  expect(ppo!.value).toBeCloseTo(0.78, 12);
  expect(ppo!.se).toBeCloseTo(0.04, 12);
  // Differences .04 and .02: mean .03, standard error .01.
  expect(ppo!.difference).toBeCloseTo(0.03, 12);
  expect(ppo!.differenceSe).toBeCloseTo(0.01, 12);
  expect(vbon!.difference).toBe(0);
  expect([dpo!.seeds, dpo!.se]).toEqual([1, NaN]);
  expect(dpo!.difference).toBeCloseTo(-0.1, 12);
  expect(seriesAt(points, 2.5, "vbon")).toEqual([]);
});
