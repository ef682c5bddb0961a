import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  distributionKl,
  type KlController,
  type KlEstimator,
  noMoments,
  sampleStd,
  sequenceKl,
  tokenKl,
  updateKlController,
  updateMoments,
} from "../../src/align/kl.ts";
import { expectAllClose, expectClose, golden } from "../support/golden.ts";
import { logSoftmax } from "../support/string-model.ts";

interface KlFixture {
  mask: number[][];
  logp: number[][];
  logq: number[][];
  estimators: Record<KlEstimator, { per_token: number[][]; row_sums: number[] }>;
  logits_p: number[][][];
  logits_q: number[][][];
  full: { temperature: number; kl_per_token: number[][] }[];
}
const fixture = golden<KlFixture>("kl_entropy.json");
const length = (row: number): number => (fixture.mask[row] ?? []).reduce((sum, m) => sum + m, 0);

describe("KL estimators", () => {
  it.each(["k1", "k2", "k3"] as const)("%s meets the golden tokens and rows", (estimator) => {
    const want = fixture.estimators[estimator];
    fixture.logp.forEach((row, i) => {
      const [logp, logq] = [row.slice(0, length(i)), (fixture.logq[i] ?? []).slice(0, length(i))];
      const tokens = logp.map((x, t) => tokenKl(x - (logq[t] ?? NaN), estimator));
      expectAllClose(tokens, (want.per_token[i] ?? []).slice(0, length(i)), 1e-14);
      expectClose(sequenceKl(logp, logq, estimator), want.row_sums[i] ?? NaN, 1e-14);
    });
  });

  it("k3 keeps its digits near 0 and is never negative", () => {
    expectClose(tokenKl(1e-6, "k3") / 5e-13, 1, 1e-3);
    fc.assert(fc.property(fc.double({ min: -20, max: 20, noNaN: true }), (l) => tokenKl(l, "k3") >= -1e-15));
  });

  it("the full-vocabulary KL meets the golden at both temperatures", () => {
    for (const { temperature, kl_per_token: want } of fixture.full) {
      const at = (logits: number[][]): number[][] =>
        logSoftmax(logits.map((row) => row.map((z) => z / temperature)));
      fixture.logits_p.forEach((row, i) => {
        const [p, q] = [at(row), at(fixture.logits_q[i] ?? [])];
        const got = p.map((logP, t) => distributionKl(logP, q[t] ?? []));
        expectAllClose(got.slice(0, length(i)), (want[i] ?? []).slice(0, length(i)), 1e-12);
      });
    }
  });

  it("trap 25: on-policy, k1 has gradient 0, k3 that of KL(ref || pi), k2 the right one", () => {
    const pi = [0.5, 0.3, 0.2];
    const ref = [0.2, 0.3, 0.5];
    const gradient = (estimator: KlEstimator): number[] => {
      const logits = pi.map(Math.log);
      // Samples are fixed, as in a loss: pi weighs, only the log-probability inside the estimator moves.
      const loss = (z: number[]): number => {
        const logs = logSoftmax([z])[0] ?? [];
        return pi.reduce(
          (sum, p, y) => sum + p * tokenKl((logs[y] ?? NaN) - Math.log(ref[y] ?? NaN), estimator),
          0,
        );
      };
      return logits.map((_, i) => {
        const moved = (h: number): number => loss(logits.map((z, j) => (i === j ? z + h : z)));
        return (moved(1e-4) - moved(-1e-4)) / 2e-4;
      });
    };
    expectAllClose(gradient("k1"), [0, 0, 0], 1e-8);
    expectAllClose(gradient("k2"), [0.320702, -0.082466, -0.238236], 1e-6);
    expectAllClose(gradient("k3"), [0.3, 0, -0.3], 1e-6);
  });

  it("refuses rows of different lengths", () => {
    expect(() => sequenceKl([1], [1, 2], "k1")).toThrow(/1 logprobs and 2 refLogprobs/);
  });
});

describe("KL controller and running moments", () => {
  const { adaptive_kl: adaptive, running_moments: moments } = golden<{
    adaptive_kl: {
      initial: number;
      target: number;
      horizon: number;
      n_steps: number;
      updates: { current_kl: number; coefficient_after: number }[];
    };
    running_moments: {
      batches: number[][];
      after_each_batch: { mean: number; variance_population: number; std_sample: number; count: number }[];
    };
  }>("controllers.json");

  it("adapts as the golden does", () => {
    let controller: KlController = {
      klCoef: adaptive.initial,
      target: adaptive.target,
      horizon: adaptive.horizon,
    };
    for (const update of adaptive.updates) {
      controller = updateKlController(controller, update.current_kl, adaptive.n_steps);
      expectClose(controller.klCoef, update.coefficient_after, 1e-15);
    }
  });

  it("stays fixed without a target, and refuses a KL that is not finite", () => {
    expect(updateKlController({ klCoef: 0.2 }, 100, 10)).toEqual({ klCoef: 0.2 });
    expect(() => updateKlController({ klCoef: 0.2, target: 6 }, NaN, 10)).toThrow(/mean KL is NaN/);
    expect(() => updateKlController({ klCoef: 0.2, target: 0 }, 1, 10)).toThrow(/above 0/);
  });

  it("keeps the moments of everything seen", () => {
    let seen = noMoments;
    moments.batches.forEach((batch, i) => {
      seen = updateMoments(seen, batch);
      const want = moments.after_each_batch[i];
      expectAllClose(
        [seen.mean, seen.variance, sampleStd(seen), seen.count],
        [want?.mean ?? NaN, want?.variance_population ?? NaN, want?.std_sample ?? NaN, want?.count ?? NaN],
        1e-13,
      );
    });
    expect(updateMoments(seen, [])).toBe(seen);
    expect(sampleStd(noMoments)).toBe(0);
  });
});
