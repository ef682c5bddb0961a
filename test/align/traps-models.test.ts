/** Traps that need a transformer: padding, positions, temperature, a reference that must not move, the reference's own ranks. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { loadModel } from "../../models/load.ts";
import { buildCache, type Prompt } from "../../src/align/cache/build.ts";
import { openCacheWriter, readCache } from "../../src/align/cache/file.ts";
import { type AlignOptions, type AlignRun, createAlignRun, type PpoSettings } from "../../src/align/loop.ts";
import { findObjective, resolveSettings } from "../../src/align/objectives/index.ts";
import { functionReward } from "../../src/align/rewards.ts";
import { createScorer } from "../../src/align/scorer.ts";
import { collect, sequenceInputs, spread, writeSequences } from "../../src/align/sequences.ts";
import { policyLoss, valueLoss } from "../../src/align/update/ppo-loss.ts";
import { sharedValue, trainableCopy } from "../../src/align/value/function.ts";
import { createEngine, type GenerateSettings } from "../../src/generate/engine.ts";
import type { LanguageModel } from "../../src/nn/lm.ts";
import { add } from "../../src/ops/binary.ts";
import { backward } from "../../src/optim/gradients.ts";
import { createRandom } from "../../src/tensor/random.ts";
import { input, record } from "../../src/tensor/tensor.ts";
import { gradientsOf, ppo } from "../support/align-run.ts";
import { testDevice } from "../support/device.ts";
import { expectAllClose } from "../support/golden.ts";
import * as table from "../support/table-model.ts";

const device = await testDevice();
const folder = mkdtempSync(join(tmpdir(), "vbon-traps-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
  device.close();
});

const load = (name: string): Promise<LanguageModel> =>
  loadModel(device, new URL(`../fixtures/models/${name}`, import.meta.url).pathname, { trainable: false });
/** Prompts of `least` to `longest` tokens. */
const promptsOf = (count: number, longest: number, least = 1): Prompt[] =>
  Array.from({ length: count }, (_, p) => {
    const random = createRandom(5, p);
    const length = least + (p % (longest - least + 1));
    return { ids: Array.from({ length }, () => 3 + random.integer(80)), text: `prompt ${p}` };
  });
const tokenizer = {
  ...table.tokenizer,
  vocabSize: 97,
  decode: (ids: Iterable<number>): string => [...ids].join(" "),
};
const evens = functionReward("evens", (inputs) =>
  inputs.map((i) => i.responseIds.filter((id) => id % 2 === 0).length),
);
const drawn: GenerateSettings = { maxNewTokens: 6, eosIds: [2], temperature: 0.7 };

function modelRun(
  refPolicy: LanguageModel,
  settings: Partial<PpoSettings> = {},
  prompts = promptsOf(5, 5),
  how: Pick<AlignOptions, "lora" | "layers"> = {},
): Promise<AlignRun> {
  return createAlignRun({
    ...how,
    refPolicy,
    tokenizer,
    reward: evens,
    prompts,
    cache: undefined,
    cdf: {},
    objective: findObjective("ppo"),
    settings: resolveSettings({ beta: 0.1 }),
    generate: drawn,
    rows: 16,
    ppo: { ...ppo, rolloutSize: 24, minibatch: 24, microBatch: 8, ...settings },
  });
}

describe.each(["gpt2-tiny", "llama-tiny-gqa"])("%s", (name) => {
  it.each(["separate", "shared"] as const)(
    "traps 14 and 17: at T = .7 and with unequal lengths, sampler, scorer and update agree: KL 0, ratio exactly 1 (%s value)",
    async (value) => {
      const run = await modelRun(await load(name), { value });
      const { episodes, metrics } = await run.iterate(0);
      expect([metrics.kl, metrics.klK1, metrics.klK3, metrics.approxKl, metrics.clipFrac]).toEqual([
        0, 0, 0, 0, 0,
      ]);
      const fresh = await modelRun(await load(name), { value });
      const sequences = episodes.map((e) => ({
        query: promptsOf(5, 5)[e.prompt]!.ids,
        response: e.sample.ids,
      }));
      const { logprobs } = await fresh.scorer.score(sequences);
      expect(new Set(sequences.map((s) => s.query.length)).size).toBe(5);
      episodes.forEach((e, i) => expectAllClose(e.sample.logprobs, logprobs[i]!, 1e-5, `response ${i}`));
      const atOne = createScorer({ policy: fresh.policy, refPolicy: fresh.policy, temperature: 1, batch: 8 });
      const other = (await atOne.score(sequences)).logprobs[0]!;
      expect(Math.abs(other[0]! - logprobs[0]![0]!), "the temperature matters").toBeGreaterThan(0.01);
      [run, fresh, atOne].forEach((x) => x.dispose());
    },
  );

  it.each([
    {},
    { layers: { count: 1 } },
    ...(name === "gpt2-tiny" ? [{ layers: { count: 1, positions: true } }] : []),
    { lora: { pattern: "all-linear", rank: 2, alpha: 4 } },
  ])("trap 27: the reference keeps its bits while the policy trains: %j", async (how) => {
    const refPolicy = await load(name);
    const before = await refPolicy.parameters.hash();
    const run = await modelRun(refPolicy, { lr: 0.02 }, undefined, how);
    const fixed = promptsOf(5, 5).map(({ ids }) => ({ query: ids, response: [5, 9, 4, 7] }));
    const start = await run.scorer.score(fixed);
    for (let i = 0; i < 3; i++) await run.iterate(i);
    const end = await run.scorer.score(fixed);
    expect(end.refLogprobs).toEqual(start.refLogprobs);
    expect(end.logprobs).not.toEqual(start.logprobs);
    run.dispose();
    expect(await refPolicy.parameters.hash()).toBe(before);
  });

  it.each(["separate", "shared"] as const)(
    "in mixed precision the ratio of the first minibatch is exactly 1 as well, and the KL 0 (%s value)",
    async (value) => {
      const exact = await load(name);
      const refPolicy = exact.with(exact.parameters, { precision: "mixed" });
      const run = await modelRun(refPolicy, { value, lossScale: {}, ppoEpochs: 1 });
      const { episodes, metrics } = await run.iterate(0);
      expect([metrics.kl, metrics.klK1, metrics.klK3, metrics.approxKl, metrics.clipFrac]).toEqual([
        0, 0, 0, 0, 0,
      ]);
      expect(metrics).toMatchObject({ lossScale: 65536, skipped: 0 });
      // A second pass sees the weights of the first one's step: ratios are taken, not given.
      const two = await modelRun(refPolicy, { value, lossScale: {}, ppoEpochs: 2 });
      expect((await two.iterate(0)).metrics.approxKl).toBeGreaterThan(0);
      // The responses are sampled in f32, and judged in mixed precision: close, and not the same.
      const sequences = episodes.map((e) => ({
        query: promptsOf(5, 5)[e.prompt]!.ids,
        response: e.sample.ids,
      }));
      const fresh = await modelRun(refPolicy, { value });
      const { logprobs } = await fresh.scorer.score(sequences);
      const gaps = episodes.flatMap((e, i) =>
        Array.from(e.sample.logprobs, (l, t) => Math.abs(l - logprobs[i]![t]!)),
      );
      expect(Math.max(...gaps)).toBeGreaterThan(1e-5);
      expect(Math.max(...gaps)).toBeLessThan(0.05);
      [run, two, fresh].forEach((x) => x.dispose());
    },
  );

  it("traps 17 and 28: a row's scores do not depend on the rows beside it or on their padding, and repeat bit for bit", async () => {
    const model = await load(name);
    const scorer = createScorer({ policy: model, refPolicy: model, temperature: 1, batch: 4 });
    const sequences = promptsOf(4, 4).map(({ ids }, p) => ({
      query: ids,
      response: promptsOf(9, 9)[2 * p]!.ids,
    }));
    const long = { query: promptsOf(12, 12)[11]!.ids, response: promptsOf(20, 20)[19]!.ids };
    const padded = await scorer.score([...sequences, long]);
    expect(await scorer.score([...sequences, long])).toEqual(padded);
    for (const [i, sequence] of sequences.entries()) {
      const alone = await scorer.score([sequence]);
      for (const what of ["logprobs", "refLogprobs", "entropy", "kl"] as const)
        expect(alone[what][0], what).toEqual(padded[what][i]);
    }
    const backwards = await scorer.score([...sequences, long].toReversed());
    expect(backwards.kl.toReversed()).toEqual(padded.kl);
    scorer.dispose();
  });

  it("trap 13: what stands in the padding does not matter, be it the end token: equal losses and gradients, bit for bit", async () => {
    const model = await load(name);
    const policy = model.with(await trainableCopy(model, { seed: 0, withHead: true }));
    const [eos, B, T] = [7, 3, 8];
    const sequences = [1, 3, 6].map((n, b) => ({
      query: [3 + b, 4],
      response: [...Array<number>(n - 1).fill(11 + b), eos],
    }));
    const program = await record(device, "padding", () => {
      const inputs = sequenceInputs(B, T);
      const [advantages, weights, zeros] = [input([B * T]), input([B * T]), input([B * T])];
      const hidden = policy.hidden(inputs.batch).reshape(B * T, -1);
      const { logprobs } = policy.logprobs(hidden, inputs.targets);
      const loss = policyLoss(logprobs, logprobs.detach(), advantages, weights, 0.2);
      const values = valueLoss(
        sharedValue(policy).values(inputs.batch, hidden),
        zeros,
        advantages,
        weights,
        0.2,
      );
      backward(add(loss, values));
      return { inputs, advantages, weights, logprobs, loss, values };
    });
    const { inputs, ...others } = program.result;
    const rows = sequences.map((s) => s.response.map((_, t) => 1 + t));
    writeSequences(inputs, sequences);
    others.advantages.write(spread(sequences, rows, inputs));
    others.weights.write(spread(sequences, rows.map((row) => row.map(() => 0.1)), inputs)); // prettier-ignore
    const lengths = sequences.map((s) => s.query.length + s.response.length - 1);
    const paddedWith = (id: number, offset: number): number[] =>
      sequences.flatMap((s, b) => {
        const tokens = [...s.query, ...s.response].slice(offset, offset + lengths[b]!);
        return [...tokens, ...Array<number>(T - tokens.length).fill(id)];
      });
    const results = [];
    for (const padId of [0, eos]) {
      inputs.batch.ids.write(paddedWith(padId, 0));
      inputs.targets.write(paddedWith(padId, 1));
      policy.parameters.zeroGrads();
      program.run();
      const logprobs = collect(sequences, await others.logprobs.read(), T);
      const losses = [...(await others.loss.read()), ...(await others.values.read())];
      results.push({ losses, logprobs, grads: await gradientsOf(policy.parameters) });
    }
    expect(results[1]).toEqual(results[0]);
    expect(results[0]!.logprobs.map((row) => row.length)).toEqual([1, 3, 6]);
    expect(results[0]!.losses[0]).not.toBe(0);
    program.dispose();
  });

  it("trap 27: the reference stays what it was over 20 updates, embeddings and positions included", async () => {
    const refPolicy = await load(name);
    const before = await refPolicy.parameters.hash();
    for (const value of ["separate", "shared"] as const) {
      const run = await modelRun(refPolicy, {
        value,
        lr: 0.01,
        ppoEpochs: 2,
        minibatch: 8,
        episodes: 4 * 24,
        lrSchedule: "constant",
      });
      const sequences = [{ query: [3, 4, 5], response: [6, 7, 8, 9, 2] }];
      const { refLogprobs, logprobs } = await run.scorer.score(sequences);
      expect(logprobs).toEqual(refLogprobs);
      for (let i = 0; i < run.iterations; i++) await run.iterate(i);
      expect(run.optimizers[0]!.steps).toBeGreaterThanOrEqual(20);
      const after = await run.scorer.score(sequences);
      expect(after.refLogprobs).toEqual(refLogprobs);
      expect(after.logprobs).not.toEqual(logprobs);
      expect(await refPolicy.parameters.hash()).toBe(before);
      run.dispose();
    }
  });
});

describe("a policy that is the reference", () => {
  /** Any response has a score of its own: its ids, weighed by place; more tokens or bolder ones score higher. */
  const reward = functionReward("weighed", (inputs) =>
    inputs.map(({ responseIds }) =>
      responseIds.reduce((sum, id, t) => sum + (id % 31) + id * 0.01 ** (t + 1), 0),
    ),
  );
  const [P, M] = [480, 15];
  const prompts = promptsOf(P, 6, 3);

  /** Chi-squared over the M + 1 ranks of one fresh response a prompt, and its mean rank. */
  async function ranks(generate: GenerateSettings): Promise<{ chi2: number; win: number }> {
    const model = await load("llama-tiny-gqa");
    const path = join(folder, `cache-${generate.temperature}-${generate.maxNewTokens}.jsonl`);
    const { temperature, maxNewTokens } = generate;
    const made = {
      model: "",
      modelHash: "",
      reward: reward.name,
      temperature,
      topK: 0,
      topP: 1,
      maxNewTokens,
      seed: 1,
      m: M,
    };
    const writer = await openCacheWriter(path, {
      format: "vbon-cache",
      version: 1,
      ...made,
      dtype: "f32",
      created: "",
    });
    const engine = await createEngine(model, 240, 6, generate);
    await buildCache(prompts, writer, { engine, reward, tokenizer, seed: 1, samples: M });
    await writer.close();
    engine.dispose();
    const options = {
      tokenizer,
      reward,
      prompts,
      cdf: {},
      objective: findObjective("vbon"),
      settings: resolveSettings({ n: 4 }),
    };
    const run = await createAlignRun({
      ...options,
      refPolicy: model,
      cache: await readCache(path),
      generate: drawn,
      rows: 240,
      ppo: { ...ppo, seed: 1, rolloutSize: P, minibatch: P, microBatch: 120, episodes: P },
    });
    const { episodes } = await run.iterate(0);
    run.dispose();
    expect(new Set(episodes.map((e) => e.prompt)).size).toBe(P);
    const counts = new Float64Array(M + 1);
    for (const { rank } of episodes) counts[Math.round(rank * M)]! += 1;
    const win = episodes.reduce((sum, e) => sum + e.rank, 0) / P;
    return { chi2: counts.reduce((sum, n) => sum + (n - P / (M + 1)) ** 2 / (P / (M + 1)), 0), win };
  }
  // Quantile .999 of chi-squared with 15 degrees of freedom; .022 is the standard error of 480 mean ranks.
  const LIMIT = 37.7;
  const STANDARD_ERROR = Math.sqrt((M + 2) / (12 * M * P));

  it("trap 30: ranks uniformly among its cache, and wins half", async () => {
    const { chi2, win } = await ranks(drawn);
    expect(chi2).toBeLessThan(LIMIT);
    expect(Math.abs(win - 0.5)).toBeLessThan(3.3 * STANDARD_ERROR);
  });

  it.each([{ temperature: 0.2 }, { maxNewTokens: 4 }])(
    "trap 30: does not when the cache was made with %o",
    async (other) => {
      expect((await ranks({ ...drawn, ...other })).chi2).toBeGreaterThan(LIMIT);
    },
  );
});
