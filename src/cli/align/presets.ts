/** Settings of `vbon align` that others have published, whole. */

/**
 * Huang et al. 2024 ("The N+ implementation details of RLHF with PPO", Table 7 and their code): PPO with a separate value
 * function, four passes over each rollout as one minibatch, a low rate that falls to 0, -1 for a summary without an end.
 * They sample at temperature 0.7: build the caches with it. alignment.md 4 has the details that are not settings, such as
 * dropout off, the EOS trick, and advantages whitened over real tokens, all of which hold here anyway.
 */
export const nplus: Readonly<Record<string, unknown>> = {
  method: "ppo",
  beta: 0.05,
  episodes: 1_000_000,
  rollout: 512,
  minibatch: 512,
  ppoEpochs: 4,
  lr: 3e-6,
  valueLr: 3e-6,
  lrSchedule: "linear",
  adamBeta2: 0.999,
  adamEps: 1e-5,
  weightDecay: 0.01,
  gradClip: 0,
  clipRange: 0.2,
  clipRangeValue: 0.2,
  gamma: 1,
  lam: 0.95,
  value: "separate",
  valueEpochs: 4,
  valuePretrainEpochs: 0,
  averageLast: 0,
  missingEos: "-1",
};

/**
 * The released code of Amini et al. 2025, sentiment (rycolab/vbon at 6ec7915; alignment.md 1.9, 1.11): its scaling (`compat`),
 * a value head on the policy's trunk, reward clipping at 10, a constant rate. Which layers it trains depends on the model:
 * of GPT-2's twelve the last two and the positions, `--trainable-layers 2 --train-positions`.
 */
export const vbonRelease: Readonly<Record<string, unknown>> = {
  method: "vbon",
  compat: "vbon-release",
  episodes: 12_800,
  rollout: 128,
  minibatch: 32,
  ppoEpochs: 4,
  lr: 3e-5,
  lrSchedule: "constant",
  adamBeta2: 0.95,
  weightDecay: 1e-6,
  gradClip: 0,
  value: "shared",
  vfCoef: 1,
  rewardClip: 10,
  averageLast: 0,
};
