/** BOND, J-BOND and online DPO on TL-1: what they are taught, and where the real trainer ends, against enumeration. */
import { afterAll, describe, expect, it } from "vitest";
import { findObjective, resolveSettings } from "../../src/align/objectives/index.ts";
import { functionReward } from "../../src/align/rewards.ts";
import { cacheTeacher } from "../../src/align/teacher.ts";
import { createRandom } from "../../src/tensor/random.ts";
import { tableRun } from "../support/align-run.ts";
import { testDevice } from "../support/device.ts";
import { expectClose } from "../support/golden.ts";
import * as offline from "../support/offline.ts";
import * as strings from "../support/string-model.ts";
import * as table from "../support/table-model.ts";
import * as tl1 from "../support/tl1.ts";

const device = await testDevice();
afterAll(() => device.close());

type Options = Parameters<typeof tableRun>[1];
const long = {
  episodes: 90 * 1024,
  rolloutSize: 1024,
  minibatch: 1024,
  microBatch: 1024,
  lr: 0.1,
  gradClip: 0,
};
const atMost = tl1.exactF(tl1.rewards).map((f, y) => f + Math.exp(tl1.logRef[y]!));

/** log pi of the seven strings when a run ends. */
async function end(options: Options): Promise<number[]> {
  const run = await tableRun(device, options);
  for (let i = 0; i < run.iterations; i++) await run.iterate(i);
  const logPi = strings.stringLogprobs(tl1.model, await table.tableOf(run.policy));
  run.dispose();
  return logPi;
}

function expectEnd(got: readonly number[], want: readonly number[], tolerance: number): void {
  const of = (logPi: readonly number[]): number[] => [
    strings.expectation(logPi, tl1.rewards),
    strings.stringKl(logPi, tl1.logRef),
  ];
  of(got).forEach((x, i) =>
    expect(Math.abs(x - of(want)[i]!), `${of(got)}, exact ${of(want)}`).toBeLessThan(tolerance),
  );
}

/** Hundreds of steps each: seconds alone, more beside other work. */
const LONG = { timeout: 240_000 };

describe("BOND", () => {
  const n = 4;
  /** The optimum for a Jeffreys weight b: 200 cached samples, so that p_<= is (200 atMost + 1)/201. */
  const optimum = (b: number): number[] => {
    const best = offline.bestLaw(n);
    return offline.descend((logPi) =>
      logPi.map((logP, y) => {
        const reward = (n - 1) * Math.log((200 * atMost[y]! + 1) / 201);
        return b * Math.exp(logP) * (logP - tl1.logRef[y]! - reward) - (1 - b) * best[y]!;
      }),
    );
  };
  const options = (b: number): Options => ({
    objective: findObjective("bond"),
    settings: { ...resolveSettings({ n }), jeffreys: b },
    ppo: { ...long, optimizer: "reinforce" },
  });

  it.each([0.5, 1, 0])("ends at the optimum of its divergence, b = %d", LONG, async (b) => {
    expectEnd(await end(options(b)), optimum(b), 0.02);
  });

  it("with b = 1 is the bound L<=, with b = 0 the Best-of-N policy; between them it is neither", () => {
    expectClose(strings.expectation(optimum(1), tl1.rewards), 1.86075, 0.01);
    offline.bestLaw(n).forEach((p, y) => expectClose(Math.exp(optimum(0)[y]!), p, 1e-3));
    const rewards = [1, 0.5, 0].map((b) => strings.expectation(optimum(b), tl1.rewards));
    expect(rewards[1]! - rewards[0]!).toBeGreaterThan(0.04);
    expect(rewards[2]! - rewards[1]!).toBeGreaterThan(0.04);
  });

  it("imitates best responses in the proportions of Best-of-n", async () => {
    const entries = offline.entries(1);
    const teacher = cacheTeacher({ entries, n, missingEos: "none", seed: 0 });
    const lessons = await teacher.teach(
      Array.from({ length: 4000 }, () => 0),
      3,
    );
    const counts = tl1.rewards.map(
      (_, y) => lessons.filter(({ best }) => best.response.join() === table.responseOf(y).join()).length,
    );
    offline
      .bestLaw(n)
      .forEach((p, y) =>
        expect(Math.abs(counts[y]! / 4000 - p)).toBeLessThan(4 * Math.sqrt((p * (1 - p)) / 4000) + 1e-3),
      );
    expect(await teacher.teach([0, 0], 3)).toEqual(lessons.slice(0, 2));
    expect(await teacher.teach([0, 0], 4)).not.toEqual(lessons.slice(0, 2));
  });

  it("refuses what it cannot draw from, and advantages of another scale", async () => {
    const [entry] = offline.entries(1);
    expect(() => cacheTeacher({ entries: [entry!], n: 2.5, missingEos: "none", seed: 0 })).toThrow(
      /a whole n/,
    );
    expect(() => cacheTeacher({ entries: [entry!], n: 201, missingEos: "none", seed: 0 })).toThrow(/has 200/);
    await expect(tableRun(device, { ...options(0.5), ppo: { ...long, optimizer: "ppo" } })).rejects.toThrow(
      /expected --optimizer reinforce or rloo/,
    );
  });
});

describe("J-BOND", () => {
  const options: Options = {
    objective: findObjective("j-bond"),
    settings: { ...resolveSettings({ n: 4 }), jeffreys: 0.5, anchorKl: 0.5 },
    ppo: {
      ...long,
      episodes: 60 * 1024,
      lr: 0.05,
      lrSchedule: "constant",
      optimizer: "reinforce",
      anchorRate: 0.1,
    },
  };

  it("rewards a response at quantile u with -(1 - u)^2 log 16 in the mean: log u at u = 1/2", async () => {
    const run = await tableRun(device, options);
    const { episodes } = await run.iterate(0);
    tl1.model.strings.forEach((text, y) => {
      const own = episodes.filter((e) => e.text === text).map(({ terminal }) => terminal / 0.5);
      const better = 1 - atMost[y]!;
      const want = -Math.log(16) * better ** 2;
      const spread = Math.log(16) * Math.sqrt((better ** 2 * (1 - better ** 2)) / own.length);
      expect(Math.abs(strings.total(own) / own.length - want), text).toBeLessThanOrEqual(4 * spread + 1e-12);
    });
    run.dispose();
    expectClose(-Math.log(16) / 4, Math.log(1 / 2), 1e-12);
  });

  it("climbs past Best-of-4, with an anchor that follows and is part of the checkpoint", LONG, async () => {
    const run = await tableRun(device, options);
    const anchor = run.tensors.get("policy.anchor.table")!;
    for (let i = 0; i < run.iterations; i++) await run.iterate(i);
    const logPi = strings.stringLogprobs(tl1.model, await table.tableOf(run.policy));
    const anchored = strings.stringLogprobs(tl1.model, table.rowsOf(await anchor.read()));
    run.dispose();
    const [mine, its] = [logPi, anchored].map((x) => strings.expectation(x, tl1.rewards)) as [number, number];
    expect(mine).toBeGreaterThan(1.99844);
    expect(its).toBeGreaterThan(strings.expectation(tl1.logRef, tl1.rewards) + 0.5);
    expect(strings.stringKl(logPi, anchored)).toBeLessThan(strings.stringKl(logPi, tl1.logRef) / 4);
  });
});

describe("online DPO", () => {
  // Gumbel noise makes the larger of two rewards the better with probability sigmoid(difference): Bradley-Terry's label.
  const noisy = (): NonNullable<Options>["reward"] => {
    let calls = 0;
    return functionReward("noisy", async (inputs) => {
      const random = createRandom(1, `noise ${calls++}`);
      const scores = await table.reward.score(inputs);
      return [...scores].map((score) => score - Math.log(-Math.log(random.float() || 1e-9)));
    });
  };

  it("ends where KL-regularised RL does, for labels of Bradley-Terry", LONG, async () => {
    const options: Options = {
      objective: findObjective("online-dpo"),
      settings: resolveSettings({ beta: 1 }),
      reward: noisy()!,
      ppo: { ...long, episodes: 90 * 1024, group: 2 },
    };
    expectEnd(await end(options), strings.optimum(tl1.rewards, tl1.logRef).logPi, 0.04);
  });

  it("starts at log 2, keeps groups whole, and refuses groups of one", async () => {
    const options: Options = {
      objective: findObjective("online-dpo"),
      settings: resolveSettings({ beta: 0.5 }),
      ppo: { rolloutSize: 32, minibatch: 32, microBatch: 8, group: 4 },
    };
    const run = await tableRun(device, options);
    const { metrics } = await run.iterate(0);
    expect(run.value).toBeUndefined();
    expectClose(metrics.policyLoss, Math.log(2), 1e-5);
    run.dispose();
    for (const [group, minibatch] of [
      [1, 32],
      [4, 10],
    ]) {
      await expect(
        tableRun(device, {
          ...options,
          ppo: { rolloutSize: 32, microBatch: 8, group: group!, minibatch: minibatch! },
        }),
      ).rejects.toThrow(/change --group or --minibatch/);
    }
  });
});
