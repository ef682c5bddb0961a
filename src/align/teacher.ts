/** Whom a policy imitates beside maximising rewards: the best of n cached responses (BOND), or of two of an anchor's (J-BOND). */
import { ConfigError } from "../errors.ts";
import { type Engine, isFinished } from "../generate/engine.ts";
import { createRandom } from "../tensor/random.ts";
import { type MissingEos, ruledScore } from "./best-of-n/cdf.ts";
import { streamOf } from "./cache/build.ts";
import type { CacheEntry } from "./cache/cache.ts";
import { type Jury, judgeSamples } from "./judge.ts";
import { bestOfDrawn, comparedScores } from "./pairs.ts";
import type { Scorer } from "./scorer.ts";
import type { Sequence } from "./sequences.ts";

/** Beside one response of the policy: what others said to the same prompt. */
export interface Lesson {
  /** What to imitate. */
  readonly best: Sequence;
  /** Scores of the responses that `best` is the best of. */
  readonly rivals: readonly number[];
}

/** Whom the policy learns from. */
export interface Teacher {
  /** A lesson for each of the prompts numbered `picks`: a function of them, of the seed and of `iteration`, and of weights. */
  teach(picks: readonly number[], iteration: number): Promise<readonly Lesson[]>;
  /** Scores against the anchor, where that is what KL penalties are against. */
  readonly scorer?: Scorer;
  /** Is called after every optimizer step. */
  follow(): void;
  dispose(): void;
}

/** What a cache's teacher needs. */
export interface CacheTeaching {
  /** In the order of the prompts. */
  readonly entries: readonly CacheEntry[];
  readonly n: number;
  readonly missingEos: MissingEos;
  readonly seed: number;
}

/**
 * The best of n of the prompt's cached responses, drawn anew each time.
 * @throws ConfigError when n is no whole number, or a prompt has fewer responses
 */
export function cacheTeacher({ entries, n, missingEos, seed }: CacheTeaching): Teacher {
  const poor = entries.find(({ responseIds }) => (responseIds?.length ?? 0) < n);
  if (!Number.isInteger(n) || poor) {
    throw new ConfigError(
      `bond: imitates the best of n = ${n} cached responses; expected a whole n, and that many kept responses to each prompt` +
        (poor ? `, ${JSON.stringify(poor.prompt)} has ${poor.responseIds?.length ?? 0}` : ""),
    );
  }
  const scores = entries.map((entry) => comparedScores(entry, missingEos));
  return {
    teach: (picks, iteration) =>
      Promise.resolve(
        picks.map((p, e) => {
          const { promptIds: query, responseIds } = entries[p]!;
          const order = createRandom(seed, `lesson ${iteration}.${e}`).permutation(responseIds!.length);
          const drawn = order.slice(0, n);
          const best = { query, response: responseIds![bestOfDrawn(drawn, scores[p]!)]! };
          return { best, rivals: drawn.map((m) => scores[p]![m]!) };
        }),
      ),
    follow: () => {},
    dispose: () => {},
  };
}

/** What an anchor's teacher needs. */
export interface AnchorTeaching extends Jury {
  /** Draws from the anchor. */
  readonly engine: Engine;
  /** Of the policy against the anchor. */
  readonly scorer: Scorer;
  readonly seed: number;
  /** What a response without an end scores. */
  readonly missingEos: MissingEos;
  /** Moves the anchor's weights toward the policy's. */
  follow(): void;
  /** Frees the anchor. */
  dispose(): void;
}

/** Two samples of the anchor to each response of the policy: high words of their own keep their random numbers apart. */
const ANCHOR = 3 * 2 ** 32;
const DRAWN = 2;

/** The better of two responses of the anchor. */
export function anchorTeacher(options: AnchorTeaching): Teacher {
  const { engine, scorer, prompts, missingEos, seed, follow, dispose } = options;
  return {
    scorer,
    async teach(picks, iteration) {
      const twice = picks.flatMap((p) => [p, p]);
      const requests = twice.map((p, i) => ({
        ids: prompts[p]!.ids,
        stream: streamOf(prompts[p]!.ids, iteration * twice.length + i),
      }));
      const samples = await engine.generate(requests, { seed: seed + ANCHOR });
      const judged = await judgeSamples(twice, samples, options);
      const scores = judged.scores.map((score, i) => ruledScore(score, isFinished(samples[i]!), missingEos));
      return picks.map((p, e) => {
        const drawn = [DRAWN * e, DRAWN * e + 1];
        const response = samples[bestOfDrawn(drawn, scores)]!.ids;
        return { best: { query: prompts[p]!.ids, response }, rivals: drawn.map((i) => scores[i]!) };
      });
    },
    follow,
    dispose() {
      engine.dispose();
      scorer.dispose();
      dispose();
    },
  };
}
