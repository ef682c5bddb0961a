/** Builds a reward cache: M samples of the reference for each prompt, and their scores. */
import type { Message } from "../../data/tokenizer/chat.ts";
import type { Tokenizer } from "../../data/tokenizer/tokenizer.ts";
import { type Engine, inOrder, isFinished, type Request, type Sample } from "../../generate/engine.ts";
import { hashIds } from "../../tensor/hash.ts";
import type { Reward, RewardInput } from "../rewards.ts";
import { type CacheEntry, promptIdOf } from "./cache.ts";
import type { CacheWriter } from "./file.ts";

/** A prompt as tokens and as the text they stand for. */
export interface Prompt {
  readonly ids: readonly number[];
  readonly text: string;
  /** Of a conversation: what was said so far. */
  readonly messages?: readonly Message[];
}

/** How a cache is built. */
export interface CacheOptions {
  readonly engine: Engine;
  readonly reward: Reward;
  readonly tokenizer: Tokenizer;
  readonly seed: number;
  /** Samples a prompt, M. */
  readonly samples: number;
  /** Called with the number of prompts that have been written since the last call. */
  readonly onProgress?: (prompts: number) => void;
  /** Stops between prompts; what is written stays, and a later call continues. */
  readonly signal?: AbortSignal;
}

/** The random stream of sample `index` of a prompt: the same wherever and with whatever else it is drawn. */
export function streamOf(ids: ArrayLike<number>, index: number): readonly [number, number] {
  return [hashIds(ids)[0], index];
}

/** Text of a prompt with its response, decoded together, less the prompt's: joints between tokens come out right. */
export function responseText(tokenizer: Tokenizer, prompt: Prompt, ids: readonly number[]): string {
  const whole = tokenizer.decode([...prompt.ids, ...ids], { skipSpecialTokens: true });
  return whole.startsWith(prompt.text)
    ? whole.slice(prompt.text.length)
    : tokenizer.decode([...ids], { skipSpecialTokens: true });
}

/** What a reward sees of a response, given as text and as ids. */
export const rewardInput = (
  { text, ids, messages }: Prompt,
  response: string,
  responseIds: readonly number[],
): RewardInput => ({
  prompt: text,
  response,
  promptIds: ids,
  responseIds,
  ...(messages && { messages }),
});

/**
 * Appends every prompt that the writer does not have yet, once, in order.
 * @throws ConfigError when the reward gives something else than finite numbers; what was written before stays
 */
export async function buildCache(
  prompts: readonly Prompt[],
  writer: CacheWriter,
  options: CacheOptions,
): Promise<void> {
  const { engine, samples, seed, onProgress, signal } = options;
  const distinct = new Map(prompts.map((p) => [promptIdOf(p.ids), p]));
  const todo = [...distinct].filter(([id]) => !writer.has(id)).map(([, prompt]) => prompt);
  if (signal?.aborted) return;
  const requests = todo.flatMap(({ ids }) =>
    Array.from({ length: samples }, (_, m): Request => ({ ids, stream: streamOf(ids, m) })),
  );
  let drawn: Sample[] = [];
  for await (const { index, sample } of inOrder(engine.responses(requests, { seed }))) {
    drawn.push(sample);
    if (drawn.length < samples) continue;
    await writer.append(await entryOf(todo[Math.floor(index / samples)]!, drawn, options));
    onProgress?.(1);
    if (signal?.aborted) return;
    drawn = [];
  }
}

async function entryOf(
  prompt: Prompt,
  drawn: readonly Sample[],
  { tokenizer, reward }: CacheOptions,
): Promise<CacheEntry> {
  const responses = drawn.map((s) => responseText(tokenizer, prompt, s.ids));
  const inputs = drawn.map((s, i) => rewardInput(prompt, responses[i]!, s.ids));
  return {
    promptId: promptIdOf(prompt.ids),
    prompt: prompt.text,
    promptIds: [...prompt.ids],
    ...(prompt.messages && { messages: [...prompt.messages] }),
    rewards: [...(await reward.score(inputs))],
    lengths: drawn.map((s) => s.ids.length),
    finished: drawn.map(isFinished),
    logprobs: drawn.map((s) => s.logprobs.reduce((a, b) => a + b, 0)),
    responses,
    responseIds: drawn.map((s) => s.ids),
  };
}
