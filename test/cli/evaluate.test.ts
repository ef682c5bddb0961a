/** `vbon evaluate` on a random model: the reference against itself, and what is printed. */
import { describe, expect, it } from "vitest";
import { openAlignTask } from "../support/align-task.ts";
import { flags, type Outcome, vbon } from "../support/run-cli.ts";

const { device, task } = await openAlignTask();

const evaluate = (settings: Parameters<typeof flags>[0]): Promise<Outcome> => {
  const { policy, reward, test } = task;
  const argv = { policy, reference: policy, reward, cache: test, samples: 2, n: 3, ...settings };
  return vbon(device, ["evaluate", ...flags(argv)]);
};

describe("evaluate", () => {
  it("finds the reference equal to itself", async () => {
    const { stdout } = await evaluate({ samples: 32, json: true });
    const { policy, reference, bestOfN } = JSON.parse(stdout) as {
      policy: Record<string, number> & { win: { low: number; high: number } };
      reference: Record<string, number>;
      bestOfN: { n: number }[];
    };
    expect(policy).toMatchObject({
      kl: 0,
      klK1: 0,
      klK3: 0,
      klSe: 0,
      klK1Se: 0,
      klK3Se: 0,
      prompts: 4,
      samplesPerPrompt: 32,
    });
    expect(policy.win.low).toBeLessThan(0.55);
    expect(policy.win.high).toBeGreaterThan(0.45);
    expect(Math.abs(policy["reward"]! - reference["reward"]!)).toBeLessThan(0.05);
    expect(reference).toMatchObject({ win: 0.5, kl: 0 });
    expect(bestOfN.map((p) => p.n)).toEqual([1, 2, 4, 8]);
  });

  it("prints reference, policy and Best-of-N", async () => {
    const { stdout } = await evaluate({});
    for (const row of [
      "win rate",
      "KL, nats",
      "KL by k1",
      "KL by k3",
      "J at N = 3, nats",
      "ends with EOS",
      "distinct-2",
    ]) {
      expect(stdout).toMatch(new RegExp(`^${row} `, "m"));
    }
    expect(stdout).toMatch(/^ +8 +– +[\d.]+ +1\.204$/m);
  });
});
