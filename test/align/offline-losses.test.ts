/** Losses of offline objectives against goldens: values and gradients alone, and through a Llama to every parameter. */
import { afterAll, describe, expect, it } from "vitest";
import { loadModel } from "../../models/load.ts";
import {
  findOffline,
  type OfflineObjective,
  type OfflineSettings,
} from "../../src/align/objectives/index.ts";
import { bonMargin } from "../../src/align/best-of-n/log-bon.ts";
import { recordOffline, runOffline } from "../../src/align/offline/loss.ts";
import { createScorer } from "../../src/align/scorer.ts";
import { trainableCopy } from "../../src/align/value/function.ts";
import { openSafetensors } from "../../src/data/weights/safetensors.ts";
import { createParameters } from "../../src/nn/parameters.ts";
import { mul, sub } from "../../src/ops/binary.ts";
import { sum } from "../../src/ops/reduce.ts";
import { backward } from "../../src/optim/gradients.ts";
import { input, record } from "../../src/tensor/tensor.ts";
import { gradientsOf } from "../support/align-run.ts";
import { testDevice } from "../support/device.ts";
import { expectAllClose, expectClose, golden } from "../support/golden.ts";
import { settings as plain } from "../support/offline.ts";

const device = await testDevice();
afterAll(() => device.close());

/** Log-probabilities of P pairs under policy and reference. */
interface Pairs {
  readonly policyChosen: readonly number[];
  readonly policyRejected: readonly number[];
  readonly refChosen: readonly number[];
  readonly refRejected: readonly number[];
}

/** Losses of the pairs, and the gradients of their mean with respect to the policy's log-probabilities. */
async function evaluate(
  objective: OfflineObjective,
  some: Partial<OfflineSettings>,
  pairs: Pairs,
  level = 0,
): Promise<{ losses: Float32Array; chosen: Float32Array; rejected: Float32Array }> {
  const P = pairs.refChosen.length;
  const specs = ["chosen", "rejected"].map(
    (name) => ({ name, shape: [P], init: "zeros", decay: false }) as const,
  );
  const parameters = createParameters(device, specs, { trainable: true });
  const [chosen, rejected] = [parameters.get("chosen"), parameters.get("rejected")];
  const program = await record(device, "loss", () => {
    const [refChosen, refRejected, weights] = [input([P]), input([P]), input([P])];
    const compared = {
      chosen: { logprob: chosen, logRatio: sub(chosen, refChosen) },
      rejected: { logprob: rejected, logRatio: sub(rejected, refRejected) },
      level: input([1]),
    };
    const { loss: losses } = objective.loss(compared, { ...plain, ...some });
    backward(sum(mul(weights, losses)));
    return { refChosen, refRejected, weights, level: compared.level, losses: losses.detach() };
  });
  chosen.write(pairs.policyChosen);
  rejected.write(pairs.policyRejected);
  program.result.refChosen.write(pairs.refChosen);
  program.result.refRejected.write(pairs.refRejected);
  program.result.weights.write(new Float32Array(P).fill(1 / P));
  program.result.level.write([level]);
  parameters.zeroGrads();
  program.run();
  const losses = await program.result.losses.read();
  return { losses, chosen: await chosen.grad!.read(), rejected: await rejected.grad!.read() };
}

/** Entry by entry, relative to the largest. */
function expectList(got: Float32Array, want: readonly number[], what: string): void {
  const largest = Math.max(...want.map(Math.abs));
  const scaled = (x: ArrayLike<number>): number[] => Array.from(x, (v) => v / largest);
  expectAllClose(scaled(got), scaled(want), 1e-5, what);
}

interface DpoCase {
  readonly kind: string;
  readonly beta: number;
  readonly label_smoothing?: number;
  readonly per_example: number[];
  readonly grad_policy_chosen: number[];
  readonly grad_policy_rejected: number[];
  readonly inputs: {
    readonly set: string;
    readonly policy_chosen: number[];
    readonly policy_rejected: number[];
    readonly ref_chosen: number[];
    readonly ref_rejected: number[];
  };
}

const dpoCases = (kind: string): [string, DpoCase][] =>
  golden<{ cases: DpoCase[] }>("dpo.json")
    .cases.filter((c) => c.kind === kind)
    .map((c) => [`${c.inputs.set} log-ratios, beta ${c.beta}, smoothing ${c.label_smoothing ?? 0}`, c]);

async function expectCase(objective: OfflineObjective, c: DpoCase): Promise<void> {
  const { inputs, beta, label_smoothing: labelSmoothing = 0 } = c;
  const got = await evaluate(
    objective,
    { beta, labelSmoothing },
    {
      policyChosen: inputs.policy_chosen,
      policyRejected: inputs.policy_rejected,
      refChosen: inputs.ref_chosen,
      refRejected: inputs.ref_rejected,
    },
  );
  expectList(got.losses, c.per_example, "losses");
  expectList(got.chosen, c.grad_policy_chosen, "gradient, chosen");
  expectList(got.rejected, c.grad_policy_rejected, "gradient, rejected");
}

const at = (h: number): Pairs => ({
  policyChosen: [h],
  policyRejected: [0],
  refChosen: [0],
  refRejected: [0],
});

describe("dpo", () => {
  it.each(dpoCases("sigmoid"))("meets the goldens: %s", (_, c) => expectCase(findOffline("dpo")!, c));

  it("meets the specification's number, log 2 at the reference, and falls as the chosen one rises", async () => {
    const { losses, chosen } = await evaluate(findOffline("dpo")!, { beta: 0.1 }, at(1.5));
    expectClose(losses[0]!, 0.620957, 1e-6);
    expectClose(chosen[0]!, -0.046257, 1e-6);
    const start = await evaluate(findOffline("dpo")!, { beta: 0.1 }, at(0));
    expectClose(start.losses[0]!, Math.LN2, 1e-6);
    expectClose(start.chosen[0]!, -0.05, 1e-6);
  });
});

describe("ipo", () => {
  it.each(dpoCases("ipo_summed"))("meets the goldens: %s", (_, c) => expectCase(findOffline("ipo")!, c));

  it("meets the specification's number, and pulls back beyond 1/(2 beta)", async () => {
    expectClose((await evaluate(findOffline("ipo")!, { beta: 0.1 }, at(1.5))).losses[0]!, 12.25, 1e-6);
    expectClose((await evaluate(findOffline("ipo")!, { beta: 0.1 }, at(6))).chosen[0]!, 2, 1e-6);
  });
});

interface BonbonCase {
  readonly n: number;
  readonly alpha: number;
  readonly beta: number;
  readonly per_example: number[];
  readonly grad_policy_best: number[];
  readonly grad_policy_worst: number[];
  readonly alpha_that_balances_the_two_terms: number;
}

describe("bonbon", () => {
  const { cases, inputs } = golden<{
    cases: BonbonCase[];
    inputs: Readonly<Record<"policy_best" | "policy_worst" | "ref_best" | "ref_worst", number[]>>;
  }>("bonbon.json");
  const pairs = {
    policyChosen: inputs.policy_best,
    policyRejected: inputs.policy_worst,
    refChosen: inputs.ref_best,
    refRejected: inputs.ref_worst,
  };
  const bonbon = findOffline("bonbon")!;

  it.each(cases)("meets the goldens: n = $n, alpha = $alpha", async (c) => {
    expectClose(bonbon.defaultBeta(c.n), c.beta, 1e-12, "beta");
    const got = await evaluate(bonbon, { n: c.n }, pairs, c.alpha);
    expectList(got.losses, c.per_example, "losses");
    expectList(got.chosen, c.grad_policy_best, "gradient, best");
    expectList(got.rejected, c.grad_policy_worst, "gradient, worst");
  });

  it("trap 41: meets the specification's number, and its table of c_n", async () => {
    const nll = { policyChosen: [-100], policyRejected: [0], refChosen: [-101.5], refRejected: [0] };
    expectClose((await evaluate(bonbon, { n: 8 }, nll, 0.005)).losses[0]!, 276.3363875, 1e-6);
    const table = [
      [1, 0],
      [2, 1],
      [3, 3],
      [4, 5.5],
      [8, 18.15],
      [16, 49.773435],
      [32, 124.844601],
      [64, 297.880752],
      [128, 689.017493],
      [256, 1560.711872],
      [512, 3482.241902],
    ] as const;
    for (const [n, c] of table) expectClose(bonMargin(n), c, 1e-8, `c_${n}`);
  });
});

describe("kto", () => {
  const [beta, z, desirable, undesirable] = [0.3, 0.4, 1.5, 0.7];
  const pairs = {
    policyChosen: [-2, 1],
    policyRejected: [-5, -60],
    refChosen: [-3, 1],
    refRejected: [-4, -30],
  };
  const s = (x: number): number => 1 / (1 + Math.exp(-x));

  it("is the formula, value and gradient, with the reference point fixed", async () => {
    const got = await evaluate(findOffline("kto")!, { beta, desirable, undesirable }, pairs, z);
    const ratios = [0, 1].map((i) => ({
      c: pairs.policyChosen[i]! - pairs.refChosen[i]!,
      r: pairs.policyRejected[i]! - pairs.refRejected[i]!,
    }));
    const value = ratios.map(
      ({ c, r }) => (desirable * (1 - s(beta * (c - z))) + undesirable * (1 - s(beta * (z - r)))) / 2,
    );
    expectList(got.losses, value, "losses");
    const slope = (x: number): number => s(x) * (1 - s(x));
    const mean = (weight: number, x: number): number => (weight * beta * slope(x)) / 2 / 2;
    expectList(
      got.chosen,
      ratios.map(({ c }) => -mean(desirable, beta * (c - z))),
      "gradient, chosen",
    );
    expectList(
      got.rejected,
      ratios.map(({ r }) => mean(undesirable, beta * (z - r))),
      "gradient, rejected",
    );
  });
});

interface Preference {
  readonly input_ids: number[][];
  readonly completion_mask: number[][];
  readonly prompt_lengths: number[];
  readonly ref_logprobs: number[];
  readonly policy_logprobs: number[];
  readonly losses: Readonly<
    Record<string, { loss: number; grad_global_norm: number; grad_per_param_norm: Record<string, number> }>
  >;
}

describe("through a Llama, from tokens to the gradient of every parameter", () => {
  const folder = new URL("../fixtures/models/llama-tiny-gqa", import.meta.url).pathname;
  const want = golden<Preference>("e2e/preference-llama-tiny-gqa/expected.json");
  const K = want.prompt_lengths.length;
  const sequences = want.input_ids.map((row, b) => {
    const prompt = want.prompt_lengths[b % K]!;
    const tokens = want.completion_mask[b]!.reduce((n, m) => n + m, 0);
    return { query: row.slice(0, prompt), response: row.slice(prompt, prompt + tokens) };
  });

  const cases: [string, string, Partial<OfflineSettings>][] = [
    ["dpo_sigmoid_beta0.1", "dpo", { beta: 0.1 }],
    ["ipo_summed_beta0.1", "ipo", { beta: 0.1 }],
    ["bonbon_n8_alpha0.005", "bonbon", { n: 8 }],
  ];
  it.each(cases)("%s", async (name, method, some) => {
    const refPolicy = await loadModel(device, folder, { trainable: false });
    const policy = refPolicy.with(await trainableCopy(refPolicy, { seed: 0, withHead: false }));
    const trunk = await openSafetensors(`${folder}/expected.safetensors`);
    for (const [tensorName, tensor] of policy.parameters)
      tensor.write(await trunk.read(`step5.${tensorName}`));

    const scorer = createScorer({ policy, refPolicy, temperature: 1, batch: 4 });
    const { logprobs, refLogprobs } = await scorer.score(sequences);
    scorer.dispose();
    const sums = (rows: readonly Float32Array[]): number[] =>
      rows.map((row) => row.reduce((a, b) => a + b, 0));
    expectAllClose(sums(logprobs), want.policy_logprobs, 1e-5, "log pi");
    expectAllClose(sums(refLogprobs), want.ref_logprobs, 1e-5, "log pi_ref");

    const judged = sequences.map((s, b) => ({ ...s, refLogprob: want.ref_logprobs[b]! }));
    const examples = judged
      .slice(0, K)
      .map((chosen, k) => ({ chosen, rejected: judged[K + k]!, tied: false }));
    const program = await record(device, name, () =>
      recordOffline({
        policy,
        objective: findOffline(method)!,
        settings: { ...plain, ...some },
        temperature: 1,
        examples: K,
        positions: 12,
      }),
    );
    policy.parameters.zeroGrads();
    const [loss] = await runOffline(program, examples, K, plain.alpha as number).read();
    const expected = want.losses[name]!;
    expectClose(loss!, expected.loss, 1e-5, "loss");
    const norms = [...(await gradientsOf(policy.parameters))].map(([n, g]) => [n, Math.hypot(...g)] as const);
    expect(norms.map(([n]) => n).toSorted()).toEqual(Object.keys(expected.grad_per_param_norm).toSorted());
    for (const [n, norm] of norms) {
      const target = expected.grad_per_param_norm[n]!;
      expect(Math.abs(norm / target - 1), `${n}: norm ${norm}, want ${target}`).toBeLessThan(3e-4);
    }
    program.dispose();
  });
});
