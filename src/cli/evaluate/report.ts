/** The result of an evaluation for people and for programs: reference and policy side by side, Best-of-N below. */
import { createCdf } from "../../align/best-of-n/cdf.ts";
import type { CacheEntry } from "../../align/cache/cache.ts";
import type { Evaluation } from "../../align/evaluation.ts";
import {
  findObjective,
  type Objective,
  type ObjectiveSettings,
  resolveSettings,
} from "../../align/objectives/index.ts";
import { readJson } from "../../data/files.ts";
import { bonCurve, type BonPoint } from "../../evaluate/bon-curve.ts";
import { mean } from "../../evaluate/mean.ts";
import { distinctN } from "../../evaluate/text-metrics.ts";
import { formatTable } from "../../report/console-table.ts";
import { fixed, interval, percent } from "../../report/format.ts";
import type { BonPoint as DrawnBonPoint, MethodResult } from "../../report/types.ts";

/** By what policies are compared: exact vBoN at one N, whatever they were trained with, so that J is one ruler. */
export interface Judge {
  readonly objective: Objective;
  readonly settings: ObjectiveSettings;
}

/** The judge for Best-of-`n`; n that is not finite (beta 0) leaves J without a meaning and counts as 1. */
export function judgeFor(n: number): Judge {
  return { objective: findObjective("vbon"), settings: resolveSettings({ n: Number.isFinite(n) ? n : 1 }) };
}

/** The reference on the cache's own samples; NaN where the cache does not tell. */
export interface ReferenceNumbers {
  readonly reward: number;
  readonly win: number;
  readonly kl: number;
  readonly J: number;
  readonly length: number;
  readonly eosRate: number;
  readonly distinct1: number;
  readonly distinct2: number;
}

/** All that `vbon evaluate` tells. */
export interface EvaluationReport {
  readonly record: Readonly<Record<string, unknown>>;
  readonly text: string;
  readonly methods: readonly MethodResult[];
  readonly bon: readonly BonPoint[];
}

/** Best-of-N as reports show it; without a win rate, where N = M leaves no opponent, there is no point. */
export const bonPointsOf = (points: readonly BonPoint[]): DrawnBonPoint[] =>
  points.flatMap(({ n, reward, winRate, klBound }) =>
    winRate === undefined ? [] : [{ n, reward, win: winRate, kl: klBound }],
  );

/** What {@link EvaluationReport} leaves in a file: `record`. */
export interface StoredEvaluation {
  readonly n: number;
  /** Of the reference, a prompt. */
  readonly samples: number;
  readonly reference: ReferenceNumbers;
  readonly policy: Evaluation;
  readonly bestOfN: readonly BonPoint[];
}

/** Reads an evaluation back. @throws FormatError where there is none */
export const readEvaluation = async (path: string): Promise<StoredEvaluation> =>
  (await readJson(path)) as StoredEvaluation;

/** N of the Best-of-N curve, as far as the cache reaches. */
const NS = [1, 2, 4, 8, 16, 32, 64, 128];

/** Puts an evaluation beside the reference and Best-of-N, both from the cached samples `entries`. */
export function evaluationReport(
  name: string,
  evaluation: Evaluation,
  entries: readonly CacheEntry[],
  judge: Judge,
): EvaluationReport {
  const reference = referenceNumbers(entries, judge, evaluation.samplesPerPrompt);
  const fewest = Math.min(...entries.map((e) => e.rewards.length));
  const bon = bonCurve(
    entries.map((e) => e.rewards),
    NS.filter((n) => n <= fewest),
  );
  const { n } = judge.settings;
  return {
    record: { n, samples: fewest, reference, policy: evaluation, bestOfN: bon },
    text: [headline(evaluation, fewest), sideBySide(name, reference, evaluation, n), bonTable(bon)].join(
      "\n\n",
    ),
    methods: [methodOf("reference", reference), methodOf(name, evaluation)],
    bon,
  };
}

function referenceNumbers(entries: readonly CacheEntry[], judge: Judge, samples: number): ReferenceNumbers {
  // Distinct-n falls with the number of responses: as many of each prompt as the policy gave.
  const ids = entries.flatMap((e) => e.responseIds?.slice(0, samples) ?? []);
  return {
    reward: mean(entries.map((e) => mean(e.rewards))),
    win: 0.5,
    kl: 0,
    J: mean(entries.flatMap((e) => ratios(e, judge))),
    length: mean(entries.flatMap((e) => e.lengths ?? [])),
    eosRate: mean(entries.flatMap((e) => e.finished?.map(Number) ?? [])),
    distinct1: ids.length > 0 ? distinctN(ids, 1) : NaN,
    distinct2: ids.length > 0 ? distinctN(ids, 2) : NaN,
  };
}

/** log pi_bon - log pi_ref of each cached response: the reference's KL is 0, so that their mean is its J. */
function ratios({ rewards, logprobs }: CacheEntry, { objective, settings }: Judge): number[] {
  const cdf = createCdf(rewards);
  const weight = objective.klWeight(settings);
  return (logprobs ?? []).map((logProbRef, m) => {
    const score = rewards[m]!;
    return objective.terminal({ score, logProbRef, cdf: cdf.at(score) }, settings) / weight;
  });
}

/** Mean; NaN for nothing. */
const headline = ({ prompts, samplesPerPrompt }: Evaluation, fewest: number): string =>
  `${prompts} prompts, ${samplesPerPrompt} responses of the policy and ${fewest} of the reference to each`;

interface Row {
  readonly title: string;
  readonly reference: string;
  readonly policy: string;
  readonly spread?: string;
}

function sideBySide(name: string, reference: ReferenceNumbers, e: Evaluation, n: number): string {
  const se = (x: number): string => `± ${fixed(x)}`;
  const rows: readonly Row[] = [
    {
      title: "win rate",
      reference: fixed(reference.win),
      policy: fixed(e.win.mean),
      spread: interval([e.win.low, e.win.high]),
    },
    { title: "reward", reference: fixed(reference.reward), policy: fixed(e.reward), spread: se(e.rewardSe) },
    { title: "KL, nats", reference: fixed(0), policy: fixed(e.kl), spread: se(e.klSe) },
    { title: "KL by k1", reference: fixed(0), policy: fixed(e.klK1), spread: se(e.klK1Se) },
    { title: "KL by k3", reference: fixed(0), policy: fixed(e.klK3), spread: se(e.klK3Se) },
    { title: `J at N = ${n}, nats`, reference: fixed(reference.J), policy: fixed(e.J) },
    {
      title: "length, tokens",
      reference: fixed(reference.length, 1),
      policy: fixed(e.length, 1),
      spread: `${e.lengths.min} to ${e.lengths.max}`,
    },
    { title: "ends with EOS", reference: percent(reference.eosRate, 2), policy: percent(e.eosRate, 2) },
    { title: "distinct-1", reference: fixed(reference.distinct1), policy: fixed(e.distinct1) },
    { title: "distinct-2", reference: fixed(reference.distinct2), policy: fixed(e.distinct2) },
  ];
  return formatTable(rows, [
    { title: "", value: (r) => r.title },
    { title: "reference", value: (r) => r.reference, align: "right" },
    { title: name, value: (r) => r.policy, align: "right" },
    { title: "", value: (r) => r.spread ?? "" },
  ]);
}

function bonTable(points: readonly BonPoint[]): string {
  return formatTable(points, [
    { title: "Best-of-N", value: (p) => p.n },
    { title: "win rate", value: (p) => p.winRate, digits: 3 },
    { title: "reward", value: (p) => p.reward, digits: 3 },
    { title: "KL bound", value: (p) => p.klBound, digits: 3 },
  ]);
}

/** The numbers of a reference or of a policy as reports show them. */
export function methodOf(name: string, numbers: ReferenceNumbers | Evaluation): MethodResult {
  const { reward, kl, J, length, eosRate, distinct2 } = numbers;
  const common = { name, reward, kl, J, length, eosRate, distinct2 };
  if (!("rewardSe" in numbers)) return { ...common, win: numbers.win };
  const { win, rewardSe, klK1, klK3 } = numbers;
  return { ...common, win: win.mean, winInterval: [win.low, win.high], rewardSe, klK1, klK3 };
}
