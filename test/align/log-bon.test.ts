import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  betaFromN,
  bonKlBound,
  bonLogRatio,
  bonWinRate,
  logPiBon,
  looseBoundIntegrand,
  lowerBoundLeReward,
  lowerBoundReward,
  nFromBeta,
  pooledLogRatio,
} from "../../src/align/best-of-n/log-bon.ts";
import { ConfigError } from "../../src/errors.ts";
import { expectClose, golden } from "../support/golden.ts";

type Row = [
  n: number,
  F: number,
  logF: number,
  logProbRef: number,
  inDomain: boolean,
  logPiBon: number,
  digits: string,
  authors: number,
  l: number,
  lPlusLogN: number,
  l1: number,
];
const grid = golden<{ rows: Row[] }>("log_pi_bon.json").rows;

describe("closed form of the Best-of-N distribution", () => {
  it("meets the 60-digit grid of 324 points to 1e-12", () => {
    expect(grid.length).toBe(324);
    for (const [n, , logF, p, , want, , authors] of grid) {
      const at = `n ${n}, log F ${logF}, log pi_ref ${p}`;
      expectRelative(logPiBon(n, logF, p), want, 1e-12, at);
      // R is a difference of two logs: its last bits are those of the larger one.
      const scale = Math.max(Math.abs(want), Math.abs(p));
      expect(Math.abs(bonLogRatio(n, logF, p) / n - authors), at).toBeLessThanOrEqual((1e-12 * scale) / n);
    }
  });

  it("trap 4: does not underflow where the power difference would", () => {
    const cases: [n: number, logF: number, p: number, want: number][] = [
      [2, Math.log(0.5), Math.log(0.25), 0.223143551],
      [4, Math.log(0.5), Math.log(0.25), 0.015504187],
      [32, Math.log(0.001), Math.log(0.2), -49.732973957],
      [101, Math.log(0.999), Math.log(0.001), 4.565520889],
      [512, Math.log(0.9), -18, -47.600894553],
      [512, Math.log(0.9), -40, -47.600898876],
      [512, 0, -200, 6.238324625],
      [512, Math.log(1 / 201), -200, -2703.750483],
      [4, -Infinity, -3, -9],
      [5000, 0, -200, Math.log(5000)],
    ];
    for (const [n, logF, p, want] of cases) {
      expect(Math.abs(bonLogRatio(n, logF, p) - want), `n ${n}`).toBeLessThanOrEqual(
        n === 512 && p === -200 ? 1e-6 : 6e-10,
      );
    }
  });

  it("meets the integrands of L, L + log n and L1 on the grid", () => {
    for (const [n, , logF, p, , , , , l, lPlusLogN, l1] of grid) {
      expectRelative(lowerBoundReward(n, logF) + p, l, 1e-12, "L");
      expectRelative(lowerBoundReward(n, logF) + Math.log(n) + p, lPlusLogN, 1e-12, "L + log n");
      expectRelative(looseBoundIntegrand(n, logF, p), l1, 1e-12, "L1");
    }
  });

  it("lies between log n + (n-1) log F and log n + (n-1) log(F + pi_ref), for real n", () => {
    const n = fc.double({ min: 1, max: 5000, noNaN: true });
    const F = fc.double({ min: 1e-12, max: 0.999, noNaN: true });
    const share = fc.double({ min: 1e-9, max: 1, noNaN: true });
    fc.assert(
      fc.property(n, F, share, (n, F, share) => {
        const [logF, p] = [Math.log(F), Math.log((1 - F) * share)];
        const ratio = bonLogRatio(n, logF, p);
        const slack = 1e-12 * Math.max(1, Math.abs(ratio), n * Math.abs(logF), Math.abs(p));
        expect(ratio).toBeGreaterThanOrEqual(Math.log(n) + lowerBoundReward(n, logF) - slack);
        expect(ratio).toBeLessThanOrEqual(Math.log(n) + lowerBoundLeReward(n, logF, p) + slack);
        expect(Math.abs(logPiBon(n, logF, p) - ratio - p)).toBeLessThanOrEqual(slack);
      }),
    );
  });

  it("telescopes: for integer n, pi_bon summed over an ordered partition is 1", () => {
    const masses = fc.array(fc.double({ min: 1e-6, max: 1, noNaN: true }), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(masses, fc.double({ min: 1, max: 600, noNaN: true }), (masses, n) => {
        const total = masses.reduce((sum, m) => sum + m, 0);
        let before = 0;
        let sum = 0;
        for (const mass of masses) {
          sum += Math.exp(
            logPiBon(n, Math.min(0, Math.log(before / total)), Math.min(0, Math.log(mass / total))),
          );
          before += mass;
        }
        expectClose(sum, 1, 1e-9);
      }),
    );
  });

  it("trap 45: n = 1 gives R = 0 and pi_bon = pi_ref, also where F = 0", () => {
    for (const logF of [-Infinity, -3, 0]) {
      expect(bonLogRatio(1, logF, -2)).toBe(0);
      expect(logPiBon(1, logF, -2)).toBe(-2);
      expect(lowerBoundReward(1, logF)).toBe(0);
      expect(lowerBoundLeReward(1, logF, -2)).toBe(0);
    }
  });

  it("refuses what is not a log-probability or an n below 1", () => {
    expect(() => bonLogRatio(0.5, -1, -1)).toThrow(/n is 0.5/);
    expect(() => bonLogRatio(2, 0.1, -1)).toThrow(/log F is 0.1/);
    expect(() => bonLogRatio(2, NaN, -1)).toThrow(ConfigError);
    expect(() => bonLogRatio(2, -1, NaN)).toThrow(/log pi_ref is NaN/);
    expect(() => logPiBon(2, -1, -Infinity)).toThrow(ConfigError);
  });
});

describe("n and beta", () => {
  it("trap 5: n = 1/beta + 1 stays real", () => {
    expect(Math.abs(nFromBeta(1 / 99) - 100)).toBeLessThan(1e-9);
    expectClose(nFromBeta(0.3), 13 / 3, 1e-15);
    for (let n = 2; n < 2000; n++) expectClose(nFromBeta(betaFromN(n)), n, 1e-12);
    expect(betaFromN(1)).toBe(Infinity);
    expect(() => nFromBeta(0)).toThrow(ConfigError);
  });

  it("meets the table of KL bounds and win rates", () => {
    const { rows } = golden<{ rows: [n: number, klBound: number, winRate: number][] }>("bon_formulas.json");
    for (const [n, klBound, winRate] of rows) {
      expectClose(bonKlBound(n), klBound, 1e-12);
      expectClose(bonWinRate(n), winRate, 1e-12);
    }
  });
});

describe("pooled estimator", () => {
  it("meets the values for the cache [1, 2, 2, 3] at n = 4", () => {
    const cases: [below: number, atMost: number, want: number][] = [
      [0, 0, -4.828314],
      [0, 1, -2.748872],
      [1, 3, -0.385662],
      [3, 3, 0.336472],
      [3, 4, 0.777488],
      [4, 4, 1.082483],
    ];
    for (const [below, atMost, want] of cases)
      expect(pooledLogRatio(4, below, atMost, 4)).toBeCloseTo(want, 6);
  });

  it("trap 44: averages e^R to exactly 1 over untied ranks, is 0 for constant rewards, and never exceeds log(M+1)", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 300 }),
        fc.double({ min: 1, max: 600, noNaN: true }),
        (size, n) => {
          let sum = 0;
          for (let k = 0; k <= size; k++) {
            const ratio = pooledLogRatio(n, k, k, size);
            expect(ratio).toBeLessThanOrEqual(Math.log(size + 1) + 1e-12);
            sum += Math.exp(ratio);
          }
          expectClose(sum / (size + 1), 1, 1e-10);
          expect(pooledLogRatio(n, 0, size, size)).toBe(0);
        },
      ),
    );
  });

  it("shows by how much the code's own estimator misses that mean", () => {
    const mean = (n: number, size: number): number => {
      const terms = Array.from({ length: size + 1 }, (_, k) => n * ((k + 1) / (size + 1)) ** (n - 1));
      return terms.reduce((sum, x) => sum + x, 0) / (size + 1);
    };
    expect(mean(2, 5)).toBeCloseTo(1.167, 3);
    expect(mean(100, 200)).toBeCloseTo(1.27, 2);
    expect(mean(512, 200)).toBeCloseTo(2.76, 2);
  });
});

function expectRelative(got: number, want: number, relative: number, what: string): void {
  if (!Number.isFinite(want)) return expect(got, what).toBe(want);
  expect(Math.abs(got - want), `${what}: got ${got}, want ${want}`).toBeLessThanOrEqual(
    relative * Math.abs(want),
  );
}
