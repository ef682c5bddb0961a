import { describe, expect, it } from "vitest";
import { logPiBon, looseBoundIntegrand, lowerBoundReward } from "../../src/align/best-of-n/log-bon.ts";
import { findObjective, resolveSettings } from "../../src/align/objectives/index.ts";
import { expectAllClose, expectClose, golden } from "../support/golden.ts";
import {
  expectation,
  type LogitTable,
  optimum,
  policyGradient,
  regularised,
  stringKl,
  stringLogprobs,
  stringModel,
  total,
} from "../support/string-model.ts";
import { exactF, exactPoint } from "../support/tl1.ts";

interface Floored {
  L: number;
  grad_L: number[][];
  L1: number;
  grad_L1: number[][];
}
interface Theta {
  J_vBoN: number;
  grad_J_vBoN: number[][];
  "floor_0.001": Floored;
  "floor_1e-08": Floored;
}
interface Fixture {
  strings: string[];
  prefixes: string[];
  ref_logits: number[][];
  perturbed_logits: number[][];
  rewards: number[];
  log_pi_ref: number[];
  log_pi_perturbed: number[];
  F_strict_by_reward: number[];
  F_total_order: number[];
  by_N: {
    N: number;
    log_pi_bon: number[];
    naive_sum: number;
    pi_bon_first_argmax_sampler: number[];
    kl_bon_ref: number;
    expected_reward_bon: number;
    win_rate_by_reward: { half_ties: number };
    theta: { ref: Theta; perturbed: Theta };
  }[];
  kl_regularised_optimum: {
    beta: number;
    log_pi_star: number[];
    log_Z: number;
    J_RL_at_perturbed: number;
    grad_J_RL_at_perturbed: number[][];
  }[];
  optimum_of_L: { N: number; floor: number; log_pi: number[]; L_max: number }[];
}

const model = stringModel(4);

describe.each(["injective", "non_injective"])("31 strings, %s reward", (name) => {
  const g = golden<Fixture>(`enumerable_${name}.json`);
  const logRef = stringLogprobs(model, g.ref_logits);
  const logF = g.F_total_order.map(Math.log);
  const tables: ["ref" | "perturbed", LogitTable][] = [
    ["ref", g.ref_logits],
    ["perturbed", g.perturbed_logits],
  ];
  const checkGradient = (got: number[][], want: number[][]): void =>
    want.forEach((row, i) => expectAllClose(got[i] ?? [], row, 1e-9));

  it("is the golden's model", () => {
    expect([model.strings, model.prefixes]).toEqual([g.strings, g.prefixes]);
    expectAllClose(logRef, g.log_pi_ref, 1e-12);
    expectAllClose(stringLogprobs(model, g.perturbed_logits), g.log_pi_perturbed, 1e-12);
    expectAllClose(exactF(g.rewards, logRef), g.F_strict_by_reward, 1e-12);
  });

  it.each(g.by_N)("N = $N: Best-of-N distribution and its facts", (c) => {
    const bon = logF.map((f, y) => logPiBon(c.N, f, g.log_pi_ref[y] ?? NaN));
    expectAllClose(bon, c.log_pi_bon, 1e-10);
    expectClose(total(bon.map(Math.exp)), 1, 1e-12);
    expectClose(stringKl(bon, logRef), c.kl_bon_ref, 1e-12);
    expectClose(expectation(bon, g.rewards), c.expected_reward_bon, 1e-12);
    const strict = g.F_strict_by_reward;
    const tied = g.rewards.map((r) => total(logRef.map((p, z) => (g.rewards[z] === r ? Math.exp(p) : 0))));
    expectClose(
      expectation(
        bon,
        strict.map((f, y) => f + (tied[y] ?? NaN) / 2),
      ),
      c.win_rate_by_reward.half_ties,
      1e-12,
    );
    const naive = total(strict.map((f, y) => Math.exp(logPiBon(c.N, Math.log(f), logRef[y] ?? NaN))));
    expectClose(naive, c.naive_sum, 1e-12);
    // Ties by lot, as an argmax over the draws resolves them: the tied group's mass in place of pi_ref.
    const byLot = strict.map((f, y) => {
      const sample = {
        score: g.rewards[y] ?? NaN,
        logProbRef: logRef[y] ?? NaN,
        cdf: exactPoint(f, tied[y]),
      };
      return Math.exp(
        sample.logProbRef + findObjective("vbon").terminal(sample, { n: c.N, klCoef: 1, scale: 1 }),
      );
    });
    expectAllClose(byLot, c.pi_bon_first_argmax_sampler, 1e-12);
  });

  it.each(g.by_N)("N = $N: J, L, L1 and their gradients", (c) => {
    const settings = resolveSettings({ n: c.N });
    const exact = findObjective("vbon");
    const reward = logF.map((f, y) => {
      const sample = { score: 0, logProbRef: g.log_pi_ref[y] ?? NaN, cdf: exactPoint(Math.exp(f)) };
      return exact.terminal(sample, settings) / exact.klWeight(settings);
    });
    for (const [at, table] of tables) {
      const j = regularised(model, table, reward, logRef);
      expectClose(j.value, c.theta[at].J_vBoN, 1e-12);
      checkGradient(j.gradient, c.theta[at].grad_J_vBoN);
      for (const floor of [0.001, 1e-8] as const) {
        const want = c.theta[at][floor === 0.001 ? "floor_0.001" : "floor_1e-08"];
        const floored = logF.map((f) => Math.max(f, Math.log(floor)));
        const l = regularised(
          model,
          table,
          floored.map((f) => lowerBoundReward(c.N, f)),
          logRef,
        );
        expectClose(l.value, want.L, 1e-12);
        checkGradient(l.gradient, want.grad_L);
        const logPi = stringLogprobs(model, table);
        const weight = floored.map(
          (f, y) => looseBoundIntegrand(c.N, f, g.log_pi_ref[y] ?? NaN) - (logPi[y] ?? NaN),
        );
        expectClose(expectation(logPi, weight), want.L1, 1e-12);
        checkGradient(policyGradient(model, table, weight), want.grad_L1);
      }
    }
  });

  it.each(g.optimum_of_L)("optimum of L, N = $N, floor $floor", (c) => {
    const reward = logF.map((f) => lowerBoundReward(c.N, Math.max(f, Math.log(c.floor))));
    const best = optimum(reward, logRef);
    expectAllClose(best.logPi, c.log_pi, 1e-12);
    expectClose(best.logZ, c.L_max, 1e-12);
  });

  it.each(g.kl_regularised_optimum)("KL-RL, beta = $beta", (c) => {
    const reward = g.rewards.map((r) => r / c.beta);
    const best = optimum(reward, logRef);
    expectAllClose(best.logPi, c.log_pi_star, 1e-12);
    expectClose(best.logZ, c.log_Z, 1e-12);
    const { value, gradient } = regularised(model, g.perturbed_logits, reward, logRef);
    expectClose(c.beta * value, c.J_RL_at_perturbed, 1e-12);
    checkGradient(
      gradient.map((row) => row.map((x) => x * c.beta)),
      c.grad_J_RL_at_perturbed,
    );
  });
});
