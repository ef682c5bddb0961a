/**
 * A value function that has seen the cache: before PPO it learns to predict the terminal reward of the cached
 * responses, which costs no sample and no reward call. Policy and reference are still equal, so that the KL
 * penalty of these responses is zero and the terminal reward is their return at every token.
 */
import { type EmpiricalCdf, tieKey } from "../best-of-n/cdf.ts";
import type { CacheEntry } from "../cache/cache.ts";
import { type Objective, type ObjectiveSettings, terminalOf } from "../objectives/index.ts";
import type { ValueExample } from "./trainer.ts";

/**
 * The responses of the cache that keep their ids, with the terminal rewards they would get. A cached response
 * counts in the CDF it is judged by, which moves its rank by at most 1/(M+1).
 */
export function valueExamples(
  entries: readonly CacheEntry[],
  cdfs: readonly EmpiricalCdf[],
  objective: Objective,
  settings: ObjectiveSettings,
): ValueExample[] {
  return entries.flatMap((entry, p) =>
    (entry.responseIds ?? []).map((response, m) => {
      const score = entry.rewards[m]!;
      const finished = entry.finished?.[m] ?? true;
      // Without log-probabilities the response counts as long: log pi_bon - log pi_ref is then log n + (n-1) log F.
      const logProbRef = entry.logprobs?.[m] ?? -1e9;
      const target = terminalOf(
        objective,
        { score, finished, logProbRef, cdf: cdfs[p]!.at(score, { finished, key: tieKey(response) }) },
        settings,
      );
      return { query: entry.promptIds, response, returns: new Float32Array(response.length).fill(target) };
    }),
  );
}
