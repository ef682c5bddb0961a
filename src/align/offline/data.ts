/** The data of offline alignment: cached responses with the reference's log-probabilities, as examples. */
import { ConfigError } from "../../errors.ts";
import type { LanguageModel } from "../../nn/lm.ts";
import type { CacheEntry } from "../cache/cache.ts";
import type { OfflineObjective, OfflineSettings } from "../objectives/index.ts";
import type { Group, Groups } from "../pairs.ts";
import { createScorer } from "../scorer.ts";
import { positionsOf } from "../sequences.ts";
import type { JudgedSequence, OfflineExample } from "./loss.ts";

/** A prompt whose responses are kept, and judged by the reference. */
export interface JudgedEntry extends CacheEntry {
  responseIds: number[][];
  /** log pi_ref of each response, nats. */
  logprobs: number[];
}

/** Who judges what, and how. */
export interface JudgeOptions {
  readonly refPolicy: LanguageModel;
  readonly entries: readonly CacheEntry[];
  readonly objective: OfflineObjective;
  readonly temperature: number;
  /** Sequences a forward pass. */
  readonly batch: number;
}

/**
 * The entries with log pi_ref of every response, computed where the cache does not have it.
 * @throws ConfigError when the cache keeps no responses
 */
export async function judgedEntries(options: JudgeOptions): Promise<readonly JudgedEntry[]> {
  const { refPolicy, entries, objective, temperature, batch } = options;
  const kept = entries.flatMap((entry) =>
    entry.responseIds ? [{ ...entry, responseIds: entry.responseIds }] : [],
  );
  if (kept.length < entries.length) {
    throw new ConfigError(
      `${objective.name}: the cache keeps scores but no responses to learn from; build it with "vbon cache"`,
    );
  }
  const scorer = createScorer({ policy: refPolicy, refPolicy, temperature, batch });
  const judged: JudgedEntry[] = [];
  for (const entry of kept) {
    const sequences = entry.responseIds.map((response) => ({ query: entry.promptIds, response }));
    judged.push({ ...entry, logprobs: entry.logprobs ?? sums((await scorer.score(sequences)).refLogprobs) });
  }
  scorer.dispose();
  return judged;
}

const sums = (rows: readonly Float32Array[]): number[] => rows.map((row) => row.reduce((a, b) => a + b, 0));

/**
 * Refuses what has nothing to prefer.
 * @throws ConfigError when pairs are of one response each, or all of them tie
 */
export function checkGroups<E extends CacheEntry>(
  groups: Groups<E>,
  { learnsFrom, name }: OfflineObjective,
  { n }: OfflineSettings,
): void {
  if (learnsFrom === "best") return;
  if (n < 2) throw new ConfigError(`${name}: n is ${n}; expected at least 2 responses to compare`);
  if (Array.from({ length: groups.count }, (_, item) => groups.at(item, 0)).every(({ tied }) => tied)) {
    throw new ConfigError(
      `${name}: in every group of ${n} responses all scores are equal, so that there is nothing to prefer; ` +
        "expected a reward that tells them apart, or a larger n",
    );
  }
}

/** What the objective learns from a group. */
export function exampleOf(group: Group<JudgedEntry>, { learnsFrom }: OfflineObjective): OfflineExample {
  const { entry, chosen, rejected, tied } = group;
  const of = (m: number): JudgedSequence => ({
    query: entry.promptIds,
    response: entry.responseIds[m]!,
    refLogprob: entry.logprobs[m]!,
  });
  // The best of n is the best whether or not all of them tie.
  if (learnsFrom === "best") return { chosen: of(chosen), tied: false };
  return { chosen: of(chosen), rejected: of(rejected), tied };
}

/** Positions of the longest prompt with its response. */
export const longestOf = (entries: readonly JudgedEntry[]): number =>
  positionsOf(entries.flatMap((e) => e.responseIds.map((response) => ({ query: e.promptIds, response }))));
