/**
 * What a report shows: plain records, built by the command line, drawn by the page, the console and the model card.
 * A field that was not measured is left out; a report never invents a number for it.
 */

/** One prompt's rewards under the reference: the sample behind its empirical CDF. */
export interface PromptCdf {
  readonly prompt: string;
  /** Rewards of the M cached reference samples, in any order. */
  readonly rewards: readonly number[];
}

/** The setting that all methods of a comparison share. */
export interface Task {
  /** Name of the policy's starting point, which is also the reference. */
  readonly policy: string;
  /** Name of the reward, used in axis titles. */
  readonly reward: string;
  /** Number of test prompts. */
  readonly prompts: number;
  /** Cached reference samples per prompt. */
  readonly M: number;
  /** The N of Best-of-N that vBoN aims at; real. */
  readonly N: number;
  readonly maxNewTokens: number;
  readonly temperature: number;
  readonly seed: number;
  /** Adapter, processor, operating system: what the numbers were measured on. */
  readonly machine: string;
  /** ISO 8601. */
  readonly date: string;
  /** Version of this package. */
  readonly version: string;
  /** Seconds per stage, such as `{ cache: 120, "train vbon": 900 }`. */
  readonly durations: Readonly<Record<string, number>>;
  /** Any further setting worth printing (learning rate, dtype, runtime version). */
  readonly settings?: Readonly<Record<string, string | number | boolean>>;
}

/** One trained policy, or the reference, as measured on the test prompts. */
export interface MethodResult {
  /** "reference", "vbon", "ppo"... Results with the same name are one series, joined by a line. */
  readonly name: string;
  /** What tells results of one name apart, such as "N = 8" or "beta = 0.1"; printed beside the point. */
  readonly setting?: string;
  readonly reward: number;
  /** Standard error of `reward`. */
  readonly rewardSe?: number;
  /** Mean rank among the prompt's reference samples, ties one half; in [0, 1]. */
  readonly win: number;
  /** 95 % interval of `win`. */
  readonly winInterval?: readonly [number, number];
  /** Full-vocabulary stepwise KL from the reference, nats per response. */
  readonly kl: number;
  /** The same by the k1 and k3 estimators. */
  readonly klK1?: number;
  readonly klK3?: number;
  /** E[R] - KL: minus the KL from the Best-of-N policy, nats; 0 is perfect. */
  readonly J?: number;
  /** Mean response length, tokens. */
  readonly length: number;
  /** Share of responses that end with EOS, in [0, 1]. */
  readonly eosRate: number;
  /** Distinct bigrams over bigrams, in [0, 1]. */
  readonly distinct2: number;
}

/** What the name of a series ends with whose points are averages of several seeds' weights. */
export const SOUP = " soup";

/** One run of a sweep under one evaluation. `name` is its series, `setting` what tells the points of a series apart. */
export interface SweepRow extends MethodResult {
  /** Of the run: "vbon-n8-seed0". */
  readonly id: string;
  readonly method: string;
  readonly seed: number;
  /** "held-out", or the name of a further evaluation. */
  readonly evaluation: string;
  /** Of the evaluation's samples. */
  readonly temperature: number;
  readonly n?: number;
  readonly beta?: number;
  /** What drawing and scoring the cached samples took that the run used, seconds, where it used a number of its own. */
  readonly samplingSeconds?: number;
  /** Cached samples a prompt that the run used at most. */
  readonly maxSamples?: number;
  readonly klSe?: number;
  readonly klK1Se?: number;
  readonly klK3Se?: number;
  /** Of training. */
  readonly seconds?: number;
}

/** What the runs of an evaluation are compared with. */
export interface Baseline {
  readonly reference: MethodResult;
  readonly bonCurve: readonly BonPoint[];
}

/** All points of a sweep. */
export interface SweepResults {
  readonly title: string;
  /** `N` is that of the first run. */
  readonly task: Task;
  readonly rows: readonly SweepRow[];
  /** By evaluation. */
  readonly baselines: Readonly<Record<string, Baseline>>;
  /** Runs without a result, and why. */
  readonly failed: Readonly<Record<string, string>>;
}

/** Best-of-N at one N, estimated from the cached samples. */
export interface BonPoint {
  readonly n: number;
  readonly reward: number;
  readonly win: number;
  /** The bound log N - (N - 1) / N on the KL from the reference, nats per response. */
  readonly kl: number;
}

/** One logged point of a training run; what was not logged is left out. */
export interface TrainingPoint {
  readonly episodes: number;
  readonly reward?: number;
  readonly rank?: number;
  readonly kl?: number;
  readonly win?: number;
  /** Nats per response. */
  readonly entropy?: number;
  /** Share of tokens whose ratio was clipped, in [0, 1]. */
  readonly clipFraction?: number;
}

/** One method's response to a prompt. */
export interface SampleRow {
  readonly method: string;
  readonly text: string;
  readonly score: number;
  /** Share of the prompt's reference samples that it beats, ties one half; in [0, 1]. */
  readonly rank: number;
}

/** The responses of several methods to one prompt. */
export interface PromptSamples {
  readonly prompt: string;
  readonly rows: readonly SampleRow[];
}

/** A run, or several methods on one task. Empty lists are allowed: their section is left out of the page. */
export interface Comparison {
  readonly title: string;
  readonly task: Task;
  readonly methods: readonly MethodResult[];
  readonly bonCurve: readonly BonPoint[];
  readonly trainingCurves: Readonly<Record<string, readonly TrainingPoint[]>>;
  readonly cdfs: readonly PromptCdf[];
  readonly samples: readonly PromptSamples[];
}
