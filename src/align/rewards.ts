/** Rewards: anything that gives each response one finite number. Functions are first-class; models come ready-made. */
import { answered, type Chat, type Message, openChat } from "../data/tokenizer/chat.ts";
import type { Tokenizer } from "../data/tokenizer/tokenizer.ts";
import { ConfigError, FormatError, messageOf } from "../errors.ts";
import { nodeModule } from "../host.ts";
import type { ScalarModel } from "../nn/lm.ts";
import { cutStart } from "../nn/pooling.ts";
import { createClassifier } from "../train/reward.ts";

/** What a reward sees of one response. Text and ids: a reward model's tokenizer need not be the policy's. */
export interface RewardInput {
  readonly prompt: string;
  readonly response: string;
  readonly promptIds: readonly number[];
  readonly responseIds: readonly number[];
  /** Where the prompt is a conversation: its messages, which the response answers. */
  readonly messages?: readonly Message[];
}

/** A user's reward: a module's default export or its export `reward`. May be async. */
export type RewardFunction = (
  inputs: readonly RewardInput[],
) => readonly number[] | Promise<readonly number[]>;

/** A reward with a name for caches and reports. */
export interface Reward {
  readonly name: string;
  /**
   * One score a response, in order.
   * @throws ConfigError when a score is missing or not finite
   */
  score(inputs: readonly RewardInput[]): Promise<Float64Array>;
}

/**
 * A reward from a function; its answers are checked.
 * @param name as it stands in cache headers: another name is another reward
 */
export function functionReward(name: string, fn: RewardFunction): Reward {
  return {
    name,
    async score(inputs) {
      const scores = await fn(inputs);
      if (scores?.length !== inputs.length) {
        throw new ConfigError(
          `reward ${name}: expected ${inputs.length} numbers, got ${scores?.length ?? typeof scores}`,
        );
      }
      const bad = Array.from(scores).findIndex((s) => !Number.isFinite(s));
      if (bad >= 0) {
        const text = JSON.stringify(inputs[bad]!.prompt + inputs[bad]!.response).slice(0, 200);
        throw new ConfigError(
          `reward ${name}: the score of ${text} is ${String(scores[bad])}; expected a finite number`,
        );
      }
      return Float64Array.from(scores);
    },
  };
}

/** VADER's compound score (Hutto & Gilbert 2014) of prompt and response together, in [-1, 1]. */
export async function vaderReward(): Promise<Reward> {
  const { SentimentIntensityAnalyzer: analyzer } = await import("vader-sentiment");
  const compound = (text: string): number => analyzer.polarity_scores(text).compound;
  return functionReward("lexicon:vader", (inputs) =>
    inputs.map(({ prompt, response }) => compound(prompt + response)),
  );
}

/**
 * A reward from a user's module.
 * @throws FormatError when the module does not load or exports no function
 */
export async function moduleReward(path: string): Promise<Reward> {
  let module: Record<string, unknown>;
  const file = nodeModule("node:url").pathToFileURL(nodeModule("node:path").resolve(path));
  try {
    module = (await import(file.href)) as Record<string, unknown>;
  } catch (error) {
    throw new FormatError(`reward ${path}: does not load: ${messageOf(error)}`);
  }
  const fn = module["default"] ?? module["reward"];
  if (typeof fn !== "function") {
    throw new FormatError(
      `reward ${path}: expected a default export that is a function of RewardInput[], got ${typeof fn}`,
    );
  }
  return functionReward(path, async (inputs) => {
    try {
      return await (fn as RewardFunction)(inputs);
    } catch (error) {
      throw new ConfigError(`reward ${path}: the function threw: ${messageOf(error)}`);
    }
  });
}

/** Sequences that a reward model scores side by side. */
const BATCH = 64;

/**
 * A reward model's score of prompt and response together: the logit of its only label, or the log-odds of the second
 * of two. A conversation is written by the chat template of the reward's own tokenizer, where that has one, else it is the text that
 * the policy saw. What is longer than the model's context loses its beginning.
 * @param name as it stands in cache headers
 */
export function modelReward(name: string, model: ScalarModel, tokenizer: Tokenizer): Reward {
  const { reads, config } = model;
  const classifier = createClassifier(model, BATCH);
  const chat = tokenizer.chatTemplates.has("default") ? openChat(tokenizer) : undefined;
  return functionReward(name, async (inputs) => {
    const texts = inputs.map((seen) => {
      const ids = cutStart(reads, idsSeen(seen, tokenizer, chat), config.blockSize);
      return ids.length > 0 ? ids : [0];
    });
    return Array.from(await classifier.scores(texts));
  });
}

const idsSeen = (
  { prompt, response, messages }: RewardInput,
  tokenizer: Tokenizer,
  chat: Chat | undefined,
): readonly number[] =>
  messages && chat
    ? chat.whole(answered(messages, response), `the reward of ${JSON.stringify(response.slice(0, 40))}`)
    : tokenizer.encode(prompt + response);
