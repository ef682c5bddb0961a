/** The paper's figures as sweeps, in three sizes. Grids: Amini et al. 2025, appendix F; sizes below them are ours. */
import { fileURLToPath } from "node:url";
import { packageUrl } from "../../host.ts";
import type { Settings, SweepFile } from "./file.ts";

type Runs = SweepFile["runs"];

/** What a size consists of. */
interface Size {
  readonly title: string;
  readonly caches: SweepFile["caches"];
  readonly align: Settings;
  readonly seeds: readonly number[];
  readonly grids: Grids;
}

/** The knobs of each method. */
interface Grids {
  /** N of vbon and bonbon. */
  readonly n: readonly number[];
  /** Learning rates of methods that learn online, where the default was not the best of those tried. */
  readonly rates?: Readonly<Record<string, number>>;
  /** beta of ppo and of vbon-l, which is vBoN's with N = 1/beta + 1. */
  readonly beta: readonly number[];
  readonly dpoBeta: readonly number[];
  /** How the methods that learn from the cache alone are trained. */
  readonly offline: Settings;
  readonly sftN: readonly number[];
  /** Cached samples M of Figure 4, and its N. */
  readonly m: readonly number[];
  readonly mN: number;
  /** N of bond, a relative that the paper does not compare. */
  readonly bondN?: readonly number[];
  /** A reward that no run learns from, which judges all of them again. */
  readonly judge?: string;
  /** Methods of Figure 5, a run each, and the temperatures they are evaluated at. */
  readonly compared: Runs;
  readonly temperatures: readonly number[];
  /** Prompts unlike those that were trained on: settings that differ from the test cache's. */
  readonly elsewhere?: Settings;
}

const shipped = (name: string): string => fileURLToPath(packageUrl(`checkpoints/${name}`));

const reviews = (): Settings => ({
  policy: shipped("movie-lm"),
  reward: shipped("movie-sentiment"),
  prompts: shipped("prompts.jsonl"),
  maxNewTokens: 16,
  temperature: 0.7,
});

/** Beginnings of sentences from letters, news and kitchens: no film reviews. */
const ELSEWHERE: Settings = { prompts: shipped("prompts-elsewhere.jsonl") };

/** A minute: shows that all of it runs. */
function smoke(): Size {
  const short = { ...reviews(), samples: 16, rows: 128, maxNewTokens: 8 };
  return {
    title: "in a minute",
    caches: { train: { ...short, split: "train", count: 12 }, test: { ...short, split: "test", count: 8 } },
    align: {
      ...models(short),
      episodes: 64,
      rollout: 32,
      minibatch: 16,
      microBatch: 16,
      rows: 64,
      evalSamples: 4,
      valueEpochs: 1,
      valuePretrainEpochs: 1,
    },
    seeds: [0],
    grids: {
      n: [2, 4],
      beta: [0.5, 1],
      dpoBeta: [1, 4],
      offline: { passes: 1 },
      sftN: [2, 4],
      m: [4, 16],
      mN: 4,
      compared: [
        { method: "vbon", n: 4 },
        { method: "bon-sft", n: 4 },
      ],
      temperatures: [0.5, 1],
      elsewhere: { ...ELSEWHERE, count: 8 },
    },
  };
}

/** Hours on two cores with a software adapter: the shipped movie-review models. */
function laptop(): Size {
  const cache = { ...reviews(), samples: 128, rows: 512 };
  return {
    title: "on two cores, in hours",
    caches: { train: { ...cache, split: "train", count: 64 }, test: { ...cache, split: "test", count: 96 } },
    align: { ...models(cache), ...LEARNING, rollout: 256, minibatch: 64, rows: 256 },
    seeds: [0, 1],
    grids: {
      n: [2, 4, 8, 16, 32, 64],
      beta: [1, 0.333333, 0.142857, 0.066667, 0.032258, 0.015873],
      dpoBeta: [8, 4, 2, 1, 0.5, 0.25],
      offline: { lr: 3e-4, passes: 2 },
      sftN: [2, 4, 8, 16, 32, 64],
      bondN: [2, 4, 8, 16, 32, 64],
      rates: { ppo: 4e-4, bond: 4e-4 },
      judge: shipped("movie-judge"),
      m: [4, 8, 16, 32, 64, 128],
      mN: 10,
      compared: [
        { method: "vbon", n: 8 },
        { method: "ppo", beta: 0.142857, lr: 4e-4 },
        { method: "dpo", n: 8, beta: 1, lr: 3e-4, passes: 2 },
        { method: "bonbon", n: 4, lr: 3e-4, passes: 2 },
        { method: "bon-sft", n: 8, lr: 3e-4, passes: 2 },
      ],
      temperatures: [0.25, 0.5, 0.75, 1],
      elsewhere: { ...ELSEWHERE, count: 48 },
    },
  };
}

const LEARNING: Settings = {
  episodes: 2560,
  valueEpochs: 2,
  valuePretrainEpochs: 1,
  evalSamples: 16,
};

/** The paper's models and grids: folders that its authors' models were downloaded to; needs a GPU. */
function paper(): Size {
  const theirs = { policy: "gpt2-imdb", reward: "distilbert-imdb" };
  const prompts = { documents: "imdb.txt", promptTokens: "2-8", maxNewTokens: 40, samples: 600 };
  return {
    title: "with the paper's models, on a GPU",
    caches: {
      train: { ...theirs, ...prompts, count: 5000 },
      test: { ...theirs, ...prompts, skip: 5000, count: 512 },
    },
    align: {
      ...theirs,
      cache: "train",
      evalCache: "test",
      episodes: 12800,
      rollout: 128,
      minibatch: 32,
      ppoEpochs: 4,
      lr: 3e-5,
      lrSchedule: "constant",
      evalSamples: 1,
    },
    seeds: [0, 1, 2],
    grids: {
      n: [1, 2, 3, 4, 8, 16, 32, 64, 128, 256, 512],
      beta: [0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 1, 2, 3, 4, 5],
      offline: {},
      dpoBeta: [0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 1, 2, 3, 4, 5],
      sftN: [...Array.from({ length: 15 }, (_, k) => 10 + 40 * k), 600],
      m: [4, 8, 16, 32, 64, 128, 256],
      mN: 10,
      compared: [
        { method: "vbon", n: 100 },
        { method: "ppo", beta: 0.05 },
        { method: "dpo", n: 6, beta: 0.1 },
        { method: "bonbon", n: 8 },
        { method: "bon-sft", n: 100 },
      ],
      temperatures: [0.25, 0.5, 0.75, 1],
    },
  };
}

function models({ policy, reward }: Settings): Settings {
  return { policy: policy!, reward: reward!, cache: "train", evalCache: "test" };
}

const SIZES: Readonly<Record<string, () => Size>> = { smoke, laptop, paper };

/** One figure: what it shows, and its part of a size. */
interface Figure {
  readonly title: string;
  runs(grids: Grids): Runs;
  /** Caches at other temperatures, and an evaluation on each. */
  readonly byTemperature?: true;
}

const vbonRuns = ({ n }: Grids): Runs => [{ method: "vbon", n }];
const offlineRuns = ({ n, dpoBeta, offline }: Grids): Runs => [
  { method: "dpo", n: 8, beta: dpoBeta, ...offline },
  { method: "bonbon", n: n.filter((best) => best > 1), ...offline },
];
const rlRuns = (method: string, { beta, rates }: Grids): Runs => [{ method, beta, ...rateOf(method, rates) }];
const rateOf = (method: string, rates: Grids["rates"]): Settings => {
  const lr = rates?.[method];
  return lr === undefined ? {} : { lr };
};
const figure2 = (grids: Grids): Runs => [...vbonRuns(grids), ...rlRuns("ppo", grids), ...offlineRuns(grids)];
const bond = ({ bondN, rates }: Grids): Runs =>
  bondN ? [{ method: "bond", n: bondN, ...rateOf("bond", rates) }] : [];
const sft = ({ sftN, offline }: Grids): Runs => [{ method: "bon-sft", n: sftN, ...offline }];

const FIGURES: Readonly<Record<string, Figure>> = {
  fig2: { title: "Figures 2a and 2b: win rate and reward against KL", runs: figure2 },
  fig4: {
    title: "Figure 4: how many cached samples M are enough",
    runs: ({ m, mN }) => [{ method: "vbon", n: mN, maxSamples: m }],
  },
  fig5: {
    title: "Figure 5, Table 2: sampling temperatures",
    runs: ({ compared }) => compared,
    byTemperature: true,
  },
  fig6: {
    title: "Figure 6: the exact objective against its bound",
    runs: (grids) => [...vbonRuns(grids), ...rlRuns("vbon-l", grids)],
  },
  fig7: {
    title: "Figure 7: Figure 2 with BoN-SFT",
    runs: (grids) => [...figure2(grids), ...sft(grids)],
  },
  all: {
    title: "Figures 2, 3, 6 and 7, Table 1: every method",
    runs: (grids) => [...figure2(grids), ...rlRuns("vbon-l", grids), ...sft(grids), ...bond(grids)],
  },
};

/** "fig2-smoke", "fig2-laptop", ... */
export const presetNames: readonly string[] = Object.keys(FIGURES).flatMap((figure) =>
  Object.keys(SIZES).map((size) => `${figure}-${size}`),
);

/** The sweep called `name`; undefined where there is none. */
export function preset(name: string): SweepFile | undefined {
  if (!presetNames.includes(name)) return undefined;
  const [figure = "", size = ""] = name.split("-");
  const { title, runs, byTemperature } = FIGURES[figure]!;
  const { grids, title: how, caches, ...rest } = SIZES[size]!();
  const further = byTemperature ? temperatures(caches["test"]!, grids) : judged(caches["test"]!, grids);
  return {
    title: `${title}, ${how}`,
    ...rest,
    runs: runs(grids),
    caches: { ...caches, ...further.caches },
    evaluations: further.evaluations,
  };
}

/** The test prompts scored by another reward. */
function judged(test: Settings, { judge }: Grids): Pick<SweepFile, "caches" | "evaluations"> {
  if (judge === undefined) return { caches: {}, evaluations: {} };
  const by = { reward: judge };
  return { caches: { judged: { ...test, ...by } }, evaluations: { judge: { cache: "judged", ...by } } };
}

/** The test prompts, and others, sampled at each temperature: an evaluation compares samples of the same one. */
function temperatures(test: Settings, grids: Grids): Pick<SweepFile, "caches" | "evaluations"> {
  const at = (name: string, settings: Settings): [string, Settings][] =>
    grids.temperatures.map((temperature) => [`${name}T${temperature}`, { ...settings, temperature }]);
  const caches = grids.elsewhere
    ? [...at("in-", test), ...at("out-", { ...test, ...grids.elsewhere })]
    : at("", test);
  return {
    caches: Object.fromEntries(caches),
    evaluations: Object.fromEntries(caches.map(([name]) => [name, { cache: name }])),
  };
}
