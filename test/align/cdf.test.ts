import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type CdfOptions, compareKeys, createCdf, tieKey } from "../../src/align/best-of-n/cdf.ts";
import { bonLogRatio, pooledLogRatio } from "../../src/align/best-of-n/log-bon.ts";
import { ConfigError } from "../../src/errors.ts";
import { createRandom } from "../../src/tensor/random.ts";
import { expectAllClose, expectClose, golden } from "../support/golden.ts";

const F = (scores: readonly number[], score: number, options?: CdfOptions): number =>
  Math.exp(createCdf(scores, options).at(score).logF);
const scoresOf = fc.array(
  fc.integer({ min: -20, max: 20 }).map((x) => x / 4),
  { minLength: 1, maxLength: 40 },
);

describe("empirical CDF", () => {
  it("trap 1: counts strictly", () => {
    const cache = [1, 2, 2, 3];
    expectAllClose(
      [2, 0, 4, 3].map((r) => F(cache, r)),
      [2 / 5, 1 / 5, 1, 4 / 5],
      1e-15,
    );
  });

  it("meets the golden counts and the authors' estimator", () => {
    interface Case {
      name: string;
      rewards: number[];
      queries: number[];
      strict_less_count: number[];
      less_or_equal_count: number[];
      authors_log_F: number[];
    }
    for (const c of golden<{ cases: Case[] }>("empirical_cdf.json").cases) {
      const points = c.queries.map((query) => createCdf(c.rewards).at(query));
      expect(
        points.map((p) => p.below),
        c.name,
      ).toEqual(c.strict_less_count);
      expect(
        points.map((p) => p.atMost),
        c.name,
      ).toEqual(c.less_or_equal_count);
      expectAllClose(
        points.map((p) => p.logF),
        c.authors_log_F,
        1e-15,
        c.name,
      );
    }
  });

  it("trap 2: E[log F] under the reference is the table's, over all M + 1 ranks", () => {
    const table = [
      [5, -0.6952176],
      [32, -0.9190995],
      [100, -0.9680463],
      [200, -0.9822338],
      [250, -0.9853307],
      [600, -0.9931475],
    ];
    for (const [size = 0, want = 0] of table) {
      const cdf = createCdf(Array.from({ length: size }, (_, i) => i));
      const logs = Array.from({ length: size + 1 }, (_, k) => cdf.at(k - 0.5).logF);
      expect(logs.reduce((sum, x) => sum + x, 0) / (size + 1)).toBeCloseTo(want, 7);
    }
  });

  it("meets the exact expectation of the estimator at fixed F", () => {
    type Row = [size: number, F: number, logF: number, expected: number];
    for (const [size, p, , expected] of golden<{ rows: Row[] }>("log_cdf_bias.json").rows) {
      const cdf = createCdf(Array.from({ length: size }, (_, i) => i));
      let sum = 0;
      let weight = (1 - p) ** size;
      for (let k = 0; k <= size; k++) {
        sum += weight * cdf.at(k - 0.5).logF;
        weight *= (((size - k) / (k + 1)) * p) / (1 - p);
      }
      expectClose(sum, expected, 1e-10, `M ${size}, F ${p}`);
    }
  });

  it("trap 3: the order of the cache does not matter, bit for bit", () => {
    fc.assert(
      fc.property(scoresOf, fc.nat(), fc.integer({ min: -21, max: 21 }), (scores, seed, query) => {
        const shuffled = createRandom(seed, "order").shuffle([...scores]);
        expect(createCdf(shuffled).at(query / 4)).toEqual(createCdf(scores).at(query / 4));
      }),
    );
  });

  it("trap 7: a strictly increasing transform of the score changes nothing, bit for bit", () => {
    const distinct = (xs: number[]): number[] => [...new Set(xs)].sort((a, b) => a - b);
    fc.assert(
      fc.property(scoresOf, (scores) => {
        const ranks = distinct(scores);
        for (const transform of [(r: number) => 3 * r + 7, Math.exp, (r: number) => ranks.indexOf(r)]) {
          for (const r of scores)
            expect(createCdf(scores.map(transform)).at(transform(r))).toEqual(createCdf(scores).at(r));
        }
      }),
    );
  });

  it("smooths as asked and stays in (0, 1]", () => {
    const cache = [1, 2, 2, 3];
    expectAllClose(
      [0, 2, 9].map((r) => F(cache, r, { smoothing: "paper" })),
      [1 / 5, 1 / 4, 1],
      1e-15,
    );
    expectAllClose(
      [0, 2, 9].map((r) => F(cache, r, { smoothing: "laplace" })),
      [1 / 6, 2 / 6, 5 / 6],
      1e-15,
    );
    expectAllClose(
      [0, 2, 9].map((r) => F(cache, r, { smoothing: "mid" })),
      [0.5 / 5, 2.5 / 5, 4.5 / 5],
      1e-15,
    );
  });

  it("trap 29: each prompt has its own CDF", () => {
    const [a, b] = [createCdf([0, 0, 0]), createCdf([1, 1, 1])];
    expectClose(Math.exp(a.at(0.5).logF), 1, 1e-15);
    expectClose(Math.exp(b.at(0.5).logF), 1 / 4, 1e-15);
  });

  it("trap 31: `bottom` ranks by rule, in the cache as well", () => {
    const options: CdfOptions = { missingEos: "bottom", finished: [true, false, true, false] };
    const cdf = createCdf([5, 9, 6, -1], options);
    expect([...cdf.sorted]).toEqual([-Infinity, -Infinity, 5, 6]);
    const truncated = cdf.at(100, { finished: false });
    expect(truncated.below).toBe(0);
    expectClose(truncated.logF, -Math.log(5), 1e-15);
    expect(cdf.at(-50).below).toBe(2);
    expect(cdf.rank(100, { finished: false })).toBe(1 / 4);
    expect(createCdf([5, 9, 6, -1], { ...options, missingEos: -2 }).at(100, { finished: false }).below).toBe(
      0,
    );
    expect(() => createCdf([1, 2], { missingEos: "bottom" })).toThrow(/rebuild the cache/);
  });

  it("trap 33: a score within rounding of a cached value moves the rank by at most one, the pooled R by less", () => {
    const random = createRandom(1, "rounding");
    const cache = Array.from({ length: 100 }, () => random.normal());
    const cdf = createCdf(cache);
    let strict = 0;
    let pooled = 0;
    for (const score of cache) {
      const [low, exact, high] = [cdf.at(score - 1e-9), cdf.at(score), cdf.at(score + 1e-9)];
      expect([exact.below - low.below, high.below - exact.below]).toEqual([0, 1]);
      const strictChange = bonLogRatio(8, high.logF, -60) - bonLogRatio(8, exact.logF, -60);
      const of = (p: typeof low): number => pooledLogRatio(8, p.below, p.atMost, p.size);
      const pooledChange = Math.max(Math.abs(of(exact) - of(low)), Math.abs(of(high) - of(exact)));
      expect(pooledChange).toBeLessThanOrEqual(strictChange + 1e-12);
      strict += strictChange / cache.length;
      pooled += pooledChange / cache.length;
    }
    expect(pooled).toBeLessThan(strict);
  });

  it("trap 43: refuses scores that are not finite, cached or looked up", () => {
    expect(() => createCdf([1, NaN])).toThrow(ConfigError);
    expect(() => createCdf([1, Infinity])).toThrow(/score 1 is Infinity/);
    expect(() => createCdf([])).toThrow(/at least one/);
    expect(() => createCdf([1]).at(NaN)).toThrow(/score is NaN/);
    expect(() => createCdf([1]).rank(Infinity)).toThrow(ConfigError);
  });

  it("trap 44: one cached score, and constant scores", () => {
    expectAllClose(
      [0, 1, 2].map((r) => F([1], r)),
      [1 / 2, 1 / 2, 1],
      1e-15,
    );
    const constant = createCdf([3, 3, 3, 3], { estimator: "pooled" }).at(3);
    expectClose(Math.exp(constant.logF), 1 / 5, 1e-15);
    expect(pooledLogRatio(7, constant.below, constant.atMost, constant.size)).toBe(0);
  });

  it("reports the tie rate and the win rate of one sample", () => {
    const cdf = createCdf([1, 2, 2, 3]);
    expect(cdf.tieRate).toBe(1 / 6);
    expect([0, 1, 2, 2.5, 3, 4].map((r) => cdf.rank(r))).toEqual([0, 1 / 8, 1 / 2, 3 / 4, 7 / 8, 1]);
  });
});

describe("ties", () => {
  const { items, strictly_less_counts: counts } = golden<{
    items: { reward: number; tokens: number[] }[];
    strictly_less_counts: number[];
  }>("tie_breaking.json");

  it("orders by App. C: score, then token ids, a proper prefix first", () => {
    const keys = items.map((item) => item.tokens);
    const cdf = createCdf(
      items.map((item) => item.reward),
      { ties: "total-order", keys },
    );
    expect(items.map((item) => cdf.at(item.reward, { key: item.tokens }).below)).toEqual(counts);
    expect(() => cdf.at(1)).toThrow(/needs the sample's key/);
    expect(() => createCdf([1, 2], { ties: "total-order" })).toThrow(/needs 2 keys/);
  });

  it("breaks ties by a seeded hash that is a total order", () => {
    const keys = items.map((item) => tieKey(item.tokens, 3));
    const below = items.map(
      (item, i) =>
        createCdf(
          items.map((x) => x.reward),
          { ties: "total-order", keys },
        ).at(item.reward, { key: keys[i] ?? [] }).below,
    );
    expect(new Set(below).size).toBe(items.length);
    expect(compareKeys(tieKey([1, 2], 0), tieKey([1, 2], 1))).not.toBe(0);
  });

  it("gives the mass of a tied group in random mode", () => {
    const at = (r: number): number => Math.exp(createCdf([1, 2, 2, 3], { ties: "random" }).at(r).logTie);
    expectAllClose([at(1), at(2), at(2.5)], [1 / 5, 2 / 5, 0], 1e-15);
  });

  it("finds about as many tied pairs as expected in f16-like scores", () => {
    const random = createRandom(2, "ties");
    // N(3, 1.5^2) at the f16 spacing of [2, 4): alignment.md 1.2 counts about 8 tied pairs in 200 draws.
    const trials = Array.from({ length: 50 }, () => {
      const scores = Array.from({ length: 200 }, () => Math.round((3 + 1.5 * random.normal()) * 512) / 512);
      return createCdf(scores).tieRate * ((200 * 199) / 2);
    });
    const mean = trials.reduce((sum, x) => sum + x, 0) / trials.length;
    expect(mean).toBeGreaterThan(6);
    expect(mean).toBeLessThan(10);
  });
});
