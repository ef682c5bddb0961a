/** The demo's other stages: a policy aligned, a policy judged. */
import { join } from "node:path";
import { saveModel } from "../../../models/load.ts";
import { cacheEntry, entryCdf, type RewardCache } from "../../align/cache/cache.ts";
import { type Evaluation, evaluatePolicy } from "../../align/evaluation.ts";
import { type AlignMetrics, type AlignRun, createAlignRun } from "../../align/loop.ts";
import { findObjective, type ObjectiveSettings, resolveSettings } from "../../align/objectives/index.ts";
import type { Episode } from "../../align/rollout.ts";
import { createScorer, type Scorer } from "../../align/scorer.ts";
import { valueExamples } from "../../align/value/pretrain.ts";
import { createEngine, type Engine } from "../../generate/engine.ts";
import { fixed } from "../../report/format.ts";
import type { Caches } from "./caches.ts";
import type { Stage } from "./stages.ts";

/** A method to align with. */
export interface Method {
  readonly name: "vbon" | "ppo";
  readonly settings: ObjectiveSettings;
}

/** A policy on the test prompts: its numbers, and the first response to each prompt. */
export interface Judged {
  readonly evaluation: Evaluation;
  readonly first: readonly Episode[];
}

/** An aligned policy: how it learned and how it did. Its weights are in the run's folder. */
export interface Aligned extends Judged {
  readonly name: string;
  readonly metrics: readonly AlignMetrics[];
}

/** Aligns with `method`, saves the policy and judges it; undefined when Ctrl-C came first. */
export async function alignPolicy(
  method: Method,
  caches: Caches,
  stage: Stage,
): Promise<Aligned | undefined> {
  const { io, plan, opened, reward, valueFrom, prompts, generate, out, clock } = stage;
  const { model: refPolicy, tokenizer } = opened;
  const shared = {
    refPolicy,
    valueFrom,
    tokenizer,
    reward,
    generate,
    rows: plan.rows.align,
    ppo: plan.ppo,
    cdf: {},
  };
  const objective = findObjective(method.name);
  const run = await clock.time("prepare programs", () =>
    createAlignRun({
      ...shared,
      objective,
      settings: method.settings,
      prompts: prompts.train,
      evalPrompts: prompts.test,
      cache: caches.train,
    }),
  );
  try {
    await clock.time("pre-train value function", () => pretrain(run, method, caches.train, stage));
    const metrics = await iterate(run, method, stage);
    run.finish();
    if (io.signal.aborted) return undefined;
    const judged = await judge(method.name, run, caches.test, stage);
    await saveModel(join(out, method.name), run.policy);
    await tokenizer.save(join(out, method.name));
    return { name: method.name, metrics, ...judged };
  } finally {
    run.dispose();
  }
}

/** The cached responses teach the value function before the first rollout; they cost nothing more. */
async function pretrain(
  run: AlignRun,
  { name, settings }: Method,
  cache: RewardCache,
  { io, plan, prompts, seed }: Stage,
): Promise<void> {
  const entries = prompts.train.map((p) => cacheEntry(cache, p));
  const examples = valueExamples(entries, run.cdfs!, findObjective(name), settings);
  const { passes, lr } = plan.pretrain;
  for (let pass = 0; pass < passes && !io.signal.aborted; pass++) {
    await run.valueTrainer?.pass(examples, {
      lr,
      minibatch: plan.ppo.minibatch,
      seed,
      stream: `pre-training ${pass}`,
    });
  }
}

async function iterate(run: AlignRun, { name }: Method, { io, clock }: Stage): Promise<AlignMetrics[]> {
  const all: AlignMetrics[] = [];
  const progress = io.progress({ label: `  ${name}`, total: run.iterations, unit: "rollouts" });
  for (let i = 0; i < run.iterations && !io.signal.aborted; i++) {
    const { metrics } = await run.iterate(i);
    all.push(metrics);
    for (const [what, seconds] of Object.entries(metrics.seconds)) clock.add(`align: ${what}`, seconds);
    progress.update(
      i + 1,
      `reward ${fixed(metrics.reward, 2)}, win ${fixed(metrics.rank, 2)}, KL ${fixed(metrics.kl, 2)}`,
    );
  }
  progress.stop();
  return all;
}

/** The reference as a policy like the others, on samples that the caches do not hold. */
export async function judgeReference(cache: RewardCache, stage: Stage): Promise<Judged> {
  const { opened, plan, prompts, generate } = stage;
  const { model } = opened;
  const engine = await createEngine(
    model,
    plan.rows.align,
    Math.max(...prompts.test.map((p) => p.ids.length)),
    generate,
  );
  const scorer = createScorer({
    policy: model,
    refPolicy: model,
    temperature: generate.temperature,
    batch: plan.ppo.microBatch,
  });
  try {
    return await judge("reference", { engine, scorer }, cache, stage);
  } finally {
    engine.dispose();
    scorer.dispose();
  }
}

async function judge(
  name: string,
  { engine, scorer }: { engine: Engine; scorer: Scorer },
  cache: RewardCache,
  stage: Stage,
): Promise<Judged> {
  const { io, plan, opened, reward, prompts, generate, seed, vbon, clock } = stage;
  const { samplesPerPrompt } = plan;
  const cdfs = prompts.test.map((p) => entryCdf(cacheEntry(cache, p)));
  const total = prompts.test.length * samplesPerPrompt * generate.maxNewTokens;
  const progress = io.progress({ label: `  judging ${name}`, total, unit: "tokens" });
  let done = 0;
  const { evaluation, answered } = await clock.time("evaluate", () =>
    evaluatePolicy({
      engine,
      scorer,
      tokenizer: opened.tokenizer,
      reward,
      prompts: prompts.test,
      cdfs,
      objective: findObjective("vbon"),
      settings: vbon,
      samplesPerPrompt,
      seed,
      onProgress: (tokens) => progress.update((done += tokens)),
    }),
  );
  progress.stop();
  return { evaluation, first: prompts.test.map((_, p) => answered.episodes[p * samplesPerPrompt]!) };
}

/** vBoN's settings for N, and PPO's that go as far from the reference: rewards divided so that both weigh KL alike. */
export function methodsFor(n: number, beta: number): { vbon: Method; ppo: Method } {
  return {
    vbon: { name: "vbon", settings: resolveSettings({ n }) },
    ppo: { name: "ppo", settings: resolveSettings({ n, beta, scale: beta * n }) },
  };
}
