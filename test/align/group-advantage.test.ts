/** Advantages without a value function: goldens, groups of a rollout, and where they lead on TL-1. */
import { afterAll, describe, expect, it } from "vitest";
import { checkGroups, groupAdvantages, OPTIMIZERS } from "../../src/align/update/group-advantage.ts";
import { tableRun } from "../support/align-run.ts";
import { testDevice } from "../support/device.ts";
import { expectAllClose, golden } from "../support/golden.ts";
import * as strings from "../support/string-model.ts";
import * as table from "../support/table-model.ts";
import * as tl1 from "../support/tl1.ts";

const device = await testDevice();
afterAll(() => device.close());

describe("group advantages", () => {
  const want = golden<Readonly<Record<"rewards" | "rloo" | "grpo", number[][]>>>("group_advantages.json");

  it("meet the goldens, groups without differences included", () => {
    for (const name of ["rloo", "grpo"] as const) {
      const got = groupAdvantages(name, want.rewards.flat(), want.rewards[0]!.length);
      expectAllClose(got, want[name].flat(), 1e-12, name);
    }
  });

  it("meet the specification's numbers", () => {
    expectAllClose(groupAdvantages("rloo", [1, 0, 0, 2], 4), [1 / 3, -1, -1, 5 / 3], 1e-14);
    expectAllClose(
      groupAdvantages("grpo", [1, 0, 0, 2], 4),
      [0.261089, -0.783268, -0.783268, 1.305446],
      1e-6,
    );
  });

  it("of reinforce compare with the whole rollout, whatever the groups", () => {
    expectAllClose(groupAdvantages("reinforce", [1, 0, 0, 2], 1), [1 / 3, -1, -1, 5 / 3], 1e-14);
  });

  it("refuse groups of one, and rollouts of parts of groups", () => {
    for (const [optimizer, group] of [
      ["rloo", 1],
      ["grpo", 3],
      ["reinforce", 3],
      ["ppo", 3],
    ] as const)
      expect(() => checkGroups({ optimizer, group, rolloutSize: 16 }), optimizer).toThrow(
        /change --group or --rollout/,
      );
    for (const optimizer of OPTIMIZERS) checkGroups({ optimizer, group: 4, rolloutSize: 16 });
  });
});

describe("rollouts", () => {
  it("draw `group` different responses to a prompt, one after the other", async () => {
    const prompts = [table.prompt, table.longPrompt];
    const cache = table.cacheOf(prompts.map((prompt) => ({ prompt, rewards: [...tl1.rewards] })));
    const ppo = { optimizer: "rloo", group: 8 } as const;
    const run = await tableRun(device, { prompts, cache, ppo });
    const { episodes, metrics } = await run.iterate(0);
    for (const group of [0, 8, 16, 24]) {
      const some = episodes.slice(group, group + 8);
      expect(new Set(some.map((e) => e.prompt)).size).toBe(1);
      expect(new Set(some.map((e) => e.text)).size).toBeGreaterThan(1);
    }
    expect(new Set(episodes.map((e) => e.prompt)).size).toBe(2);
    expect(metrics).toMatchObject({ valueLoss: 0, explainedVariance: 0 });
    expect(run.value).toBeUndefined();
    run.dispose();
  });
});

/** With groups and without a value function, the policy gradient is that of the same objective: the same end points. */
describe("end points on TL-1", () => {
  const F = tl1.exactF(tl1.rewards);
  const ppo = {
    episodes: 90 * 1024,
    rolloutSize: 1024,
    minibatch: 1024,
    microBatch: 1024,
    lr: 0.15,
    gradClip: 0,
  };

  it.each([
    ["rloo", 4],
    ["grpo", 8],
    ["reinforce", 1],
  ] as const)("%s, groups of %d: exact vBoN ends at pi_bon(4)", async (optimizer, group) => {
    const run = await tableRun(device, { ppo: { ...ppo, optimizer, group } });
    for (let i = 0; i < run.iterations; i++) await run.iterate(i);
    const logPi = strings.stringLogprobs(tl1.model, await table.tableOf(run.policy));
    run.dispose();
    const win = F.map((f, y) => f + Math.exp(tl1.logRef[y]!) / 2);
    const reached = {
      reward: strings.expectation(logPi, tl1.rewards),
      kl: strings.stringKl(logPi, tl1.logRef),
      win: strings.expectation(logPi, win),
    };
    for (const [name, exact] of Object.entries({ reward: 1.99844, kl: 0.6143, win: 0.79151 })) {
      const got = reached[name as keyof typeof reached];
      expect(Math.abs(got - exact), `${name} ${got}, exact ${exact}`).toBeLessThan(0.01);
    }
  });
});
