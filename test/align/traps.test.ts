/** Traps of the alignment loop (silent mistakes with a test each), on the model whose strings can be enumerated. */
import { afterAll, describe, expect, it } from "vitest";
import { streamOf } from "../../src/align/cache/build.ts";
import { findObjective, resolveSettings } from "../../src/align/objectives/index.ts";
import { functionReward } from "../../src/align/rewards.ts";
import { createScorer } from "../../src/align/scorer.ts";
import { createUpdater, type Experience } from "../../src/align/update/ppo.ts";
import { tokenRewards } from "../../src/align/update/reward-shaping.ts";
import { separateValue, trainableCopy } from "../../src/align/value/function.ts";
import type { Tokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import { createEngine } from "../../src/generate/engine.ts";
import { createAdamW } from "../../src/optim/adamw.ts";
import { tableRun, updateGradients } from "../support/align-run.ts";
import { testDevice } from "../support/device.ts";
import { expectAllClose, expectClose } from "../support/golden.ts";
import * as strings from "../support/string-model.ts";
import * as table from "../support/table-model.ts";
import * as tl1 from "../support/tl1.ts";

const device = await testDevice();
afterAll(() => device.close());

const biased = strings.logSoftmax([
  [0.3, -0.2, 0.1],
  [-1, 0.5, 0.2],
  [0.4, 0.1, -0.6],
]);

/** All strings after `query`, scored by a policy and the reference, as an update sees them. */
async function experienceAfter(query: readonly number[]): Promise<Experience[]> {
  const refPolicy = table.tableModel(device);
  const scorer = createScorer({
    policy: table.tableModel(device, biased),
    refPolicy,
    temperature: 1,
    batch: 4,
  });
  const sequences = tl1.model.strings.map((_, y) => ({ query, response: table.responseOf(y) }));
  const { logprobs, kl } = await scorer.score(sequences);
  scorer.dispose();
  return sequences.map((s, y) => ({
    ...s,
    oldLogprobs: logprobs[y]!.map((x) => x - 0.05),
    oldValues: new Float32Array(s.response.length),
    advantages: Float64Array.from(s.response, (_, t) => y - 3 + t),
    returns: Float64Array.from(kl[y]!),
  }));
}

const lossSettings = { temperature: 1, clipRange: 0.2, clipRangeValue: 0.2, vfCoef: 1 };

async function gradientsAfter(
  query: readonly number[],
  microBatch: number,
  positions: number,
): ReturnType<typeof updateGradients> {
  const start = table.tableModel(device, biased);
  const policy = start.with(await trainableCopy(start, { seed: 0, withHead: false }));
  const value = await separateValue(table.tableModel(device), 3);
  return updateGradients(
    { ...lossSettings, policy, value, microBatch, positions },
    await experienceAfter(query),
  );
}

describe("prompts", () => {
  it("trap 10: prompt tokens count in neither log pi_ref nor KL nor the losses", async () => {
    const refPolicy = table.tableModel(device);
    const scorer = createScorer({
      policy: table.tableModel(device, biased),
      refPolicy,
      temperature: 1,
      batch: 14,
    });
    const pairs = [table.prompt, table.longPrompt].flatMap(({ ids }) =>
      tl1.model.strings.map((_, y) => ({ query: ids, response: table.responseOf(y) })),
    );
    const { logprobs, refLogprobs, kl, entropy } = await scorer.score(pairs);
    for (const rows of [logprobs, refLogprobs, kl, entropy]) expect(rows.slice(7)).toEqual(rows.slice(0, 7));
    const vbon = findObjective("vbon");
    const settings = resolveSettings({ n: 4 });
    const rewards = pairs.map((_, i) => {
      const logProbRef = strings.total([...refLogprobs[i]!]);
      const terminal = vbon.terminal({ ...tl1.samples[i % 7]!, logProbRef }, settings);
      return tokenRewards({
        logprobs: logprobs[i]!,
        refLogprobs: refLogprobs[i]!,
        terminal,
        klWeight: vbon.klWeight(settings),
      });
    });
    expect(rewards.slice(7)).toEqual(rewards.slice(0, 7));
    const short = await gradientsAfter(table.prompt.ids, 7, 2);
    const long = await gradientsAfter(table.longPrompt.ids, 7, 5);
    for (const name of ["policyLoss", "valueLoss", "approxKl", "clipFrac"] as const)
      expectClose(long.stats[name], short.stats[name], 1e-6, name);
    expectAllClose(long.policy.get("table")!, short.policy.get("table")!, 1e-7);
    scorer.dispose();
  });

  it("trap 29: each response is judged by its own prompt's scores, in any order, with duplicates", async () => {
    const prompts = [table.prompt, table.longPrompt, table.prompt];
    const M = 4;
    const cache = table.cacheOf([
      { prompt: table.longPrompt, rewards: Array<number>(M).fill(1) },
      { prompt: table.prompt, rewards: Array<number>(M).fill(0) },
    ]);
    const reward = functionReward("half", (inputs) => inputs.map(() => 0.5));
    const run = await tableRun(device, {
      prompts,
      cache,
      reward,
      cdf: {},
      objective: findObjective("vbon-l"),
    });
    const { episodes } = await run.iterate(0);
    const terminals = episodes.map((e) => Math.exp(e.terminal));
    episodes.forEach((e, i) => expectClose(terminals[i]!, e.prompt === 1 ? 1 / (M + 1) : 1, 1e-12));
    expect(new Set(episodes.map((e) => e.prompt))).toEqual(new Set([0, 1, 2]));
    expect(episodes.every((e) => e.rank === (e.prompt === 1 ? 0 : 1))).toBe(true);
    run.dispose();
  });
});

describe("rollouts", () => {
  it("trap 15: sampling from a part of the distribution is refused", async () => {
    for (const part of [{ topP: 0.9 }, { topK: 2 }, { greedy: true }]) {
      await expect(tableRun(device, { generate: { ...table.settings, ...part } })).rejects.toThrow(
        /whole distribution/,
      );
    }
  });

  it("trap 16: the ids that were drawn are the ids that are scored, whatever their text", async () => {
    // "a" and "b" spell "x" both: no id survives decoding. Encoding throws (see the tokenizer).
    const blind: Tokenizer = {
      ...table.tokenizer,
      decode: (ids) => [...ids].map((id) => (id < 2 ? "x" : "")).join(""),
    };
    const seen: number[][] = [];
    const reward = functionReward("ids", (inputs) => {
      seen.push(...inputs.map((i) => [...i.responseIds]));
      return inputs.map((i) => i.responseIds.filter((id) => id === table.A).length);
    });
    const run = await tableRun(device, { tokenizer: blind, reward });
    const { episodes } = await run.iterate(0);
    expect(seen).toEqual(episodes.map((e) => e.sample.ids));
    expect(episodes.every((e) => e.score === e.sample.ids.filter((id) => id === table.A).length)).toBe(true);
    const { logprobs } = await run.scorer.score(
      episodes.map((e) => ({ query: table.prompt.ids, response: e.sample.ids })),
    );
    expect(logprobs.map((row) => row.length)).toEqual(episodes.map((e) => e.sample.ids.length));
    run.dispose();
  });

  it("trap 43: a reward that is not finite stops the rollout and names the text", async () => {
    const bad = functionReward("bad", (inputs) =>
      inputs.map(({ response }) => (response === "aa" ? NaN : 0)),
    );
    const run = await tableRun(device, { reward: bad });
    await expect(run.iterate(0)).rejects.toThrow(
      /reward bad: the score of "aa" is NaN; expected a finite number/,
    );
    run.dispose();
  });
});

describe("updates", () => {
  it("trap 24: old log-probabilities stay those of the rollout: ratios leave 1 after a step, and a large step is clipped", async () => {
    const policy = table
      .tableModel(device)
      .with(await trainableCopy(table.tableModel(device), { seed: 0, withHead: false }));
    const value = await separateValue(table.tableModel(device), 0);
    const optimizer = await createAdamW(device, policy.parameters);
    const updater = await createUpdater({
      ...lossSettings,
      policy,
      optimizer,
      value,
      valueOptimizer: undefined,
      microBatch: 7,
      positions: 2,
    });
    const scorer = createScorer({ policy, refPolicy: table.tableModel(device), temperature: 1, batch: 7 });
    const plain = await experienceAfter(table.prompt.ids);
    const { logprobs } = await scorer.score(plain);
    const experience = plain.map((e, y) => ({ ...e, oldLogprobs: logprobs[y]! }));
    await updater.step(experience, { lr: 0.01, valueLr: 0 });
    const first = await updater.stats();
    expect([first.approxKl, first.clipFrac]).toEqual([0, 0]);
    await updater.step(experience, { lr: 1, valueLr: 0 });
    const second = await updater.stats();
    expect(second.approxKl).toBeGreaterThan(0);
    expect(second.clipFrac).toBe(0);
    await updater.step(experience, { lr: 0, valueLr: 0 });
    const third = await updater.stats();
    expect(third.clipFrac).toBeGreaterThan(0.3);
    [updater, scorer, optimizer].forEach((x) => x.dispose());
  });

  it("trap 26: without a KL penalty, beta = 0, the KL is still measured", async () => {
    const run = await tableRun(device, {
      objective: findObjective("ppo"),
      settings: resolveSettings({ beta: 0 }),
      ppo: { lr: 0.1, lrSchedule: "constant" },
    });
    await run.iterate(0);
    const { metrics } = await run.iterate(1);
    for (const kl of [metrics.kl, metrics.klK1, metrics.klK3, metrics.approxKl, metrics.entropy])
      expect(kl).toBeGreaterThan(0);
    const { J: _noPenalty, ...finite } = metrics;
    for (const [name, x] of Object.entries(finite))
      if (typeof x === "number") expect(x, name).toSatisfy(Number.isFinite);
    run.dispose();
  });

  it("trap 38: micro-batches of unequal lengths add up to the gradient of the whole minibatch", async () => {
    const whole = await gradientsAfter(table.prompt.ids, 7, 2);
    for (const microBatch of [1, 2, 3]) {
      const parts = await gradientsAfter(table.prompt.ids, microBatch, 2);
      for (const kind of ["policy", "value"] as const) {
        for (const [name, grad] of parts[kind])
          expectAllClose(grad, whole[kind].get(name)!, 1e-6, `${kind} ${name}`);
      }
      for (const [name, x] of Object.entries(parts.stats))
        expectClose(x, whole.stats[name as "policyLoss"], 1e-6, name);
    }
    // The mean of per-row means would be another number: rows have one token or two.
    const lengths = (await experienceAfter(table.prompt.ids)).map((e) => e.response.length);
    expect(new Set(lengths)).toEqual(new Set([1, 2]));
  });

  it("trap 45: with n = 1 the policy stays at the reference", async () => {
    const rolloutSize = 512;
    const run = await tableRun(device, {
      settings: resolveSettings({ n: 1 }),
      ppo: {
        episodes: 60 * rolloutSize,
        rolloutSize,
        minibatch: rolloutSize,
        microBatch: rolloutSize,
        lr: 0.02,
        valueLr: 0.05,
      },
    });
    const first = await run.iterate(0);
    expect(first.episodes.map((e) => e.terminal)).toEqual(first.episodes.map(() => 0));
    let furthest = 0;
    for (let i = 1; i < run.iterations; i++) furthest = Math.max(furthest, (await run.iterate(i)).metrics.kl);
    const logPi = strings.stringLogprobs(tl1.model, await table.tableOf(run.policy));
    // Noise of the value function moves it a little at first; the penalty brings it back.
    expect(furthest).toBeGreaterThan(strings.stringKl(logPi, tl1.logRef));
    expect(strings.stringKl(logPi, tl1.logRef)).toBeLessThan(1e-4);
    run.dispose();
  });

  it("trap 40: a rollout is a function of seed, prompt and number: the size of the batch does not matter", async () => {
    const requests = Array.from({ length: 64 }, (_, m) => ({
      ids: [table.BOS],
      stream: streamOf([table.BOS], m),
    }));
    const wide = await createEngine(table.tableModel(device), 64, 1, table.settings);
    const narrow = await createEngine(table.tableModel(device), 5, 1, table.settings);
    const together = await wide.generate(requests, { seed: 7 });
    expect(await narrow.generate(requests, { seed: 7 })).toEqual(together);
    expect(await wide.generate([requests[63]!], { seed: 7 })).toEqual([together[63]]);
    expect(await wide.generate(requests, { seed: 8 })).not.toEqual(together);
    [wide, narrow].forEach((engine) => engine.dispose());
  });
});
