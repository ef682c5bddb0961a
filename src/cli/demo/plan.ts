/** The demo's few numbers: how much is drawn, how long and how fast is learned. */
import type { PpoSettings } from "../../align/loop.ts";

/** One size of the demo. */
export interface DemoPlan {
  /** Prompts used, at most. */
  readonly prompts: { readonly train: number; readonly test: number };
  /** Cached samples of the reference a prompt, M. */
  readonly samples: { readonly train: number; readonly test: number };
  readonly maxNewTokens: number;
  readonly temperature: number;
  /** Responses of every policy to each test prompt. */
  readonly samplesPerPrompt: number;
  /** Responses decoded side by side: for the caches, and while a policy learns. */
  readonly rows: { readonly cache: number; readonly align: number };
  /** Before PPO the value function passes over the cache so often, at this rate. */
  readonly pretrain: { readonly passes: number; readonly lr: number };
  readonly ppo: PpoSettings;
  /** Prompts whose samples are shown: on the terminal, in the report. */
  readonly shown: { readonly terminal: number; readonly page: number };
}

/** The whole demo: minutes on two cores with a software adapter, seconds on a GPU. */
const WHOLE = {
  prompts: { train: 64, test: 48 },
  samples: { train: 32, test: 64 },
  samplesPerPrompt: 16,
  rows: { cache: 512, align: 256 },
  learning: { episodes: 5120, rolloutSize: 256 },
};

/** A tenth of the work: it shows that everything runs, not what vBoN can do. */
const QUICK: typeof WHOLE = {
  prompts: { train: 16, test: 12 },
  samples: { train: 16, test: 32 },
  samplesPerPrompt: 8,
  rows: { cache: 128, align: 96 },
  learning: { episodes: 384, rolloutSize: 96 },
};

/** The numbers of one run. */
export function demoPlan({ quick, seed }: { readonly quick: boolean; readonly seed: number }): DemoPlan {
  const { learning, ...size } = quick ? QUICK : WHOLE;
  return {
    ...size,
    // A model this small writes better at a lower temperature, and short responses leave less to chance in learning.
    maxNewTokens: 16,
    temperature: 0.7,
    pretrain: { passes: 1, lr: 1e-3 },
    ppo: { ...PPO, ...learning, seed },
    shown: { terminal: 3, page: 8 },
  };
}

/** Low rates that fall to 0 and one pass over every rollout: what is noise in an update shows up as KL. */
const PPO: Omit<PpoSettings, "episodes" | "rolloutSize" | "seed"> = {
  minibatch: 64,
  microBatch: 64,
  ppoEpochs: 1,
  lr: 2e-4,
  valueLr: 5e-4,
  lrSchedule: "linear",
  betas: [0.9, 0.95],
  weightDecay: 0,
  gradClip: 1,
  clipRange: 0.2,
  clipRangeValue: 0.2,
  vfCoef: 1,
  gamma: 1,
  lam: 0.95,
  value: "separate",
  valueEpochs: 1,
  averageLast: 0,
};
