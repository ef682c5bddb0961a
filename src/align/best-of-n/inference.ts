/** Best-of-N at inference: of N responses the one that the reward likes best; of several, the first that was drawn. */
import type { Tokenizer } from "../../data/tokenizer/tokenizer.ts";
import { type Engine, inOrder, type Request, type Sample } from "../../generate/engine.ts";
import { type Prompt, responseText, rewardInput } from "../cache/build.ts";
import type { Reward, RewardInput } from "../rewards.ts";

/** A request that knows its prompt. */
export interface PromptRequest extends Request {
  readonly prompt: Prompt;
}

/** The winner of one group of N. */
export interface Best<T> {
  readonly task: T;
  readonly sample: Sample;
  readonly score: number;
  /** Of all N, in the order they were drawn. */
  readonly scores: readonly number[];
}

/** What Best-of-N cost so far. */
export interface Cost {
  /** Responses drawn, and tokens in them. */
  drawn: number;
  tokens: number;
  /** Texts that the reward was asked about. */
  scored: number;
  /** Tokens of the responses that were kept. */
  kept: number;
  /** Seconds that the reward took, and all together. */
  reward: number;
  seconds: number;
}

/** Who draws and who judges. */
export interface BestOfOptions {
  readonly n: number;
  readonly engine: Engine;
  readonly reward: Reward;
  readonly tokenizer: Tokenizer;
  readonly seed: number;
  /** Counted up. */
  readonly cost: Cost;
  /** Called with the number of responses that have ended, or were given up, since the last call. */
  readonly onProgress?: (responses: number) => void;
  /** Stops drawing; groups that are not whole are never yielded. */
  readonly signal?: AbortSignal;
}

/**
 * Draws all tasks, `n` in a row a group, and yields each group's winner in order (Nakano et al. 2021, section 2). Drawing
 * waits while a group is scored, so that `cost.reward` is the reward's own time.
 */
export async function* bestOf<T extends PromptRequest>(
  tasks: readonly T[],
  { n, engine, reward, tokenizer, seed, cost, onProgress, signal }: BestOfOptions,
): AsyncGenerator<Best<T>> {
  const from = performance.now();
  let group: { task: T; sample: Sample }[] = [];
  for await (const { index, sample } of inOrder(engine.responses(tasks, { seed }))) {
    group.push({ task: tasks[index]!, sample });
    onProgress?.(1);
    if (group.length < n && signal?.aborted) return;
    if (group.length < n) continue;
    const asked = performance.now();
    const scores = await reward.score(
      group.map(({ task, sample: { ids } }) => inputOf(task, ids, tokenizer)),
    );
    const best = scores.indexOf(Math.max(...scores));
    cost.drawn += n;
    cost.scored += n;
    cost.tokens += group.reduce((sum, { sample: { ids } }) => sum + ids.length, 0);
    cost.kept += group[best]!.sample.ids.length;
    cost.reward += (performance.now() - asked) / 1000;
    cost.seconds = (performance.now() - from) / 1000;
    yield { ...group[best]!, score: scores[best]!, scores: [...scores] };
    group = [];
  }
}

/** What the reward sees of a response. */
export const inputOf = (
  { prompt }: PromptRequest,
  ids: ArrayLike<number>,
  tokenizer: Tokenizer,
): RewardInput => rewardInput(prompt, responseText(tokenizer, prompt, Array.from(ids)), Array.from(ids));

/** "64 responses of 3,210 tokens drawn, 412 tokens kept: 7.8 times the tokens; 0.21 s of 2.30 s in the reward, for 64 texts" */
export function costText({ drawn, tokens, scored, kept, reward, seconds }: Cost): string {
  const times = (tokens / Math.max(1, kept)).toFixed(1);
  const count = (x: number): string => x.toLocaleString("en-US");
  return (
    `${count(drawn)} responses of ${count(tokens)} tokens drawn, ${count(kept)} tokens kept: ${times} times the tokens; ` +
    `${reward.toFixed(2)} s of ${seconds.toFixed(2)} s in the reward, for ${count(scored)} texts`
  );
}
