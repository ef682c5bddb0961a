/**
 * TL-1 as a language model on the GPU: a first-order Markov table, which is all that strings of at most two letters need.
 * Tokens a, b, $ (end), BOS; the prompt is BOS. Whatever trains, samples or scores models does so with this one, and what
 * it should arrive at is known exactly (tl1.ts).
 */
import { type Prompt } from "../../src/align/cache/build.ts";
import { type CacheEntry, promptIdOf, type RewardCache } from "../../src/align/cache/cache.ts";
import { functionReward, type Reward } from "../../src/align/rewards.ts";
import type { Tokenizer } from "../../src/data/tokenizer/tokenizer.ts";
import type { GenerateSettings } from "../../src/generate/engine.ts";
import type { Device } from "../../src/gpu/device.ts";
import type { ParameterSpec } from "../../src/nn/init.ts";
import type { LanguageModel } from "../../src/nn/lm.ts";
import { languageHead } from "../../src/nn/lm-head.ts";
import { createParameters, type Parameters } from "../../src/nn/parameters.ts";
import { embedding } from "../../src/ops/embedding.ts";
import type { LogitTable } from "./string-model.ts";
import * as tl1 from "./tl1.ts";

/** Token ids: the two letters, the end, the beginning. */
export const A = 0;
export const B = 1;
export const END = 2;
export const BOS = 3;
/** BOS alone. */
export const prompt: Prompt = { ids: [BOS], text: "" };
/** It conditions on its last token alone: the same conditionals after any prompt that ends with BOS. */
export const longPrompt: Prompt = { ids: [A, B, B, BOS], text: "abb" };
/** Two letters at most: what is not ended by then is cut off without an end token. */
export const settings: GenerateSettings = { maxNewTokens: 2, eosIds: [END], temperature: 1 };

/**
 * Row = the token before. The head is the identity, and `offsets`, which keep BOS from being drawn; neither learns.
 */
const specs: readonly ParameterSpec[] = [
  { name: "identity", shape: [4, 4], init: "zeros", decay: false },
  { name: "table", shape: [4, 4], init: "zeros", decay: false },
  { name: "offsets", shape: [4], init: "zeros", decay: false },
];

function overParameters(parameters: Parameters): LanguageModel {
  const sizes = { nLayer: 0, nHead: 1, nKvHead: 1, nEmbd: 4, headDim: 4 };
  return {
    config: { family: "table", vocabSize: 4, blockSize: 256, ...sizes, bosId: BOS, eosId: END },
    specs,
    parameters,
    hidden: ({ ids }) => embedding(parameters.get("table"), ids),
    ...languageHead({
      weight: parameters.get("identity").detach(),
      bias: parameters.get("offsets").detach(),
    }),
    with: overParameters,
    toHf: () => ({}),
  };
}

/** The model whose logits after '', a and b are the rows of `table`; frozen. */
export function tableModel(device: Device, table: LogitTable = tl1.refTable): LanguageModel {
  const parameters = createParameters(device, specs, { trainable: false });
  const [start = [], a = [], b = []] = table;
  parameters.get("table").write([a, b, [0, 0, 0], start].flatMap((row) => [...row, 0]));
  parameters.get("identity").write([0, 1, 2, 3].flatMap((i) => [0, 1, 2, 3].map((j) => (i === j ? 1 : 0))));
  parameters.get("offsets").write([0, 0, 0, -30]);
  return overParameters(parameters);
}

/** The rows of {@link tableModel}'s `table` that the model has now. */
export async function tableOf(model: LanguageModel): Promise<number[][]> {
  const values = await model.parameters.get("table").read();
  return rowsOf(values);
}

/** A [4, 4] table, or its gradient, in the order '', a, b, without the column of BOS. */
export function rowsOf(values: Float32Array): number[][] {
  return [BOS, A, B].map((row) => Array.from(values.subarray(4 * row, 4 * row + 3)));
}

/** The response that spells string number `y` of TL-1. */
export function responseOf(y: number): number[] {
  const letters = [...(tl1.model.strings[y] ?? "")].map((letter) => (letter === "a" ? A : B));
  return letters.length < 2 ? [...letters, END] : letters;
}

const LETTERS = ["a", "b", "$", "BOS"];

/** Spells ids; encodes nothing, for no rollout may depend on a text surviving the way there and back. */
export const tokenizer: Tokenizer = {
  vocabSize: 4,
  bosId: BOS,
  eosId: END,
  endIds: [],
  specialIds: new Set([END, BOS]),
  specialTokens: {},
  chatTemplates: new Map(),
  withChatTemplate: () => tokenizer,
  encode: () => {
    throw new Error("a rollout encoded text");
  },
  decode: (ids) => [...ids].map((id) => ["a", "b"][id] ?? "").join(""),
  idOf: (token) => LETTERS.indexOf(token),
  tokenOf: (id) => LETTERS[id],
  json: {},
  files: () => ({}),
  save: () => Promise.resolve(),
};

/** TL-1's rewards, found by the response's text. */
export const reward: Reward = functionReward("tl1", (inputs) =>
  inputs.map(({ response }) => tl1.rewards[tl1.model.strings.indexOf(response)] ?? NaN),
);

/**
 * 200 responses in exactly the reference's proportions: with `smoothing: "paper"`, F is exact, but for the worst string,
 * whose F = 0 becomes 1/201.
 */
export function exactCache(): RewardCache {
  const drawn = tl1.logRef.flatMap((logP, y) =>
    Array.from({ length: Math.round(200 * Math.exp(logP)) }, () => y),
  );
  const entry: CacheEntry = {
    promptId: promptIdOf(prompt.ids),
    prompt: prompt.text,
    promptIds: [...prompt.ids],
    rewards: drawn.map((y) => tl1.rewards[y] ?? NaN),
    logprobs: drawn.map((y) => tl1.logRef[y] ?? NaN),
    responses: drawn.map((y) => tl1.model.strings[y] ?? ""),
    responseIds: drawn.map(responseOf),
  };
  return { header: undefined, entries: new Map([[entry.promptId, entry]]) };
}

/** A cache of scores alone. */
export function cacheOf(
  entries: readonly { readonly prompt: Prompt; readonly rewards: number[] }[],
): RewardCache {
  const lines = entries.map(({ prompt, rewards }): CacheEntry => {
    return { promptId: promptIdOf(prompt.ids), prompt: prompt.text, promptIds: [...prompt.ids], rewards };
  });
  return { header: undefined, entries: new Map(lines.map((entry) => [entry.promptId, entry])) };
}
