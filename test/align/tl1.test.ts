import { describe, expect, it } from "vitest";
import { createCdf } from "../../src/align/best-of-n/cdf.ts";
import {
  logPiBon,
  looseBoundIntegrand,
  lowerBoundLeReward,
  lowerBoundReward,
} from "../../src/align/best-of-n/log-bon.ts";
import { distributionKl, tokenKl } from "../../src/align/kl.ts";
import {
  findObjective,
  type Objective,
  type ObjectiveSettings,
  objectives,
  resolveSettings,
} from "../../src/align/objectives/index.ts";
import { tokenRewards } from "../../src/align/update/reward-shaping.ts";
import { clippedSurrogate } from "../../src/align/update/surrogate.ts";
import { bonKlBound } from "../../src/evaluate/bon-curve.ts";
import { expectAllClose, expectClose } from "../support/golden.ts";
import {
  ascend,
  expectation,
  logSoftmax,
  optimum,
  regularised,
  stringKl,
  stringLogprobs,
  tableOf,
  tokenLogprobs,
  total,
} from "../support/string-model.ts";
import { exactF, exactPoint, logRef, model, refTable, rewards, samples } from "../support/tl1.ts";

const F = exactF(rewards);
const bon = (n: number): number[] => logRef.map((p, y) => logPiBon(n, Math.log(F[y] ?? NaN), p));
const J = (logPi: readonly number[], n: number): number => -stringKl(logPi, bon(n));

/** What ascent maximises against KL weight 1: the terminal reward over the KL weight. */
const effective = (objective: Objective, settings: ObjectiveSettings): number[] =>
  samples.map((sample) => objective.terminal(sample, settings) / objective.klWeight(settings));

describe("A.1: the model", () => {
  it("has the exact probabilities, F and Best-of-N probabilities", () => {
    expect(model.strings).toEqual(["", "a", "b", "aa", "ab", "ba", "bb"]);
    expectAllClose(logRef.map(Math.exp), [1 / 5, 1 / 8, 3 / 50, 1 / 8, 1 / 4, 3 / 25, 3 / 25], 1e-14);
    expectAllClose(F, [9 / 50, 63 / 100, 3 / 25, 7 / 8, 19 / 50, 151 / 200, 0], 1e-14);
    expectAllClose(
      bon(2).map(Math.exp),
      [14 / 125, 277 / 1600, 9 / 500, 15 / 64, 101 / 400, 489 / 2500, 9 / 625],
      1e-14,
    );
    const four = [
      1547 / 78125,
      10713529 / 64000000,
      1053 / 1250000,
      1695 / 4096,
      546713 / 4000000,
      13062657 / 50000000,
      81 / 390625,
    ];
    expectAllClose(bon(4).map(Math.exp), four, 1e-14);
    const sixteen = [
      1.8903175e-7, 0.0105310132, 1.21254647e-12, 0.881932913, 6.1562388e-4, 0.106920261, 1.84884259e-15,
    ];
    bon(16).forEach((x, y) => expect(Math.abs(Math.exp(x) / (sixteen[y] ?? NaN) - 1)).toBeLessThan(5e-9));
  });

  it("trap 6: pi_bon sums to 1 for every n", () => {
    for (const n of [1, 2, 4, 16, 101, 3.5])
      expect(Math.abs(total(bon(n).map(Math.exp)) - 1)).toBeLessThan(1e-12);
  });

  it("has the table's E[log F] for M = 10 cached samples", () => {
    const cdf = createCdf(Array.from({ length: 10 }, (_, i) => i));
    const choose = (k: number): number => (k === 0 ? 1 : (choose(k - 1) * (11 - k)) / k);
    const expected = F.map((p) =>
      total(
        Array.from({ length: 11 }, (_, k) => choose(k) * p ** k * (1 - p) ** (10 - k) * cdf.at(k - 0.5).logF),
      ),
    );
    const want = [-1.47278783, -0.43417849, -1.72188056, -0.12681427, -0.88797077, -0.26572705, -2.39789527];
    expectAllClose(expected, want, 5e-9);
  });

  it("has the table's gradients of J at the reference", () => {
    const reward = effective(findObjective("vbon"), resolveSettings({ n: 4 }));
    const mean = expectation(logRef, reward);
    const overStrings = logRef.map((p, y) => Math.exp(p) * ((reward[y] ?? NaN) - mean));
    const strings = [
      -0.1918694956, 0.2056591175, -0.1747582641, 0.3187900676, 0.187343963, 0.2557446271, -0.6009100155,
    ];
    expectAllClose(overStrings, strings, 1e-10);
    const { gradient } = regularised(model, refTable, reward, logRef);
    const tokens = [
      [0.711793148, -0.5199236525, -0.1918694956],
      [0.1408417806, -0.1685526111, 0.0277108305],
      [0.4637140881, -0.3929405545, -0.0707735336],
    ];
    tokens.forEach((row, i) => expectAllClose(gradient[i] ?? [], row, 1e-10));
  });
});

describe("A.2: Best-of-N for each n", () => {
  it.each([
    [1, 0, 0.416925, 0.16615, 0.5, 0.565, 0],
    [2, 0.1846527238, 0.580094875, 0.1627425, 0.661466125, 1.3469, -0.2622279073],
    [4, 0.6142980245, 0.7204015972, 0.1422078428, 0.7915055186, 1.9984422538, -1.3532071461],
    [16, 1.6810289861, 0.8592846053, 0.1245423659, 0.9215557882, 2.8704780859, -9.6488675938],
    [101, 2.0794214713, 0.8749998333, 0.1249999931, 0.9374998298, 2.9999986106, -70.6013752756],
  ])("n = %d: KL, wins, ties, reward, J of the reference", (n, kl, strict, tie, win, reward, j) => {
    const logPi = bon(n);
    const ties = expectation(logPi, logRef.map(Math.exp));
    expectClose(stringKl(logPi, logRef), kl, 1e-10);
    expect(kl).toBeLessThanOrEqual(bonKlBound(n));
    expectAllClose(
      [expectation(logPi, F), ties, expectation(logPi, F) + ties / 2],
      [strict, tie, win],
      1e-10,
    );
    expectClose(expectation(logPi, rewards), reward, 1e-10);
    expectClose(J(logRef, n), j, 1e-10);
  });

  it("has the token conditionals of pi_bon(4)", () => {
    const table = tableOf(model, bon(4)).map((row) => row.map(Math.exp));
    expectAllClose(table[0] ?? [], [0.7178955, 0.2623029, 0.0198016], 1e-7);
    expectAllClose(table[1] ?? [], [0.576432586, 0.190387389, 0.233180025], 1e-9);
    expectAllClose(table[2] ?? [], [0.995997909, 0.000790536, 0.003211554], 1e-9);
  });
});

describe("A.3: optima, bounds, KL estimators, ties", () => {
  const best = (name: string, n: number): { logPi: number[]; logZ: number } =>
    optimum(effective(findObjective(name), resolveSettings({ n })), logRef);

  it("exact: the optimum is pi_bon with value 0", () => {
    for (const n of [2, 4, 16, 3.5]) {
      const { logPi, logZ } = best("vbon", n);
      expectClose(logZ, 0, 1e-12);
      expectAllClose(logPi, bon(n), 1e-12);
    }
  });

  it("L and Lle", () => {
    expectClose(best("vbon-l", 2).logZ, -0.8748489295, 1e-10);
    expectClose(J(best("vbon-l", 2).logPi, 2), -0.0223144666, 1e-10);
    const four = best("vbon-l", 4);
    const wantL = [0.006421901, 0.172086885, 0.000570836, 0.461052398, 0.075527813, 0.284340167, 0];
    expectAllClose(four.logPi.map(Math.exp), wantL, 1e-9);
    expectClose(four.logZ, -1.705792138, 1e-10);
    expectClose(J(four.logPi, 4), -0.0264128001, 1e-10);
    const lle = best("vbon-lle", 4);
    const wantLle = [
      0.032933393, 0.161438294, 0.001050085, 0.375116101, 0.187593311, 0.241246542, 0.000622273,
    ];
    expectAllClose(lle.logPi.map(Math.exp), wantLle, 1e-9);
    expectClose(lle.logZ, -1.0989218435, 1e-10);
    expectClose(J(lle.logPi, 4), -0.0151634344, 1e-10);
    expectClose(stringKl(lle.logPi, logRef), 0.50118727, 1e-8);
    // The mean reward of the nine-digit probabilities above.
    expectClose(expectation(lle.logPi, rewards), total(wantLle.map((p, y) => p * (rewards[y] ?? NaN))), 1e-8);
  });

  it("KL-RL", () => {
    const at = (beta: number): { logPi: number[]; logZ: number } =>
      optimum(effective(findObjective("ppo"), resolveSettings({ beta })), logRef);
    const want = [0.04558241, 0.077441149, 0.005030649, 0.572216992, 0.093940862, 0.202086593, 0.003701345];
    expectAllClose(at(1).logPi.map(Math.exp), want, 5e-9);
    expectClose(at(1).logZ, 1.4787954614, 1e-10);
    expectClose(0.5 * at(0.5).logZ, 2.0370190341, 1e-10);
    expectClose(expectation(at(1).logPi, rewards), 2.23281, 1e-5);
  });

  it("trap 8: the release's scaling ends away from pi_bon", () => {
    const released = (n: number): number[] =>
      optimum(effective(findObjective("vbon"), resolveSettings({ n, compat: "vbon-release" })), logRef).logPi;
    const facts = (n: number): number[] => [
      stringKl(released(n), bon(n)),
      stringKl(released(n), logRef),
      expectation(released(n), rewards),
    ];
    expectAllClose(facts(2), [0.04493906, 0.06434857, 1.0314824], 1e-8);
    expectAllClose(facts(4), [0.02319448, 0.46368548, 1.80659942], 1e-8);
  });

  it("orders the bounds: L1 <= L <= L + log n <= J, L <= Lle <= J <= Lle + log n", () => {
    const mass = 1 - Math.exp(logRef[6] ?? NaN);
    const restricted = logRef.map((p, y) => (y === 6 ? -Infinity : p - Math.log(mass)));
    const logF = F.map(Math.log);
    const l =
      expectation(
        restricted,
        logF.map((f) => lowerBoundReward(4, f)),
      ) - stringKl(restricted, logRef);
    const l1 = expectation(
      restricted,
      logF.map((f, y) => looseBoundIntegrand(4, f, logRef[y] ?? NaN) - (restricted[y] ?? NaN)),
    );
    expectClose(J(restricted, 4), -0.79818823, 1e-8);
    expectAllClose([l + Math.log(4), l, l1], [-1.53781809, -2.92411245, -22.20223294], 1e-8);
    const lle = expectation(
      logRef,
      logF.map((f, y) => lowerBoundLeReward(4, f, logRef[y] ?? NaN)),
    );
    expectAllClose([lle, J(logRef, 4), lle + Math.log(4)], [-2.15249598, -1.35320715, -0.76620161], 1e-8);
  });

  it("trap 11: stepwise KL over response tokens, end token included, is the sequence KL; spreads of the estimators", () => {
    const logPi = bon(4);
    const table = tableOf(model, logPi);
    const ours = tokenLogprobs(model, table);
    const theirs = tokenLogprobs(model, refTable);
    expectClose(total(stringLogprobs(model, table).map(Math.exp)), 1, 1e-14);
    const perToken = (estimator: "k1" | "k2" | "k3"): number[] =>
      ours.map((row, y) => total(row.map((x, t) => tokenKl(x - (theirs[y]?.[t] ?? NaN), estimator))));
    const stepwise = model.paths.map((path) =>
      total(path.map(({ prefix }) => distributionKl(table[prefix] ?? [], refTable[prefix] ?? []))),
    );
    const spread = (values: number[]): number => {
      const mean = expectation(logPi, values);
      return Math.sqrt(
        expectation(
          logPi,
          values.map((x) => (x - mean) ** 2),
        ),
      );
    };
    const all = [perToken("k1"), perToken("k2"), perToken("k3"), stepwise];
    expectAllClose(
      all.map((x) => expectation(logPi, x)),
      [0.61429802, 0.43071874, 0.61429802, 0.61429802],
      1e-8,
    );
    expectAllClose(all.map(spread), [0.753349, 0.503201, 7.417172, 0.273996], 1e-6);
  });

  it("trap 6: with ties, the random and lexicographic modes sum to 1, strict F does not", () => {
    const binary = rewards.map((_, y) => (["a", "aa", "ba"].includes(model.strings[y] ?? "") ? 1 : 0));
    const below = exactF(binary);
    const group = binary.map((r) => total(logRef.map((p, z) => (binary[z] === r ? Math.exp(p) : 0))));
    const random = samples.map((sample, y) => {
      const point = exactPoint(below[y] ?? NaN, group[y] ?? NaN);
      const ratio = findObjective("vbon").terminal({ ...sample, cdf: point }, { n: 4, klCoef: 1, scale: 1 });
      return Math.exp(ratio + (logRef[y] ?? NaN));
    });
    expectAllClose(random, [0.050009, 0.284618, 0.015003, 0.284618, 0.062512, 0.273234, 0.030006], 1e-6);
    expectClose(total(random), 1, 1e-14);
    const order = model.strings
      .map((s, y) => ({ s, y }))
      .sort((p, q) => (binary[p.y] ?? 0) - (binary[q.y] ?? 0) || (p.s < q.s ? -1 : 1));
    const lexicographic = model.strings.map(() => NaN);
    order.reduce((before, { y }) => {
      lexicographic[y] = Math.exp(logPiBon(4, Math.log(before), logRef[y] ?? NaN));
      return Math.min(1, before + Math.exp(logRef[y] ?? NaN));
    }, 0);
    expectAllClose(lexicographic, [0.0016, 0.167399, 0.026646, 0.274767, 0.039406, 0.400305, 0.089878], 1e-6);
    expectClose(total(lexicographic), 1, 1e-14);
    const strict = total(below.map((f, y) => Math.exp(logPiBon(4, Math.log(f), logRef[y] ?? NaN))));
    expectClose(strict, 0.49940099, 1e-8);
  });
});

describe("A.4: exact gradient ascent, lr .5, from the reference", () => {
  it.each([
    ["vbon", 4, { 1: -0.84400923, 10: -0.20867897, 100: -0.00882072, 1000: -0.00018337, 5000: -0.00001393 }],
    ["vbon-lle", 4, { 1: -1.76462454, 100: -1.10582839, 5000: -1.0989226 }],
    ["ppo", 2, { 1: 0.74320925, 100: 1.47649246, 5000: 1.47879546 }],
  ] as const)("%s follows the table", (name, n, want: Record<number, number>) => {
    const reward = effective(findObjective(name), resolveSettings({ n }));
    const seen: Record<number, number> = {};
    const table = ascend(model, refTable, reward, logRef, 5000, 0.5, (step, value) => {
      if (step in want) seen[step] = value;
    });
    expect(Object.keys(seen)).toEqual(Object.keys(want));
    for (const [step, value] of Object.entries(want))
      expectClose(seen[Number(step)] ?? NaN, value, 1e-8, `step ${step}`);
    const logPi = stringLogprobs(model, table);
    expect(stringKl(logPi, optimum(reward, logRef).logPi)).toBeLessThan(2e-5);
    if (name !== "vbon") return;
    // Trap 8: this ascent ends at pi_bon(4).
    expect(stringKl(logPi, bon(4))).toBeLessThan(2e-5);
    expectClose(expectation(logPi, rewards), 1.99832866, 1e-8);
    expectClose(stringKl(logPi, logRef), 0.61408831, 1e-8);
  });
});

describe("per-token rewards", () => {
  const policy = logSoftmax([
    [0.3, -0.2, 0.1],
    [-1, 0.5, 0.2],
    [0.4, 0.1, -0.6],
  ]);
  const ours = tokenLogprobs(model, policy);
  const theirs = tokenLogprobs(model, refTable);
  const shaped = (y: number, objective: Objective, settings: ObjectiveSettings): Float64Array => {
    const sample = samples[y];
    if (!sample) throw new Error(`no string ${y}`);
    const [terminal, klWeight] = [objective.terminal(sample, settings), objective.klWeight(settings)];
    return tokenRewards({ logprobs: ours[y] ?? [], refLogprobs: theirs[y] ?? [], terminal, klWeight });
  };

  it("trap 9: sum to (log pi_bon - log pi)/s for every string and any scale", () => {
    for (const settings of [resolveSettings({ n: 4 }), resolveSettings({ n: 3.5, scale: 1 })]) {
      const s = settings.scale ?? settings.n;
      const sums = model.strings.map((_, y) => s * total([...shaped(y, findObjective("vbon"), settings)]));
      const want = bon(settings.n).map((x, y) => x - total(ours[y] ?? []));
      expectAllClose(sums, want, 1e-9);
    }
  });

  it("trap 35: F = 0 gives no NaN, and -Infinity is refused by name", () => {
    expect(shaped(6, findObjective("Lle"), resolveSettings({ n: 4 })).every(Number.isFinite)).toBe(true);
    expect(shaped(6, findObjective("exact"), resolveSettings({ n: 4 })).every(Number.isFinite)).toBe(true);
    expect(() => shaped(6, findObjective("L"), resolveSettings({ n: 4 }))).toThrow(
      /terminal reward is -Infinity/,
    );
  });

  it("trap 45: at n = 1 every vBoN objective is -KL alone", () => {
    const settings = resolveSettings({ n: 1 });
    for (const objective of objectives.filter((o) => o.needsCache && o.name.startsWith("vbon"))) {
      expect(samples.map((sample) => objective.terminal(sample, settings))).toEqual(samples.map(() => 0));
      expect(objective.klWeight(settings)).toBe(1);
      const table = ascend(model, refTable, effective(objective, settings), logRef, 10, 0.5);
      expect(stringKl(stringLogprobs(model, table), logRef)).toBeLessThan(1e-15);
    }
  });

  it("trap 10: prompts of different lengths with the same conditionals give the same rewards", () => {
    const promptLogprobs = { short: [-1.5], long: [-0.2, -3, -4] };
    const rewardsOf = (prompt: number[]): Float64Array => {
      const whole = [...prompt, ...(ours[3] ?? [])];
      const refWhole = [...prompt.map((x) => x - 1), ...(theirs[3] ?? [])];
      const at = prompt.length;
      return tokenRewards({
        logprobs: whole.slice(at),
        refLogprobs: refWhole.slice(at),
        terminal: 0.5,
        klWeight: 0.25,
      });
    };
    expect(rewardsOf(promptLogprobs.short)).toEqual(rewardsOf(promptLogprobs.long));
  });

  it("trap 24: ratios leave 1 after a step, and a large step is clipped", () => {
    const reward = effective(findObjective("vbon"), resolveSettings({ n: 4 }));
    const tokensAfter = (lr: number): number[] =>
      tokenLogprobs(model, ascend(model, refTable, reward, logRef, 1, lr)).flat();
    const old = theirs.flat();
    const clipFrac = (lr: number): number =>
      total(tokensAfter(lr).map((x, i) => (clippedSurrogate(x, old[i] ?? NaN, 1, 0.2).clipped ? 1 : 0))) /
      old.length;
    expect(tokensAfter(0.5).every((x, i) => x !== old[i])).toBe(true);
    expect(clipFrac(0.001)).toBe(0);
    expect(clipFrac(5)).toBeGreaterThan(0.2);
  });
});
