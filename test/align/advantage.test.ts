import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { gae, whiten, type WhitenOptions } from "../../src/align/update/advantage.ts";
import { clippedSurrogate, clippedValueLoss } from "../../src/align/update/surrogate.ts";
import { expectAllClose, expectClose, golden } from "../support/golden.ts";

interface Case {
  gamma: number;
  lam: number;
  lengths: number[];
  values: number[][];
  rewards: number[][];
  advantages: number[][];
  returns: number[][];
  whitened: Record<string, { advantages: number[][] }>;
}
const cases = golden<{ cases: Case[] }>("gae.json").cases;
const ragged = (rows: number[][], lengths: number[]): number[][] =>
  rows.map((row, i) => row.slice(0, lengths[i]));
const expectRows = (got: Float64Array[], want: number[][]): void =>
  got.forEach((row, i) => expectAllClose(row, want[i] ?? [], 1e-12));

const rewards = [-0.01, 0.02, 1];
const values = [0.5, 0.2, 0.1];
const trap18 = gae({ rewards: [rewards], values: [values], gamma: 1, lam: 0.95 });

describe("advantages", () => {
  it.each(cases)("meets the golden with garbage in the padding, gamma $gamma, lam $lam", (c) => {
    const got = gae(c);
    expectRows(got.advantages, ragged(c.advantages, c.lengths));
    expectRows(got.returns, ragged(c.returns, c.lengths));
  });

  it.each([
    ["masked_population", {}],
    ["masked_sample", { unbiased: true }],
    ["masked_population_keep_mean", { shiftMean: false }],
  ] as [string, WhitenOptions][])("whitens as %s", (name, options) => {
    for (const c of cases) {
      expectRows(whiten(gae(c).advantages, options), ragged(c.whitened[name]?.advantages ?? [], c.lengths));
    }
  });

  it("trap 18: the reward sits on the last real token, whatever else is in the batch", () => {
    expectAllClose(trap18.advantages[0] ?? [], [0.42625, 0.775, 0.9], 1e-12);
    const after = gae({ rewards: [[-0.01, 0.02, 0, 1]], values: [[...values, 0.7]], gamma: 1, lam: 0.95 });
    expectAllClose((after.advantages[0] ?? []).slice(0, 3), [0.41271, 0.76075, 0.885], 1e-5);
    const numbers = fc.array(fc.double({ min: -9, max: 9, noNaN: true }), { minLength: 4, maxLength: 9 });
    fc.assert(
      fc.property(numbers, (other) => {
        const pad = (row: number[]): number[] => [...row, ...other.slice(3)];
        const batch = {
          rewards: [other, pad(rewards)],
          values: [other, pad(values)],
          lengths: [other.length, 3],
        };
        expect(gae({ ...batch, gamma: 1, lam: 0.95 }).advantages[1]).toEqual(trap18.advantages[0]);
      }),
    );
  });

  it("trap 19: nothing is bootstrapped past the end", () => {
    expectAllClose(trap18.returns[0] ?? [], [0.92625, 0.975, 1], 1e-12);
  });

  it("trap 20: whitening is masked and biased; the other readings are these", () => {
    expectAllClose(whiten(trap18.advantages)[0] ?? [], [-1.367626, 0.372044, 0.995582], 1e-6);
    expectAllClose(
      whiten(trap18.advantages, { unbiased: true })[0] ?? [],
      [-1.116662, 0.303773, 0.812889],
      1e-6,
    );
    const padded = whiten([...trap18.advantages, new Float64Array(2)], { unbiased: true });
    expectAllClose(padded[0] ?? [], [0.014249, 0.842458, 1.139308], 1e-6);
    expect([...(whiten([Float64Array.of(3)], { unbiased: true })[0] ?? [])]).toEqual([0]);
  });

  it("trap 21: returns are those of the advantages before whitening", () => {
    whiten(trap18.advantages);
    expectAllClose(trap18.returns[0] ?? [], [0.92625, 0.975, 1], 1e-12);
    expectAllClose(trap18.advantages[0] ?? [], [0.42625, 0.775, 0.9], 1e-12);
  });

  it("telescopes at lam = 1: the return is the discounted sum of rewards", () => {
    const row = fc.array(fc.double({ min: -5, max: 5, noNaN: true }), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(row, row, fc.double({ min: 0, max: 1, noNaN: true }), (r, v, gamma) => {
        const returns =
          gae({ rewards: [r], values: [r.map((_, t) => v[t] ?? 1)], gamma, lam: 1 }).returns[0] ?? [];
        expectClose(
          returns[0] ?? NaN,
          r.reduce((sum, x, t) => sum + gamma ** t * x, 0),
          1e-11,
        );
      }),
    );
  });

  it("refuses rows that do not fit", () => {
    expect(() => gae({ rewards: [[1]], values: [], gamma: 1, lam: 1 })).toThrow(/values has 0 rows/);
    expect(() => gae({ rewards: [[1]], values: [[1]], lengths: [2], gamma: 1, lam: 1 })).toThrow(
      /its length is 2/,
    );
  });
});

describe("clipped losses", () => {
  it("trap 22: signs and zero gradients of the surrogate", () => {
    const at = (advantage: number, ratio: number): ReturnType<typeof clippedSurrogate> =>
      clippedSurrogate(Math.log(ratio), 0, advantage, 0.2);
    const losses = [at(1, 0.7), at(1, 1.3), at(-1, 0.7), at(-1, 1.3)];
    expectAllClose(
      losses.map((x) => x.loss),
      [-0.7, -1.2, 0.8, 1.3],
      1e-15,
    );
    expectAllClose(
      losses.map((x) => x.gradient),
      [-0.7, 0, 0, 1.3],
      1e-15,
    );
  });

  it("trap 23: the value loss takes the larger error", () => {
    const { loss, gradient } = clippedValueLoss(1, 0.5, 0.6, 0.2);
    expectClose(loss, 0.08, 1e-15);
    expectClose(gradient, 0.4, 1e-15);
  });

  interface PpoCase {
    name: string;
    cliprange: number;
    cliprange_value: number;
    vf_coef: number;
    logprobs: number[][];
    old_logprobs: number[][];
    values: number[][];
    old_values: number[][];
    advantages: number[][];
    returns: number[][];
    mask: number[][];
    loss: number;
    grad_logprobs: number[][];
    grad_values: number[][];
    tie_policy: boolean[][];
    tie_value: boolean[][];
  }
  it.each(golden<{ cases: PpoCase[] }>("ppo.json").cases)("meets the golden PPO loss: $name", (c) => {
    const cell = (rows: number[][], i: number, t: number): number => rows[i]?.[t] ?? NaN;
    const cells = c.mask.flatMap((row, i) => row.flatMap((m, t) => (m === 1 ? [[i, t] as const] : [])));
    let loss = 0;
    for (const [i, t] of cells) {
      const at = (rows: number[][]): number => cell(rows, i, t);
      const pg = clippedSurrogate(at(c.logprobs), at(c.old_logprobs), at(c.advantages), c.cliprange);
      const vf = clippedValueLoss(at(c.values), at(c.old_values), at(c.returns), c.cliprange_value);
      loss += (pg.loss + c.vf_coef * vf.loss) / cells.length;
      if (!c.tie_policy[i]?.[t])
        expectClose(pg.gradient / cells.length, at(c.grad_logprobs), 1e-12, `policy ${i},${t}`);
      if (!c.tie_value[i]?.[t])
        expectClose((c.vf_coef * vf.gradient) / cells.length, at(c.grad_values), 1e-12, `value ${i},${t}`);
    }
    expectClose(loss, c.loss, 1e-12);
  });
});
