import { describe, expect, it } from "vitest";
import { untiedPairs } from "../../src/align/pairs.ts";
import { processScore, tokenRewards } from "../../src/align/update/reward-shaping.ts";
import { findObjective, objectives, resolveSettings } from "../../src/align/objectives/index.ts";
import { createCdf } from "../../src/align/best-of-n/cdf.ts";
import { pooledLogRatio } from "../../src/align/best-of-n/log-bon.ts";
import { ConfigError } from "../../src/errors.ts";
import { expectAllClose, expectClose, golden } from "../support/golden.ts";

interface Case {
  name: string;
  kl_coef: number;
  cliprange_reward: number | null;
  score_divisor: number | null;
  lengths: number[];
  logprobs: number[][];
  ref_logprobs: number[][];
  scores: number[];
  processed_scores: number[];
  rewards: number[][];
  rewards_with_k3_penalty: number[][];
}
interface Slicing {
  prompt_width: number;
  logprobs: number[][];
  ref_logprobs: number[][];
  kl_coef: number;
  scores: number[];
  response_lengths: number[];
  proper_rewards: number[][];
}
const fixture = golden<{ cases: Case[]; trlx_slicing: Slicing }>("reward_assembly.json");

describe("per-token rewards", () => {
  it.each(fixture.cases)("meets the golden: $name", (c) => {
    const options = {
      ...(c.cliprange_reward && { clip: c.cliprange_reward }),
      ...(c.score_divisor && { divisor: c.score_divisor }),
    };
    c.scores.forEach((score, i) => {
      const terminal = processScore(score, options);
      const [length = 0, logprobs = [], refLogprobs = []] = [c.lengths[i], c.logprobs[i], c.ref_logprobs[i]];
      const input = { logprobs, refLogprobs, length, terminal, klWeight: c.kl_coef };
      expectClose(terminal, c.processed_scores[i] ?? NaN, 1e-15);
      expectAllClose(tokenRewards(input), c.rewards[i]?.slice(0, length) ?? [], 1e-14);
      const k3 = tokenRewards(input, { estimator: "k3" });
      expectAllClose(k3, c.rewards_with_k3_penalty[i]?.slice(0, length) ?? [], 1e-14);
    });
  });

  it("gives the clean rewards where the authors' slice depends on padding", () => {
    const s = fixture.trlx_slicing;
    s.response_lengths.forEach((length, i) => {
      const from = s.prompt_width - 1;
      const logprobs = s.logprobs[i]?.slice(from) ?? [];
      const refLogprobs = s.ref_logprobs[i]?.slice(from) ?? [];
      const got = tokenRewards({
        logprobs,
        refLogprobs,
        length,
        terminal: s.scores[i] ?? NaN,
        klWeight: s.kl_coef,
      });
      expectAllClose(got, s.proper_rewards[i] ?? [], 1e-14);
    });
  });

  it("can put the terminal one position after the last token", () => {
    const input = { logprobs: [-1, -2], refLogprobs: [-1.5, -1], terminal: 3, klWeight: 0.5 };
    expect([...tokenRewards(input, { rewardAt: "after-eos" })]).toEqual([-0.25, 0.5, 3]);
    expect([...tokenRewards(input)]).toEqual([-0.25, 3.5]);
  });

  it("refuses scores that are not finite and rows that do not fit", () => {
    expect(() => processScore(NaN)).toThrow(ConfigError);
    expect(() => processScore(1, { clip: 0 })).toThrow(/clip is 0/);
    expect(() => tokenRewards({ logprobs: [], refLogprobs: [], terminal: 1, klWeight: 1 })).toThrow(
      /at least one token/,
    );
    expect(() =>
      tokenRewards({ logprobs: [-1], refLogprobs: [-1], length: 2, terminal: 1, klWeight: 1 }),
    ).toThrow(/length 2/);
  });
});

describe("objectives", () => {
  const cdf = createCdf([1, 2, 2, 3]).at(2.5);
  const sample = { score: 2.5, logProbRef: -60, cdf, rivals: [3, 4] };

  it("scales reward and KL weight alike", () => {
    const settings = resolveSettings({ n: 4 });
    const logF = Math.log(4 / 5);
    expectClose(findObjective("exact").terminal(sample, settings), (Math.log(4) + 3 * logF) / 4, 1e-14);
    expect(findObjective("exact").klWeight(settings)).toBe(1 / 4);
    expectClose(findObjective("L").terminal(sample, settings), logF, 1e-15);
    expect(findObjective("L").klWeight(settings)).toBe(1 / 3);
    expectClose(findObjective("Lle").terminal(sample, settings), logF, 1e-15);
    expect(findObjective("ppo").terminal(sample, settings)).toBe(2.5);
    expectClose(findObjective("kl-rl").klWeight(resolveSettings({ beta: 0.05 })), 0.05, 1e-15);
    for (const objective of objectives) {
      const one = { ...settings, scale: 1 };
      const ratio = objective.terminal(sample, settings) / objective.klWeight(settings);
      expectClose(objective.terminal(sample, one) / objective.klWeight(one), ratio, 1e-14, objective.name);
    }
  });

  it("uses the pooled estimator when the CDF is pooled", () => {
    const pooled = createCdf([1, 2, 2, 3], { estimator: "pooled" }).at(2);
    const got = findObjective("vbon").terminal(
      { score: 2, logProbRef: -60, cdf: pooled },
      { n: 4, klCoef: 1, scale: 1 },
    );
    expect(got).toBe(pooledLogRatio(4, 1, 3, 4));
    const lle = findObjective("Lle").terminal(
      { score: 2, logProbRef: -60, cdf: pooled },
      resolveSettings({ n: 4 }),
    );
    expectClose(lle, Math.log(4 / 5), 1e-15);
  });

  it("completes n and beta from each other", () => {
    expectClose(resolveSettings({ beta: 0.05 }).n, 21, 1e-12);
    expectClose(resolveSettings({ n: 101 }).klCoef, 0.01, 1e-15);
    expect(resolveSettings({ n: 100, beta: 0.05 })).toEqual({ n: 100, klCoef: 0.05 });
    expect(() => resolveSettings({})).toThrow(/give n/);
    expect(() => resolveSettings({ n: 0.5 })).toThrow(/n is 0.5/);
    expect(() => resolveSettings({ beta: -1 })).toThrow(/beta is -1/);
  });

  it("with beta = 0, ppo is plain reward and the vBoN objectives refuse", () => {
    const settings = resolveSettings({ beta: 0 });
    expect([
      findObjective("ppo").terminal(sample, settings),
      findObjective("ppo").klWeight(settings),
    ]).toEqual([2.5, 0]);
    expect(() => findObjective("vbon").terminal(sample, settings)).toThrow(/n is Infinity/);
  });

  it("trap 5: truncates n only for the release", () => {
    const release = (beta: number): number => resolveSettings({ beta, compat: "vbon-release" }).n;
    expect([0.03, 0.3, 0.4, 2, 1 / 99].map(release)).toEqual([34, 4, 3, 1, 99]);
    expectClose(resolveSettings({ beta: 1 / 99 }).n, 100, 1e-11);
  });

  it("names what is unknown or misleading", () => {
    const heard: string[] = [];
    expect(findObjective("l1", (message) => heard.push(message)).name).toBe("vbon-l");
    expect(heard.join()).toMatch(/not L1/);
    expect(() => findObjective("dpo2")).toThrow(/expected one of vbon, vbon-l, vbon-lle, ppo/);
    expect(() => findObjective("vbon").terminal({ score: 1, logProbRef: -1 }, { n: 2, klCoef: 1 })).toThrow(
      /no CDF point/,
    );
  });
});

describe("preference pairs", () => {
  it("trap 42: drops ties and points the right way", () => {
    const pairs = untiedPairs([0, 1, 1, 2]);
    expect(pairs).toEqual([
      { chosen: 1, rejected: 0 },
      { chosen: 2, rejected: 0 },
      { chosen: 3, rejected: 0 },
      { chosen: 3, rejected: 1 },
      { chosen: 3, rejected: 2 },
    ]);
    expect(() => untiedPairs([1, NaN])).toThrow(/score 1 is NaN/);
  });
});
