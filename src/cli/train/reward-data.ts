/** What `vbon reward` learns from: texts with labels, or preferences; of either kind the parts of a split. */
import type { CacheEntry } from "../../align/cache/cache.ts";
import { readCache } from "../../align/cache/file.ts";
import { groupsOf } from "../../align/pairs.ts";
import {
  type FieldNames,
  type Judged,
  type LabelledSource,
  readLabelled,
  readPreferences,
  splitHeldOut,
  type TextPair,
} from "../../data/datasets/dataset.ts";
import { answered, type Chat, openChat } from "../../data/tokenizer/chat.ts";
import type { Tokenizer } from "../../data/tokenizer/tokenizer.ts";
import { ConfigError } from "../../errors.ts";
import type { ScalarModel } from "../../nn/lm.ts";
import { cutStart, type Reads } from "../../nn/pooling.ts";
import { hashIds, hexOf } from "../../tensor/hash.ts";
import { createPairJudge, preferenceTraining } from "../../train/preference.ts";
import {
  type ClassifierResults,
  type ClassifierSettings,
  classifierTraining,
  createClassifier,
} from "../../train/reward.ts";
import type { Training } from "../../train/training.ts";

/** The flags that say where the data are. */
export interface RewardSource {
  readonly data?: string | undefined;
  /** What the fields of `data` are called. */
  readonly textField?: string | undefined;
  readonly labelField?: string | undefined;
  readonly positive?: string | undefined;
  readonly negative?: string | undefined;
  readonly pairs?: string | undefined;
  readonly chosenField: string;
  readonly rejectedField: string;
  readonly westOf?: string | undefined;
  readonly n: number;
  /** Share of the pairs of `westOf` that are kept. */
  readonly westKeep: number;
  readonly seed: number;
}

/** How items are split. */
export interface SplitSettings {
  /** Most tokens of a text, and which of them the model reads: those stay when a text is cut. */
  readonly block: number;
  readonly reads: Reads;
  readonly testFraction: number;
  readonly validationFraction: number;
  readonly seed: number;
}

/** Data of one kind. */
export interface RewardData {
  /** What is counted: "texts". */
  readonly unit: "texts" | "pairs";
  /** All texts, to train a tokenizer on. */
  readonly texts: readonly string[];
  /**
   * @throws ConfigError for conversations where the tokenizer has no chat template; FormatError where the template refuses one
   */
  split(tokenizer: Tokenizer, settings: SplitSettings): RewardSplit;
}

/** Encoded and split: nothing but the test sees the test's items. */
export interface RewardSplit {
  readonly train: number;
  readonly validation: number;
  readonly test: number;
  /** Of the train items. */
  readonly hash: string;
  training(model: ScalarModel, settings: ClassifierSettings): Promise<Training>;
  /** Accuracy and loss on the test items, `batch` texts side by side. */
  measure(model: ScalarModel, batch: number): Promise<ClassifierResults>;
}

/**
 * Opens what the flags name.
 * @throws ConfigError when they name nothing, or several things; FormatError for bad files
 */
export async function readRewardData(source: RewardSource): Promise<RewardData> {
  const { data, positive, negative, pairs, westOf } = source;
  const named = [data, positive ?? negative, pairs, westOf].filter((name) => name !== undefined);
  if (named.length !== 1 || (positive === undefined) !== (negative === undefined)) {
    throw new ConfigError(
      "reward: expected one of --data FILE.jsonl, --positive FILE with --negative FILE, --pairs FILE.jsonl, --west-of CACHE.jsonl",
    );
  }
  if (pairs !== undefined)
    return preferences(await readPreferences(pairs, source.chosenField, source.rejectedField));
  if (westOf !== undefined) return preferences(await westOfN(westOf, source));
  return labelled(data === undefined ? { positive: positive!, negative: negative! } : { file: data }, {
    text: source.textField,
    label: source.labelField,
  });
}

async function labelled(source: LabelledSource, names: FieldNames): Promise<RewardData> {
  const all = await readLabelled(source, names);
  const good = all.filter(({ label }) => label === 1).length;
  if (good === 0 || good === all.length)
    throw new ConfigError(`reward: expected texts of both labels, got ${good} good ones of ${all.length}`);
  return {
    unit: "texts",
    texts: all.map(({ text }) => wordsOf(text)),
    split(tokenizer, settings) {
      const encode = encoder(tokenizer, settings);
      const items = all.map(({ text, label }) => ({ ids: encode(text), label }));
      const parts = inThree(
        items.filter(({ ids }) => ids.length > 0),
        settings,
      );
      return {
        ...sizesOf(parts),
        hash: hexOf(hashIds(parts.train.flatMap(({ ids, label }) => [label, ...ids]))),
        training: (model, how) =>
          classifierTraining(model, { train: parts.train, heldOut: parts.validation }, how),
        measure: (model, batch) => measured(createClassifier(model, batch), parts.test),
      };
    },
  };
}

function preferences(all: readonly TextPair[]): RewardData {
  return {
    unit: "pairs",
    texts: all.flatMap(({ chosen, rejected }) => [wordsOf(chosen), wordsOf(rejected)]),
    split(tokenizer, settings) {
      const encode = encoder(tokenizer, settings);
      const items = all.map(({ chosen, rejected }) => ({
        chosen: encode(chosen),
        rejected: encode(rejected),
      }));
      const parts = inThree(
        items.filter(({ chosen, rejected }) => chosen.length * rejected.length > 0),
        settings,
      );
      return {
        ...sizesOf(parts),
        hash: hexOf(
          hashIds(parts.train.flatMap(({ chosen, rejected }) => [...chosen, -1 >>> 0, ...rejected])),
        ),
        training: (model, how) =>
          preferenceTraining(model, { train: parts.train, heldOut: parts.validation }, how),
        measure: (model, batch) => measured(createPairJudge(model, batch), parts.test),
      };
    },
  };
}

const wordsOf = (text: Judged): string =>
  typeof text === "string" ? text : text.messages.map(({ content }) => content).join("\n");

/** Ids of a text, or of a conversation in the tokenizer's chat template, cut to the block. */
function encoder(tokenizer: Tokenizer, { reads, block }: SplitSettings): (text: Judged) => readonly number[] {
  let chat: Chat | undefined;
  const ids = (text: Judged): number[] => {
    if (typeof text === "string") return tokenizer.encode(text);
    return (chat ??= openChat(tokenizer)).whole(text.messages, text.where);
  };
  return (text) => cutStart(reads, ids(text), block);
}

/**
 * Of every n cached responses the best against the worst, ties left out; of these pairs the share `westKeep` that the cache's
 * reward is surest of: sigmoid(r_best - r_worst) is largest (Pace et al. 2024, "West-of-N", 4.2).
 */
async function westOfN(path: string, { n, seed, westKeep }: RewardSource): Promise<readonly TextPair[]> {
  const { entries } = await readCache(path);
  const all = [...entries.values()];
  if (all.some(({ responses }) => !responses))
    throw new ConfigError(`${path}: keeps scores but no responses to prefer; build it with "vbon cache"`);
  const groups = groupsOf(all, { n, seed, missingEos: "none" });
  const pairs = Array.from({ length: groups.count }, (_, item) => groups.at(item, 0)).flatMap(
    ({ entry, chosen, rejected, tied }) => {
      const margin = entry.rewards[chosen]! - entry.rewards[rejected]!;
      const answer = (index: number): Judged => answerOf(entry, index, path);
      return tied ? [] : [{ chosen: answer(chosen), rejected: answer(rejected), margin }];
    },
  );
  return surest(pairs, westKeep);
}

function answerOf({ prompt, messages, responses }: CacheEntry, index: number, path: string): Judged {
  const response = responses![index]!;
  if (!messages) return prompt + response;
  return { messages: answered(messages, response), where: `${path}: ${JSON.stringify(prompt.slice(0, 40))}` };
}

/** The share `keep` of the pairs with the largest margins, in their order. */
function surest<T extends { readonly margin: number }>(pairs: readonly T[], keep: number): readonly T[] {
  const least = pairs.map(({ margin }) => margin).toSorted((a, b) => b - a)[
    Math.ceil(keep * pairs.length) - 1
  ];
  return pairs.filter(({ margin }) => margin >= (least ?? 0));
}

interface Parts<T> {
  readonly train: readonly T[];
  readonly validation: readonly T[];
  readonly test: readonly T[];
}

function inThree<T>(
  items: readonly T[],
  { testFraction, validationFraction, seed }: SplitSettings,
): Parts<T> {
  const { train: rest, heldOut: test } = splitHeldOut(items, { fraction: testFraction, seed });
  const { train, heldOut: validation } = splitHeldOut(rest, { fraction: validationFraction, seed });
  return { train, validation, test };
}

const sizesOf = <T>({
  train,
  validation,
  test,
}: Parts<T>): Pick<RewardSplit, "train" | "validation" | "test"> => ({
  train: train.length,
  validation: validation.length,
  test: test.length,
});

interface Judge<T> {
  evaluate(items: readonly T[]): Promise<ClassifierResults>;
  dispose(): void;
}

async function measured<T>(judge: Judge<T>, items: readonly T[]): Promise<ClassifierResults> {
  const results = await judge.evaluate(items);
  judge.dispose();
  return results;
}
