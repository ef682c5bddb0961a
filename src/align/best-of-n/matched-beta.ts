/** Which KL-RL coefficient goes as far from the reference as Best-of-N does? Read off the reward cache, nothing is trained. */
import { ConfigError } from "../../errors.ts";

/**
 * KL(pi_beta || pi_ref) of the optimum of KL-RL, pi_beta proportional to pi_ref exp(r / beta) (Amini et al. 2025, below
 * Eq. 1), estimated from M reference samples: with w_m proportional to exp(r_m / beta) it is sum_m w_m log(M w_m), at most
 * log M.
 * @param rewards of one prompt's reference samples
 * @returns nats a response
 */
export function tiltKl(rewards: readonly number[], beta: number): number {
  const best = Math.max(...rewards);
  const weights = rewards.map((r) => Math.exp((r - best) / beta));
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.reduce(
    (kl, w) => (w === 0 ? kl : kl + (w / total) * Math.log((rewards.length * w) / total)),
    0,
  );
}

/**
 * The beta at which {@link tiltKl}, averaged over prompts, is `kl`; the smallest sensible one where so large a KL cannot
 * be had from these samples.
 * @param prompts reference rewards of each prompt
 * @param kl nats a response, such as log N - (N - 1)/N, the KL of Best-of-N
 * @throws ConfigError when every prompt's rewards are all equal: no beta then moves the policy
 */
export function matchedBeta(prompts: readonly (readonly number[])[], kl: number): number {
  const spread = Math.max(...prompts.map((rewards) => Math.max(...rewards) - Math.min(...rewards)));
  if (!(spread > 0)) {
    throw new ConfigError(
      "matchedBeta: the rewards of each prompt's samples are all equal; expected a reward that tells responses apart",
    );
  }
  const mean = (beta: number): number =>
    prompts.reduce((sum, rewards) => sum + tiltKl(rewards, beta), 0) / prompts.length;
  let [low, high] = [Math.log(spread) - 12, Math.log(spread) + 12];
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (mean(Math.exp(middle)) > kl) low = middle;
    else high = middle;
  }
  return Math.exp((low + high) / 2);
}
