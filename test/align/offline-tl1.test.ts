/** Offline objectives through the trainer on TL-1: where a policy ends, against where theory or exact descent says. */
import { afterAll, describe, expect, it } from "vitest";
import { findOffline } from "../../src/align/objectives/index.ts";
import { testDevice } from "../support/device.ts";
import {
  bestLaw,
  descend,
  entries,
  groupLaw,
  gumbelNoise,
  pairSlope,
  trained,
  training,
} from "../support/offline.ts";
import { logPiBon } from "../../src/align/log-bon.ts";
import * as strings from "../support/string-model.ts";
import * as tl1 from "../support/tl1.ts";

const device = await testDevice();
afterAll(() => device.close());

const PROMPTS = 8;
const cached = entries(PROMPTS);
const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** KL(end || exact), nats: far below what tells any two objectives apart (the last test). */
const LIMIT = 2e-3;
function expectEnd(logPi: readonly number[], exact: readonly number[], limit = LIMIT): void {
  const kl = strings.stringKl(logPi, exact);
  const show = (x: readonly number[]): string => x.map((l) => Math.exp(l).toFixed(4)).join(" ");
  expect(kl, `KL ${kl}; ends at ${show(logPi)}, exact ${show(exact)}`).toBeLessThan(limit);
}

/** Conservative DPO: d loss / d h. */
const dpoSlope = (beta: number, eps: number) => (h: number) =>
  -beta * (1 - eps) * sigmoid(-beta * h) + beta * eps * sigmoid(beta * h);

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
