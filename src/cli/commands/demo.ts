/** `vbon demo`: the main job in minutes: reward caches, vBoN and PPO, a comparison on held-out prompts, a report. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { matchedBeta } from "../../align/best-of-n/matched-beta.ts";
import { cacheEntry } from "../../align/cache/cache.ts";
import { ensureFolder, writeFileAtomic } from "../../data/files.ts";
import { bonKlBound } from "../../evaluate/bon-curve.ts";
import { packageUrl } from "../../host.ts";
import { duration, fixed } from "../../report/format.ts";
import { renderReport } from "../../report/page.ts";
import type { Comparison } from "../../report/types.ts";
import { createClock } from "../../train/clock.ts";
import { checkPrompts, roomFor } from "../cache/prompts.ts";
import { alignPolicy, judgeReference, methodsFor } from "../demo/align.ts";
import { buildCaches, type Caches } from "../demo/caches.ts";
import { demoPlan, type DemoPlan } from "../demo/plan.ts";
import { resultsTable, samplesText, timeTable } from "../demo/print.ts";
import { readSplitPrompts, type SplitPrompts } from "../demo/prompts.ts";
import { comparisonOf, type DemoResults, shortName } from "../demo/report.ts";
import type { Stage } from "../demo/stages.ts";
import { valueStart } from "../demo/value.ts";
import { endIds, type Opened, openLanguageModel, openReward, REWARD_HELP } from "../open.ts";
import { type AnyVerb, defineVerb, type Io } from "../verb.ts";

const schema = z.strictObject({
  out: z
    .string()
    .default("runs/demo")
    .meta({ description: "folder for caches, aligned models and report.html", hint: "DIR" }),
  quick: z
    .boolean()
    .default(false)
    .meta({ description: "a tenth of the work: shows that it runs, not what it can do" }),
  n: z.number().gt(1).lt(32).default(8).meta({ description: "the N of Best-of-N; need not be whole" }),
  seed: z.number().int().min(0).default(0).meta({ description: "of every random number" }),
  policy: z.string().optional().meta({
    description: "another language model's folder (default: the movie-review model that comes with vbon)",
    hint: "DIR",
  }),
  reward: z
    .string()
    .optional()
    .meta({
      description: `another ${REWARD_HELP} (default: the sentiment model that comes with vbon)`,
      hint: "SPEC",
    }),
  prompts: z.string().optional().meta({
    description: 'other prompts: lines of {split: "train" | "test", prompt or ids}',
    hint: "FILE.jsonl",
  }),
});

type Config = z.output<typeof schema>;

/** A table and samples on stdout, `report.html` in the folder. */
export const demo: AnyVerb = defineVerb({
  name: "demo",
  summary: "see it work: align a small movie-review model to positive sentiment, compare, write a report",
  schema,
  examples: [
    { does: "the whole demo: minutes on a processor, seconds on a GPU", line: "vbon demo" },
    { does: "a tenth of it", line: "vbon demo --quick" },
    {
      does: "with your own model and reward",
      line: "vbon demo --policy DIR --reward ./reward.mjs --prompts prompts.jsonl",
    },
  ],
  async run(config, io) {
    const start = performance.now();
    const stage = await openStage(config, io);
    const results = await compare(stage, config);
    if (!results) return io.note(`stopped; the same command goes on from the caches in ${config.out}`);
    const comparison = await comparisonOf(results, stage);
    const path = join(config.out, "report.html");
    await stage.clock.time("report", async () => writeFileAtomic(path, await renderReport(comparison)));
    tell(comparison, stage, path, (performance.now() - start) / 1000);
  },
});

const shipped = (name: string): string => fileURLToPath(packageUrl(`checkpoints/${name}`));

async function openStage({ out, quick, n, seed, ...other }: Config, io: Io): Promise<Stage> {
  const device = await io.device();
  const plan = demoPlan({ quick, seed });
  const { maxNewTokens, temperature } = plan;
  const [policy, spec] = [other.policy ?? shipped("movie-lm"), other.reward ?? shipped("movie-sentiment")];
  const opened = await openLanguageModel(device, policy);
  const { model, tokenizer } = opened;
  const reward = await openReward(device, spec);
  const prompts = await openPrompts(other.prompts ?? shipped("prompts.jsonl"), opened, plan);
  const positions = Math.max(...[...prompts.train, ...prompts.test].map((p) => p.ids.length)) + maxNewTokens;
  const valueFrom = await valueStart(device, policy, spec, positions);
  await ensureFolder(out);
  const where = `${device.name}${device.software ? ", a software adapter" : ""}`;
  io.note(`${opened.name} aligned to ${shortName(reward.name)} on ${where}`);
  const generate = { maxNewTokens, eosIds: endIds(model, tokenizer), temperature };
  const vbon = methodsFor(n, 1).vbon.settings;
  return { io, plan, opened, reward, valueFrom, prompts, generate, out, seed, vbon, clock: createClock() };
}

async function openPrompts(
  file: string,
  { model, tokenizer }: Opened,
  { prompts: most, maxNewTokens }: DemoPlan,
): Promise<SplitPrompts> {
  const all = await readSplitPrompts(file, tokenizer);
  checkPrompts(file, [...all.train, ...all.test], model.config);
  const prompts = { train: all.train.slice(0, most.train), test: all.test.slice(0, most.test) };
  roomFor(file, [...prompts.train, ...prompts.test], model.config, maxNewTokens, 1);
  return prompts;
}

/** All stages; undefined when Ctrl-C came between. */
async function compare(stage: Stage, config: Config): Promise<DemoResults | undefined> {
  const { io, plan, prompts, clock } = stage;
  const { episodes } = plan.ppo;
  const { train, test } = plan.samples;
  io.note(
    `1/4 reward caches: ${train} responses of the reference to ${prompts.train.length} train prompts, ${test} to ${prompts.test.length} test prompts`,
  );
  const caches = await clock.time("cache", () => buildCaches(stage));
  if (io.signal.aborted) return undefined;
  const beta = betaFor(caches, stage, config.n);
  const methods = methodsFor(config.n, beta);
  io.note(`2/4 vbon: toward the Best-of-${config.n} policy, learning from ${episodes} responses`);
  const vbon = await alignPolicy(methods.vbon, caches, stage);
  if (!vbon) return undefined;
  io.note(
    `3/4 ppo: reward and KL penalty; the optimum of beta = ${beta.toPrecision(2)} is as far from the reference, ${fixed(bonKlBound(config.n), 2)} nats`,
  );
  const ppo = await alignPolicy(methods.ppo, caches, stage);
  if (!ppo) return undefined;
  io.note("4/4 comparison: the reference on the test prompts, the report");
  const reference = await judgeReference(caches.test, stage);
  if (io.signal.aborted) return undefined;
  const title =
    config.policy === undefined && config.reward === undefined
      ? "Movie reviews, aligned to positive sentiment"
      : `${stage.opened.name}, aligned to ${shortName(stage.reward.name)}`;
  return { title, caches, reference, ppo, vbon, beta, adapter: (await io.device()).name };
}

/** The beta at which PPO's optimum has the KL of Best-of-n, read off the train cache. */
function betaFor({ train }: Caches, { prompts }: Stage, n: number): number {
  return matchedBeta(
    prompts.train.map((p) => cacheEntry(train, p).rewards),
    bonKlBound(n),
  );
}

function tell(
  comparison: Comparison,
  { io, plan, clock, out }: Stage,
  report: string,
  seconds: number,
): void {
  const { methods, bonCurve, samples } = comparison;
  const look = { width: Math.max(60, process.stdout.columns ?? 120), ansi: process.stdout.isTTY === true };
  io.result({ kind: "results", methods, bonCurve }, `\n${resultsTable(methods, comparison.task.N, look)}\n`);
  const shown = samples.slice(0, plan.shown.terminal);
  io.result({ kind: "samples", samples: shown }, `${samplesText(shown, look)}\n`);
  io.result({ kind: "time", seconds, stages: clock.seconds }, `${timeTable(clock.seconds)}\n`);
  io.result(
    { kind: "report", report, models: [join(out, "vbon"), join(out, "ppo")] },
    `report: ${report} (everything took ${duration(seconds)})`,
  );
}
