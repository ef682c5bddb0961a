import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { matchedBeta, tiltKl } from "../../src/align/best-of-n/matched-beta.ts";
import { bonKlBound } from "../../src/evaluate/bon-curve.ts";
import { createRandom } from "../../src/tensor/random.ts";

describe("tiltKl", () => {
  it("is the KL of a two-point tilt", () => {
    // r = 0 or 1, half each, beta = 1: p = e / (1 + e).
    const p = Math.E / (1 + Math.E);
    const exact = p * Math.log(2 * p) + (1 - p) * Math.log(2 * (1 - p));
    expect(tiltKl([0, 1], 1)).toBeCloseTo(exact, 14);
    expect(tiltKl([0, 1, 1, 0], 1)).toBeCloseTo(exact, 14);
  });

  it("goes from 0 to log M, and reaches neither infinity nor NaN", () => {
    expect(tiltKl([3, 5, 4, 1], 1e9)).toBeCloseTo(0, 12);
    expect(tiltKl([3, 5, 4, 1], 1e-9)).toBeCloseTo(Math.log(4), 12);
    expect(tiltKl([2, 2, 2], 0.5)).toBeCloseTo(0, 14);
  });

  it("does not see a shift, and scales with the reward", () => {
    const rewards = fc.array(fc.double({ min: -5, max: 5, noNaN: true }), { minLength: 2, maxLength: 20 });
    const positive = fc.double({ min: 0.1, max: 10, noNaN: true });
    fc.assert(
      fc.property(rewards, positive, positive, (r, beta, s) => {
        const kl = tiltKl(r, beta);
        expect(
          tiltKl(
            r.map((x) => x + 7),
            beta,
          ),
        ).toBeCloseTo(kl, 9);
        expect(
          tiltKl(
            r.map((x) => x * s),
            beta * s,
          ),
        ).toBeCloseTo(kl, 9);
      }),
    );
  });
});

describe("matchedBeta", () => {
  it("hits the KL", () => {
    const random = createRandom(0, "rewards");
    const prompts = Array.from({ length: 5 }, () =>
      Array.from({ length: 64 }, () => random.integer(1000) / 100),
    );
    const beta = matchedBeta(prompts, bonKlBound(8));
    const mean = prompts.reduce((sum, r) => sum + tiltKl(r, beta), 0) / prompts.length;
    expect(mean).toBeCloseTo(bonKlBound(8), 9);
  });

  it("is sigma / sqrt(2 KL) for a normal reward", () => {
    // A tilt shifts N(0, sigma^2) by sigma^2 / beta: KL = sigma^2 / (2 beta^2). Box-Muller on a grid of quantiles.
    const sigma = 1.7;
    const grid = Array.from({ length: 120 }, (_, i) => (i + 0.5) / 120);
    const rewards = grid.flatMap((u) =>
      grid.map((v) => sigma * Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * v)),
    );
    expect(matchedBeta([rewards], 0.3)).toBeCloseTo(sigma / Math.sqrt(0.6), 1);
  });

  it("refuses rewards that are all equal, and stays finite where the KL is out of reach", () => {
    expect(() =>
      matchedBeta(
        [
          [1, 1],
          [2, 2],
        ],
        1,
      ),
    ).toThrow(/all equal; expected a reward that tells responses apart/);
    const beta = matchedBeta(
      [
        [0, 1],
        [4, 4],
      ],
      3,
    );
    expect(beta).toBeGreaterThan(0);
    expect(Number.isFinite(tiltKl([0, 1], beta))).toBe(true);
  });
});
