/** The clipped losses on the GPU, and a complete PPO step of a transformer, against float64. */
import { afterAll, describe, expect, it } from "vitest";
import { loadModel } from "../../models/load.ts";
import { createCdf } from "../../src/align/best-of-n/cdf.ts";
import { findObjective } from "../../src/align/objectives/index.ts";
import { createScorer } from "../../src/align/scorer.ts";
import { gae, whiten } from "../../src/align/update/advantage.ts";
import { policyLoss, valueLoss } from "../../src/align/update/ppo-loss.ts";
import { tokenRewards } from "../../src/align/update/reward-shaping.ts";
import { sharedValue, trainableCopy } from "../../src/align/value/function.ts";
import { openSafetensors } from "../../src/data/weights/safetensors.ts";
import type { LanguageModel } from "../../src/nn/lm.ts";
import { createParameters } from "../../src/nn/parameters.ts";
import { add, scale } from "../../src/ops/binary.ts";
import { backward } from "../../src/optim/gradients.ts";
import { input, record } from "../../src/tensor/tensor.ts";
import { expectRelative, updateGradients } from "../support/align-run.ts";
import { testDevice } from "../support/device.ts";
import { expectAllClose, expectClose, golden } from "../support/golden.ts";

const device = await testDevice();
afterAll(() => device.close());

interface LossCase {
  readonly name: string;
  readonly cliprange: number;
  readonly cliprange_value: number;
  readonly vf_coef: number;
  readonly logprobs: number[][];
  readonly old_logprobs: number[][];
  readonly values: number[][];
  readonly old_values: number[][];
  readonly advantages: number[][];
  readonly returns: number[][];
  readonly mask: number[][];
  readonly loss: number;
  readonly stats: Readonly<Record<"losses/policy_loss" | "losses/value_loss", number>>;
  readonly grad_logprobs: number[][];
  readonly grad_values: number[][];
  readonly tie_policy: boolean[][];
  readonly tie_value: boolean[][];
}

describe("the clipped losses", () => {
  const { cases } = golden<{ cases: LossCase[] }>("ppo.json");

  it.each(cases)("$name: losses and gradients", async (c) => {
    const R = c.mask.flat().length;
    const parameters = createParameters(
      device,
      ["logprobs", "values"].map((name) => ({ name, shape: [R], init: "zeros", decay: false })),
      { trainable: true },
    );
    const [logprobs, values] = [parameters.get("logprobs"), parameters.get("values")];
    const program = await record(device, "losses", () => {
      const column = (): ReturnType<typeof input> => input([R]);
      const inputs = {
        old_logprobs: column(),
        advantages: column(),
        old_values: column(),
        returns: column(),
        mask: column(),
      };
      const policyPart = policyLoss(
        logprobs,
        inputs.old_logprobs,
        inputs.advantages,
        inputs.mask,
        c.cliprange,
      );
      const valuePart = valueLoss(values, inputs.old_values, inputs.returns, inputs.mask, c.cliprange_value);
      backward(add(policyPart, scale(valuePart, c.vf_coef)));
      return { inputs, policyPart, valuePart };
    });
    const { inputs, policyPart, valuePart } = program.result;
    const tokens = c.mask.flat().reduce((a, b) => a + b);
    logprobs.write(c.logprobs.flat());
    values.write(c.values.flat());
    for (const name of ["old_logprobs", "advantages", "old_values", "returns"] as const)
      inputs[name].write(c[name].flat());
    inputs.mask.write(c.mask.flat().map((m) => m / tokens));
    parameters.zeroGrads();
    program.run();
    expectClose((await policyPart.read())[0]!, c.stats["losses/policy_loss"], 1e-5);
    expectClose((await valuePart.read())[0]!, c.stats["losses/value_loss"], 1e-5);
    expectGradient(await logprobs.grad!.read(), c.grad_logprobs.flat(), c.tie_policy.flat());
    expectGradient(await values.grad!.read(), c.grad_values.flat(), c.tie_value.flat());
    program.dispose();
  });

  it("are tested on both sides of both clips, and on ties", () => {
    const counts = golden<{ cases: { branch_counts: Record<string, number> }[] }>("ppo.json").cases.map(
      (c) => c.branch_counts,
    );
    const most = (name: string): number => Math.max(...counts.map((c) => c[name] ?? 0));
    for (const name of ["ratio_above", "ratio_below", "policy_clipped_active", "value_clipped_active"])
      expect(most(name), name).toBeGreaterThan(0);
    expect(
      cases.some((c) => c.tie_value.flat().some(Boolean)),
      "a value on its kink",
    ).toBe(true);
    const atOne = cases.some((c) =>
      c.logprobs.flat().some((x, i) => x === c.old_logprobs.flat()[i] && c.mask.flat()[i] === 1),
    );
    expect(atOne, "a ratio of exactly 1, where both branches tie with one gradient").toBe(true);
  });
});

/** Relative to the largest entry; on a kink, where any value between the one-sided gradients is right, PyTorch's half or either side. */
function expectGradient(got: Float32Array, want: readonly number[], kinks: readonly boolean[]): void {
  const largest = Math.max(...want.map(Math.abs));
  want.forEach((g, i) => {
    if (!kinks[i])
      return expect(Math.abs(got[i]! - g), `entry ${i}: ${got[i]}, want ${g}`).toBeLessThanOrEqual(
        1e-5 * largest,
      );
    const between =
      Math.min(0, 2 * g) - 1e-5 * largest <= got[i]! && got[i]! <= Math.max(0, 2 * g) + 1e-5 * largest;
    expect(between, `kink ${i}: ${got[i]}, PyTorch ${g}`).toBe(true);
  });
}

interface Step {
  readonly prompt_width: number;
  readonly prompt_lengths: number[];
  readonly response_lengths: number[];
  readonly temperature: number;
  readonly tokens: number[][];
  readonly ref_logprobs: number[][];
  readonly old_logprobs: number[][];
  readonly old_values: number[][];
  readonly reward_lists: number[][];
  readonly rewards_of_samples: number[];
  readonly ranks: number[];
  readonly log_F: number[];
  readonly N: number;
  readonly sequence_log_pi_ref: number[];
  readonly scores: number[];
  readonly kl_coef: number;
  readonly rewards: number[][];
  readonly returns: number[][];
  readonly whitened_advantages: number[][];
  readonly stats: Readonly<Record<string, number>>;
  readonly grad_global_norm: number;
}

describe("a complete PPO step of GPT-2 with a value head", () => {
  const folder = (name: string): string => new URL(`../fixtures/${name}`, import.meta.url).pathname;
  const step = golden<Step>("e2e/ppo-gpt2-tiny/expected.json");
  const { prompt_width: W, prompt_lengths: P, response_lengths: R, temperature } = step;
  const sequences = step.tokens.map((row, b) => ({
    query: row.slice(W - P[b]!, W),
    response: row.slice(W, W + R[b]!),
  }));
  const ragged = (rows: readonly number[][]): number[][] => rows.map((row, b) => row.slice(0, R[b]));
  const expectRows = (
    got: readonly ArrayLike<number>[],
    want: readonly number[][],
    limit: number,
    what: string,
  ): void => ragged(want).forEach((row, b) => expectAllClose(got[b]!, row, limit, `${what}, row ${b}`));

  /** The policy with its head: stored weights of another training step over those of `base`. */
  async function policyAt(base: LanguageModel, training: "step1" | "step5"): Promise<LanguageModel> {
    const policy = base.with(await trainableCopy(base, { seed: 0, withHead: true }));
    const trunk = await openSafetensors(folder("models/gpt2-tiny/expected.safetensors"));
    const head = await openSafetensors(`${folder("e2e/ppo-gpt2-tiny")}/value_head.safetensors`);
    for (const [name, tensor] of policy.parameters) {
      tensor.write(await (name.startsWith("v_head") ? head.read(name) : trunk.read(`${training}.${name}`)));
    }
    return policy;
  }

  it("from tokens to the gradient of every parameter", async () => {
    const refPolicy = await loadModel(device, folder("models/gpt2-tiny"), { trainable: false });
    const old = await policyAt(refPolicy, "step1");
    const scorer = createScorer({ policy: old, refPolicy, value: sharedValue(old), temperature, batch: 2 });
    const scores = await scorer.score(sequences);
    expectRows(scores.logprobs, step.old_logprobs, 1e-4, "old logprobs");
    expectRows(scores.refLogprobs, step.ref_logprobs, 1e-4, "reference logprobs");
    expectRows(scores.values, step.old_values, 1e-4, "old values");

    const terminals = sequences.map((_, b) => {
      const cdf = createCdf(step.reward_lists[b]!).at(step.rewards_of_samples[b]!);
      expect(cdf.below).toBe(step.ranks[b]);
      expectClose(cdf.logF, step.log_F[b]!, 1e-12);
      const logProbRef = scores.refLogprobs[b]!.reduce((x, y) => x + y, 0);
      const terminal = findObjective("vbon").terminal(
        { score: NaN, logProbRef, cdf },
        { n: step.N, klCoef: step.kl_coef },
      );
      expectClose(terminal, step.scores[b]!, 1e-5, `score ${b}`);
      return terminal;
    });
    const rewards = sequences.map((_, b) =>
      tokenRewards({
        logprobs: scores.logprobs[b]!,
        refLogprobs: scores.refLogprobs[b]!,
        terminal: terminals[b]!,
        klWeight: step.kl_coef,
      }),
    );
    expectRows(rewards, step.rewards, 1e-5, "rewards");
    const { advantages, returns } = gae({ rewards, values: scores.values, gamma: 1, lam: 0.95 });
    const white = whiten(advantages);
    expectRows(returns, step.returns, 1e-4, "returns");
    expectRows(white, step.whitened_advantages, 1e-4, "advantages");

    const policy = await policyAt(refPolicy, "step5");
    const experience = sequences.map((s, b) => ({
      ...s,
      oldLogprobs: scores.logprobs[b]!,
      oldValues: scores.values[b]!,
      advantages: white[b]!,
      returns: returns[b]!,
    }));
    const { policy: grads, stats } = await updateGradients(
      {
        policy,
        value: sharedValue(policy),
        temperature,
        clipRange: 0.2,
        clipRangeValue: 0.2,
        vfCoef: 0.2,
        microBatch: 2,
        positions: 13,
      },
      experience,
    );
    expectClose(stats.policyLoss, step.stats["losses/policy_loss"]!, 2e-5, "policy loss");
    expectClose(stats.valueLoss, step.stats["losses/value_loss"]!, 2e-5, "value loss");
    const expected = await openSafetensors(`${folder("e2e/ppo-gpt2-tiny")}/expected.safetensors`);
    for (const [name, got] of grads)
      expectRelative(got, await expected.read(`grad.${name}`), 3e-4, 1e-6, name);
    expect([...grads.keys()].map((name) => `grad.${name}`).sort()).toEqual(
      [...expected.tensors.keys()].filter((k) => k.startsWith("grad.")).sort(),
    );
    const norm = Math.hypot(...[...grads.values()].map((g) => Math.hypot(...g)));
    expectClose(norm, step.grad_global_norm, 3e-4);
    scorer.dispose();
  });
});
