/**
 * Speculative rejection (Sun et al. 2024, "Fast Best-of-N decoding via speculative rejection"): Best-of-N that scores unfinished
 * responses and gives up those that the reward likes least. Decisions look at prefixes of fixed lengths, so that they do not
 * depend on what is decoded side by side; whoever is left is one of Best-of-N's own responses.
 */
import { type Growing, type Sample } from "../../generate/engine.ts";
import { type Best, type BestOfOptions, inputOf, type PromptRequest } from "./inference.ts";

/** When responses are given up, and how many. */
export interface Rejection {
  /** Tokens at which they are compared, rising. */
  readonly points: readonly number[];
  /** alpha: the share of a group that is given up at each point; at least one stays. */
  readonly share: number;
}

/** N responses to one prompt. */
class Group {
  /** Indices of those that are still in it. */
  alive: number[];
  readonly ended = new Map<number, Sample>();
  #points: readonly number[];

  constructor(first: number, n: number, points: readonly number[]) {
    this.alive = Array.from({ length: n }, (_, i) => first + i);
    this.#points = points;
  }

  /** The next decision's prefix length, once everybody has come so far or has ended. */
  due(growing: ReadonlyMap<number, Growing>): number | undefined {
    const [point] = this.#points;
    if (point === undefined) return undefined;
    const there = this.alive.every((index) => {
      const response = growing.get(index);
      return this.ended.has(index) || (response && (response.ended || response.ids.length >= point));
    });
    if (there) this.#points = this.#points.slice(1);
    return there ? point : undefined;
  }

  get done(): boolean {
    return this.alive.every((index) => this.ended.has(index));
  }
}

/** As {@link bestOf}, with responses given up on the way. `scores` are those of the responses that were left. */
export async function* speculativeBestOf<T extends PromptRequest>(
  tasks: readonly T[],
  { n, engine, reward, tokenizer, seed, cost, points, share, onProgress, signal }: BestOfOptions & Rejection,
): AsyncGenerator<Best<T>> {
  const from = performance.now();
  const groups = Array.from({ length: tasks.length / n }, (_, g) => new Group(g * n, n, points));
  const score = async (
    indices: readonly number[],
    ids: readonly (readonly number[])[],
  ): Promise<Float64Array> => {
    const asked = performance.now();
    const scores = await reward.score(indices.map((index, i) => inputOf(tasks[index]!, ids[i]!, tokenizer)));
    cost.scored += indices.length;
    cost.reward += (performance.now() - asked) / 1000;
    return scores;
  };

  /** The group's responses after a decision at `point` tokens; of equal scores the first drawn stays. */
  const decide = async (
    { alive, ended }: Group,
    point: number,
    growing: ReadonlyMap<number, Growing>,
  ): Promise<number[]> => {
    const prefixes = alive.map((index) => (ended.get(index) ?? growing.get(index)!).ids.slice(0, point));
    const scores = await score(alive, prefixes);
    const order = alive.map((_, i) => i).toSorted((a, b) => scores[b]! - scores[a]! || a - b);
    const kept = Math.max(1, Math.ceil((1 - share) * alive.length));
    return order
      .slice(0, kept)
      .map((i) => alive[i]!)
      .toSorted((a, b) => a - b);
  };

  const reject = async (growing: ReadonlyMap<number, Growing>): Promise<number[]> => {
    const dropped: number[] = [];
    for (const group of groups.filter(({ done }) => !done)) {
      for (let point = group.due(growing); point !== undefined; point = group.due(growing)) {
        const kept = new Set(await decide(group, point, growing));
        const out = group.alive.filter((index) => !kept.has(index));
        group.alive = [...kept];
        dropped.push(...out);
        // Those that have ended, be it at this look, are counted where they end.
        const unfinished = out.filter((index) => growing.get(index)?.ended === false);
        for (const index of unfinished) cost.tokens += growing.get(index)!.ids.length;
        onProgress?.(unfinished.length);
      }
    }
    return dropped;
  };

  const winner = async ({ alive, ended }: Group): Promise<Best<T>> => {
    const samples = alive.map((index) => ended.get(index)!);
    const scores = await score(
      alive,
      samples.map(({ ids }) => ids),
    );
    const best = scores.indexOf(Math.max(...scores));
    cost.drawn += n;
    cost.kept += samples[best]!.ids.length;
    cost.seconds = (performance.now() - from) / 1000;
    return { task: tasks[alive[best]!]!, sample: samples[best]!, score: scores[best]!, scores: [...scores] };
  };

  let next = 0;
  for await (const { index, sample } of engine.responses(tasks, { seed, reject })) {
    cost.tokens += sample.ids.length;
    groups[Math.floor(index / n)]!.ended.set(index, sample);
    onProgress?.(1);
    while (groups[next]?.done) yield await winner(groups[next++]!);
    if (signal?.aborted) return;
  }
  // The last to end may have been given up: its group is done without another response.
  while (groups[next]?.done) yield await winner(groups[next++]!);
}
