/** Made-up but plausible records for the report tests, computed without randomness. */
import type { BonPoint, Comparison, MethodResult, TrainingPoint } from "../../src/report/types.ts";

const bon = (n: number, reward: number, win: number): BonPoint => ({
  n,
  reward,
  win,
  kl: Math.log(n) - (n - 1) / n,
});

function method(
  name: string,
  reward: number,
  win: number,
  kl: number,
  more: Partial<MethodResult> = {},
): MethodResult {
  return {
    name,
    reward,
    rewardSe: 0.0091,
    win,
    winInterval: [win - 0.0118, win + 0.0118],
    kl,
    klK1: kl + 0.013,
    klK3: kl + 0.21,
    J: 7 * Math.log(win) + Math.log(8) - kl,
    length: 46.31 - kl,
    eosRate: 0.0005 + kl / 500,
    distinct2: 0.731 - 0.03 * kl,
    ...more,
  };
}

/** A curve that rises and settles, with a KL that overshoots: `scale` tells methods apart. */
export function curve(points: number, scale: number): TrainingPoint[] {
  return Array.from({ length: points }, (_, i) => {
    const t = (i + 1) / points;
    const wobble = 0.012 * Math.sin(i * 1.7 + scale * 5);
    const rise = 1 - Math.exp(-6 * t);
    return {
      episodes: (i + 1) * 512,
      reward: 0.492 + 0.33 * scale * rise + wobble,
      rank: 0.5 + 0.33 * scale * rise + wobble,
      kl: 1.5 * scale * rise + 1.4 * scale * t * Math.exp(-7 * t) * 4,
      win: 0.5 + 0.335 * scale * rise + wobble / 2,
      entropy: 67 - 6 * scale * rise + 10 * wobble,
      clipFraction: 0.018 * scale * Math.exp(-2 * t) + Math.abs(wobble) / 6,
    };
  });
}

const PROMPTS = [
  "Once upon a time, there was a",
  "One day, a little girl named Lily",
  "Tim had a big red ball. He",
  "The old cat sat by the window and",
];

const rewards = (shift: number): number[] =>
  Array.from({ length: 64 }, (_, i) =>
    Number(Math.tanh(2.2 * ((i + 0.5) / 64 - 0.3) + shift + 0.2 * Math.sin(i * 2.3)).toFixed(4)),
  );

/** Everything present. */
export const sample: Comparison = {
  title: "Alignment to sentiment on short stories",
  task: {
    policy: "stories260K",
    reward: "VADER compound",
    prompts: 100,
    M: 64,
    N: 8,
    maxNewTokens: 48,
    temperature: 1,
    seed: 0,
    machine: "Intel Xeon, llvmpipe (LLVM 19), Node 20.20",
    date: "2026-09-30T12:00:00Z",
    version: "0.1.0",
    durations: {
      "reward cache": 412.4,
      "train vbon": 7381,
      "train ppo": 7120,
      "train dpo": 935,
      evaluate: 188.2,
    },
    settings: {
      episodes: 51200,
      "policy learning rate": 0.0002,
      "value learning rate": 0.0005,
      dtype: "f32",
    },
  },
  methods: [
    method("reference", 0.492, 0.5, 0, { J: -5.04 }),
    method("vbon", 0.812, 0.8375, 1.464),
    method("ppo", 0.801, 0.8297, 1.523),
    method("dpo", 0.779, 0.8131, 1.721),
    method("bon-sft", 0.741, 0.7663, 2.642),
  ],
  bonCurve: [
    bon(1, 0.492, 0.5),
    bon(2, 0.682, 0.666),
    bon(3, 0.756, 0.75),
    bon(4, 0.795, 0.8),
    bon(8, 0.858, 0.889),
    bon(16, 0.893, 0.941),
    bon(32, 0.915, 0.97),
  ],
  trainingCurves: {
    vbon: curve(60, 1),
    ppo: curve(60, 0.93),
    dpo: curve(10, 0.85).map(({ episodes, reward, kl, win }) => ({
      episodes: episodes * 6,
      reward: reward ?? 0,
      kl: kl ?? 0,
      win: win ?? 0,
    })),
  },
  cdfs: PROMPTS.map((prompt, i) => ({ prompt, rewards: rewards(0.35 * i - 0.3) })),
  samples: PROMPTS.slice(0, 2).map((prompt) => ({
    prompt,
    rows: [
      {
        method: "reference",
        text: ' little boy named Tim. He liked to play outside with his toys. One day, he saw a big dog in the park and ran to his mom.\n\n"What is it?" she said.',
        score: 0.3612,
        rank: 0.4219,
      },
      {
        method: "vbon",
        text: " happy little girl named Sue who loved her best friend. They played in the sunny park and laughed, and they were so happy together.",
        score: 0.9524,
        rank: 0.9844,
      },
      {
        method: "ppo",
        text: " nice and kind bird. It loved to sing pretty songs for all its friends, and everyone was very glad.",
        score: 0.9312,
        rank: 0.9531,
      },
    ],
  })),
};

/** The least that is valid: no curves, no CDFs, no samples, only the required numbers of one method. */
export const bare: Comparison = {
  ...sample,
  methods: [{ name: "vbon", reward: 0.8, win: 0.83, kl: 1.4, length: 40, eosRate: 0, distinct2: 0.7 }],
  bonCurve: [],
  trainingCurves: {},
  cdfs: [],
  samples: [],
};
