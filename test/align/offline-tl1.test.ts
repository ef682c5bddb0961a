/** Offline objectives through the trainer on TL-1: where a policy ends, against where theory or exact descent says. */
import { afterAll, describe, expect, it } from "vitest";
import { findOffline } from "../../src/align/objectives/index.ts";
import { createLevel, type Level, mismatched } from "../../src/align/offline/level.ts";
import type { StepRecord } from "../../src/train/metrics.ts";
import { testDevice } from "../support/device.ts";
import {
  bestLaw,
  descend,
  entries,
  groupLaw,
  gumbelNoise,
  offlineRun,
  pairSlope,
  settings,
  trained,
  training,
} from "../support/offline.ts";
import { logPiBon } from "../../src/align/best-of-n/log-bon.ts";
import * as strings from "../support/string-model.ts";
import * as table from "../support/table-model.ts";
import * as tl1 from "../support/tl1.ts";

const device = await testDevice();
afterAll(() => device.close());

const PROMPTS = 4;
const cached = entries(PROMPTS);
const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** KL(end || exact), nats: a fourth of what tells any two objectives apart at least (the last test). */
const LIMIT = 1e-3;
function expectEnd(logPi: readonly number[], exact: readonly number[], limit = LIMIT): void {
  const kl = strings.stringKl(logPi, exact);
  const show = (x: readonly number[]): string => x.map((l) => Math.exp(l).toFixed(4)).join(" ");
  expect(kl, `KL ${kl}; ends at ${show(logPi)}, exact ${show(exact)}`).toBeLessThan(limit);
}

/** Conservative DPO: d loss / d h. */
const dpoSlope = (beta: number, eps: number) => (h: number) =>
  -beta * (1 - eps) * sigmoid(-beta * h) + beta * eps * sigmoid(beta * h);

/** d loss / d log pi of alpha (-log pi(best)) + (1 - alpha) (h - c)^2, ties left out. */
const bonbonSlope = (n: number, c: number, alpha: number): Parameters<typeof descend>[0] => {
  const pairs = pairSlope(n, (h) => 2 * (1 - alpha) * (h - c));
  const best = groupLaw(n).map((row, y) => strings.total(row) - row[y]!);
  return (logPi) => pairs(logPi).map((g, y) => g - alpha * best[y]!);
};

describe("the law of best and worst", () => {
  it("sums to 1, and is the product law for n = 2", () => {
    expect(strings.total(groupLaw(5).flat())).toBeCloseTo(1, 12);
    const [aa, bb] = [3, 6];
    expect(groupLaw(2)[aa]![bb]).toBeCloseTo((2 * 25 * 24) / (200 * 199), 12);
  });
});

describe("dpo", () => {
  it("ends at the KL-RL optimum where pairs are labelled by Bradley-Terry", async () => {
    const noisy = entries(PROMPTS, gumbelNoise(PROMPTS));
    const logPi = await trained(device, findOffline("dpo")!, {}, noisy, training(PROMPTS, 2));
    expectEnd(logPi, strings.optimum(tl1.rewards, tl1.logRef).logPi);
    expect(Math.abs(strings.expectation(logPi, tl1.rewards) - 2.23281)).toBeLessThan(0.03);
  });

  it.each([
    { n: 2, beta: 1, labelSmoothing: 0.2 },
    { n: 4, beta: 0.5, labelSmoothing: 0.1 },
  ])("with label smoothing ends at the exact minimum: %o", async (some) => {
    const logPi = await trained(device, findOffline("dpo")!, some, cached, training(PROMPTS, some.n));
    expectEnd(logPi, descend(pairSlope(some.n, dpoSlope(some.beta, some.labelSmoothing))));
  });
});

describe("ipo", () => {
  it("on pairs of two ends at pi_ref exp(win / beta), in closed form", async () => {
    const beta = 0.5;
    const win = tl1.exactF(tl1.rewards).map((f, y) => f + Math.exp(tl1.logRef[y]!) / 2);
    const exact = strings.optimum(
      win.map((w) => w / beta),
      tl1.logRef,
    ).logPi;
    expectEnd(exact, descend(pairSlope(2, (h) => 2 * (h - 1))), 1e-12);
    expectEnd(await trained(device, findOffline("ipo")!, { beta }, cached, training(PROMPTS, 2)), exact);
  });

  it("on the best and the worst of four ends at the exact minimum", async () => {
    const some = { n: 4, beta: 0.25 };
    const logPi = await trained(device, findOffline("ipo")!, some, cached, training(PROMPTS, 4));
    expectEnd(logPi, descend(pairSlope(4, (h) => 2 * (h - 2))));
  });
});

describe("bonbon", () => {
  it.each([
    { n: 4, c: 5.5, alpha: 0.005 },
    { n: 4, c: 5.5, alpha: 0.8 },
    { n: 2, c: 1, alpha: 0.5 },
  ])("ends at the exact minimum: %o", async ({ n, c, alpha }) => {
    const how = training(PROMPTS, n, { passes: 250 });
    const logPi = await trained(device, findOffline("bonbon")!, { n, alpha }, cached, how);
    expectEnd(logPi, descend(bonbonSlope(n, c, alpha), 60_000, 0.05));
  });

  it("with alpha = auto ends where both terms contribute equally", async () => {
    const run = await offlineRun(device, findOffline("bonbon")!, { n: 2, alpha: "auto" }, cached, {
      ...training(PROMPTS, 2),
    });
    const records: StepRecord[] = [];
    await run.training.run({ onRecord: (r) => void records.push(r) });
    const first = records[0]!;
    const nll = -strings.total(groupLaw(2).map((row, y) => (strings.total(row) - row[y]!) * tl1.logRef[y]!));
    const untied = 1 - strings.total(groupLaw(2).map((row, y) => row[y]!));
    expect(first["alpha"]).toBeCloseTo(1 / (1 + nll / untied), 1);
    const late = (name: string): number =>
      strings.total(records.slice(-40).map((r) => (r as unknown as Record<string, number>)[name]!)) / 40;
    const alpha = late("alpha");
    expect((alpha * late("nll")) / ((1 - alpha) * late("ipo"))).toBeCloseTo(1, 1);
    run.dispose();
  });
});

describe("kto", () => {
  const beta = 1;
  const law = groupLaw(4).map((row, y) => row.map((w, r) => (y === r ? 0 : w)));
  const best = law.map(strings.total);
  const worst = law.map((_, y) => strings.total(law.map((row) => row[y]!)));
  const bell = (x: number): number => sigmoid(x) * (1 - sigmoid(x));
  const slope = (desirable: number) => (logPi: readonly number[]) => {
    const ratio = logPi.map((x, y) => x - tl1.logRef[y]!);
    const both = strings.total(ratio.map((x, y) => x * (best[y]! + worst[y]!)));
    const z = Math.max(0, both / strings.total([...best, ...worst]));
    return ratio.map((x, y) => (worst[y]! - desirable * best[y]!) * (beta / 2) * bell(beta * (x - z)));
  };

  it("ends where exact descent does", async () => {
    const logPi = await trained(device, findOffline("kto")!, { n: 4, beta }, cached, training(PROMPTS, 4));
    // The limit gives some strings nothing, which a run approaches as the logarithm of time: hence KL(exact || end).
    const exact = descend(slope(1), 200_000, 1);
    expectEnd(exact, logPi, 1e-2);
  });
});

describe("the level of a step", () => {
  const examples = [3, 5, 1].map((y) => ({
    chosen: { query: [table.BOS], response: table.responseOf(y), refLogprob: tl1.logRef[y]! },
    rejected: { query: [table.BOS], response: table.responseOf(0), refLogprob: tl1.logRef[0]! },
    tied: y === 1,
  }));

  it("of kto is the mean log-ratio of the step's responses to the next example's prompt, at least 0", async () => {
    for (const [some, want] of [
      [
        [0.1, 0.1, 0.1, 0.4, 0.1, 0.1, 0.1],
        (Math.log(0.4 / 0.125) + Math.log(0.1 / 0.12)) / 4 + Math.log(0.5) / 2,
      ],
      [
        [0.3, 0.1, 0.1, 0.2, 0.1, 0.1, 0.1],
        (Math.log(0.2 / 0.125) + Math.log(0.1 / 0.12)) / 4 + Math.log(1.5) / 2,
      ],
    ] as const) {
      const policy = table.tableModel(device, strings.tableOf(tl1.model, some.map(Math.log)));
      const level = createLevel({
        objective: findOffline("kto")!,
        settings,
        policy,
        refPolicy: table.tableModel(device),
        temperature: 1,
        batch: 2,
      });
      expect(await level.at(examples)).toBeCloseTo(Math.max(0, want), 5);
      level.dispose();
    }
    const prompts = examples.map((e, i) => ({ ...e, chosen: { ...e.chosen, query: [i] } }));
    expect(mismatched(prompts).map(({ query }) => query[0])).toEqual([1, 1, 2, 2, 0, 0]);
  });

  it("of bonbon with alpha = auto is remembered by a checkpoint", async () => {
    const make = (): Level => {
      const who = { policy: table.tableModel(device), refPolicy: table.tableModel(device), temperature: 1 };
      const objective = findOffline("bonbon")!;
      return createLevel({ objective, settings: { ...settings, n: 4, alpha: "auto" }, ...who, batch: 2 });
    };
    const [one, other] = [make(), make()];
    const nll = -strings.total([3, 5, 1].map((y) => tl1.logRef[y]!)) / 3;
    expect(await one.at(examples)).toBeCloseTo(5.5 ** 2 / (5.5 ** 2 + nll), 12);
    one.hear!([1, 0.5]);
    one.hear!([2, 0.5]);
    other.memory = one.memory;
    const next = await one.at(examples);
    const [ipo, kept] = [0.9 * 5.5 ** 2 + 0.1 * 3, 0.9 * nll + 0.1];
    expect(next).toBeCloseTo(ipo / (ipo + kept), 12);
    expect(await other.at(examples)).toBe(next);
  });
});

describe("bon-sft", () => {
  it("ends at the law of the best of n, which is pi_bon but for draws without replacement", async () => {
    const exact = bestLaw(4).map(Math.log);
    const F = tl1.exactF(tl1.rewards);
    const bon = tl1.logRef.map((p, y) => logPiBon(4, Math.log(F[y]!), p));
    expect(strings.stringKl(exact, bon)).toBeLessThan(2e-4);
    const how = { minibatch: 50 * PROMPTS, microBatch: 50 * PROMPTS };
    const logPi = await trained(device, findOffline("bon-sft")!, { n: 4 }, cached, training(PROMPTS, 4, how));
    expectEnd(logPi, exact);
  });
});

describe("end points", () => {
  it("of any two objectives lie far apart, so that one in place of another is found out", () => {
    const ends = {
      "dpo, Bradley-Terry": strings.optimum(tl1.rewards, tl1.logRef).logPi,
      "dpo, smoothing 0.1": descend(pairSlope(4, dpoSlope(0.5, 0.1))),
      "ipo, beta 0.25": descend(pairSlope(4, (h) => 2 * (h - 2))),
      "bonbon, alpha 0.005": descend(bonbonSlope(4, 5.5, 0.005), 60_000, 0.05),
      "bonbon, alpha 0.8": descend(bonbonSlope(4, 5.5, 0.8), 60_000, 0.05),
      "bon-sft": bestLaw(4).map((p) => Math.log(p)),
      reference: tl1.logRef,
    };
    const close = Object.entries(ends).flatMap(([one, p]) =>
      Object.entries(ends)
        .filter(([other, q]) => one !== other && strings.stringKl(p, q) < 4 * LIMIT)
        .map(([other]) => `${one} and ${other}`),
    );
    expect(close).toEqual([]);
  });
});
