/** What a run of `vbon align` is about: models, caches and reward, opened and found to fit; its evaluation and its end. */
import { join } from "node:path";
import { saveAdapter } from "../../../models/adapter.ts";
import type { Evaluation } from "../../align/evaluation.ts";
import type { Reward } from "../../align/rewards.ts";
import type { Scorer } from "../../align/scorer.ts";
import { writeFileAtomic } from "../../data/files.ts";
import type { Engine } from "../../generate/engine.ts";
import type { Device } from "../../gpu/device.ts";
import type { LanguageModel } from "../../nn/lm.ts";
import { askedLike, type CacheTask, openCacheTask } from "../cache/task.ts";
import { measure } from "../evaluate/measure.ts";
import { evaluationReport, judgeFor } from "../evaluate/report.ts";
import { type FrozenFlags, frozenOf } from "../flags/frozen.ts";
import { layersOf } from "../flags/layers.ts";
import { checkAdapterBase, type LoraFlags, loraOf } from "../flags/lora.ts";
import { type ComputingFlags, computingOf } from "../flags/training.ts";
import { endIds, type Opened, openLanguageModel, openReward } from "../open.ts";
import type { Io } from "../verb.ts";
import { saveAligned } from "./save.ts";
import type { AlignFlags } from "./schema.ts";

/** Evaluations draw the random numbers that `vbon evaluate` draws by default, whatever the run's seed. */
const EVALUATION_SEED = 0;

/** What a run is about. */
export interface Subject {
  readonly reference: Opened;
  readonly reward: Reward;
  /** What evaluations score with: `reward`, or another one. */
  readonly evalReward: Reward;
  readonly watched: { readonly reward: Reward; failed(): boolean };
  readonly task: CacheTask;
  readonly test: CacheTask | undefined;
  /** N of the Best-of-N that J is measured against. */
  readonly n: number;
  readonly eosIds: readonly number[];
}

/**
 * Opens all that the flags name.
 * @throws ConfigError, FormatError where something is missing or does not fit
 */
export async function openSubject(device: Device, flags: AlignFlags, n: number): Promise<Subject> {
  layersOf("align", flags);
  const reference = await openReference(device, flags);
  const frozen = frozenOf(flags, device);
  const watched = watchReward(await openReward(device, flags.reward, frozen));
  const { reward } = watched;
  const { model, tokenizer } = reference;
  const expected = { reference: model, tokenizer, reward, asked: flags };
  const task = await openCacheTask(flags.cache, { ...expected, maxSamples: flags.maxSamples });
  const evalReward =
    flags.evalReward === undefined ? reward : await openReward(device, flags.evalReward, frozen);
  const test =
    flags.evalCache === undefined
      ? undefined
      : await openCacheTask(flags.evalCache, { ...expected, reward: evalReward, asked: askedLike(task) });
  return { reference, reward, evalReward, watched, task, test, n, eosIds: endIds(model, tokenizer) };
}

/**
 * The policy as it is, frozen. The policy that is trained and a value function that start from it compute as it does.
 * @throws ConfigError, FormatError where something is missing or does not fit
 */
export async function openReference(
  device: Device,
  flags: Pick<AlignFlags, "policy" | "adapter"> & LoraFlags & ComputingFlags & FrozenFlags,
): Promise<Opened> {
  const computing = computingOf(flags, device);
  checkAdapterBase("align", flags.adapter, flags);
  const opened = await openLanguageModel(device, flags.policy, frozenOf(flags, device), flags.adapter);
  return { ...opened, model: opened.model.with(opened.model.parameters, computing) };
}

/** The same reward, and whether it has failed: what a run knows then is still whole. */
function watchReward({ name, score }: Reward): Subject["watched"] {
  let failed = false;
  const watched: Reward["score"] = async (inputs) => {
    failed = true;
    const scores = await score(inputs);
    failed = false;
    return scores;
  };
  return { reward: { name, score: watched }, failed: () => failed };
}

/** Prompts that are trained on and tested on; empty when all is well. */
export function overlapWarnings({ task, test }: Subject): string[] {
  const trained = new Set(task.prompts.map((p) => p.ids.join(",")));
  const seen = (test?.prompts ?? []).filter((p) => trained.has(p.ids.join(","))).length;
  if (seen === 0) return [];
  return [`${seen} of the ${test!.prompts.length} prompts of ${test!.path} are also trained on`];
}

/** Measures the policy of `engine` and `scorer` on the prompts of `test`. */
export function evaluateOn(
  test: CacheTask,
  { engine, scorer }: { readonly engine: Engine; readonly scorer: Scorer },
  { reference, evalReward: reward, n }: Subject,
  flags: AlignFlags,
  io: Io,
): Promise<Evaluation> {
  const { tokenizer } = reference;
  const judge = judgeFor(n);
  const samples = flags.evalSamples;
  return measure(
    { engine, scorer, tokenizer, reward, task: test, judge, samples, seed: EVALUATION_SEED },
    io,
  );
}

/** How a run ended. */
export interface RunResult {
  readonly policy: LanguageModel;
  readonly measured: Evaluation | undefined;
  readonly seconds: Readonly<Record<string, number>>;
  /** How much it has trained, for the model card: "episodes", "pairs". */
  readonly amount: Readonly<Record<string, number>>;
  /** What the result's record says beside. */
  readonly record: Readonly<Record<string, unknown>>;
}

/** Writes model/, its card, adapter/ where adapters were trained, and evaluation.json; on stdout, the evaluation. */
export async function finishRun(
  result: RunResult,
  subject: Subject,
  flags: AlignFlags,
  io: Io,
): Promise<void> {
  const { policy, measured, seconds, amount } = result;
  const { reference, reward, task, test, n, eosIds } = subject;
  const model = join(flags.out, "model");
  const report = measured && test && evaluationReport(flags.method, measured, test.entries, judgeFor(n));
  const evalPrompts = test?.prompts.length ?? 0;
  await saveAligned(model, {
    policy,
    amount,
    reference,
    task,
    reward: reward.name,
    n,
    eosIds,
    report,
    evalPrompts,
    seconds,
    flags,
  });
  const lora = loraOf(flags);
  if (lora) await saveAdapter(join(flags.out, "adapter"), policy, lora, flags.policy);
  if (report)
    await writeFileAtomic(join(flags.out, "evaluation.json"), `${JSON.stringify(report.record, null, 2)}\n`);
  const text = `${model}: ${Object.entries(amount)
    .map(([what, count]) => `${count} ${what}`)
    .join(", ")}`;
  io.result(
    { model, ...result.record, seconds, ...report?.record },
    report ? `${report.text}\n\n${text}` : text,
  );
}
