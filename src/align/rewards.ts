/** Rewards: anything that gives each response one finite number. Functions are first-class; models come ready-made. */
import { pathToFileURL } from "node:url";
import { resolve } from "node:path";
import { bucketLength, padBatch } from "../data/batch.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import { ConfigError, FormatError, messageOf } from "../errors.ts";
import type { Program } from "../gpu/program.ts";
import type { Batch, ScalarModel } from "../nn/lm.ts";
import { takeRows } from "../ops/gather.ts";
import { input, record, type Tensor } from "../tensor/tensor.ts";

/** What a reward sees of one response. Text and ids: a reward model's tokenizer need not be the policy's. */
export interface RewardInput {
  readonly prompt: string;
  readonly response: string;
  readonly promptIds: readonly number[];
  readonly responseIds: readonly number[];
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
  try {
    module = (await import(pathToFileURL(resolve(path)).href)) as Record<string, unknown>;
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

interface ScoreInputs {
  readonly batch: Batch;
  readonly last: Tensor;
  readonly scores: Tensor;
}

/**
 * A reward model: a trunk with a scalar head, read at the last token of prompt and response.
 * Text longer than the model's context loses its beginning.
 * @param name as it stands in cache headers
 */
export function modelReward(name: string, model: ScalarModel, tokenizer: Tokenizer): Reward {
  const { device } = model.parameters;
  const { blockSize } = model.config;
  const programs = new Map<number, Promise<Program<ScoreInputs>>>();
  const programFor = (T: number): Promise<Program<ScoreInputs>> => {
    const known = programs.get(T) ?? record(device, `reward ${BATCH}x${T}`, () => recordScores(model, T));
    programs.set(T, known);
    return known;
  };
  const scoreBatch = async (rows: readonly number[][]): Promise<Float32Array> => {
    const T = bucketLength(Math.max(...rows.map((r) => r.length)), blockSize);
    const program = await programFor(T);
    const all = [...rows, ...Array.from({ length: BATCH - rows.length }, () => [0])];
    const { batch, last, scores } = program.result;
    const padded = padBatch(all, { padId: 0, length: T });
    batch.ids.write(padded.ids);
    batch.positions.write(padded.positions);
    batch.range.write(padded.range);
    last.write(all.map((row, b) => b * T + row.length - 1));
    program.run();
    return (await scores.read()).subarray(0, rows.length);
  };
  return functionReward(name, async (inputs) => {
    const rows = inputs.map((i) => tokenizer.encode(i.prompt + i.response).slice(-blockSize));
    const order = rows.map((_, i) => i).toSorted((a, b) => rows[a]!.length - rows[b]!.length);
    const out: number[] = Array.from({ length: rows.length }, () => NaN);
    for (let i = 0; i < order.length; i += BATCH) {
      const some = order.slice(i, i + BATCH);
      const scores = await scoreBatch(some.map((j) => (rows[j]!.length > 0 ? rows[j]! : [0])));
      some.forEach((j, k) => (out[j] = scores[k]!));
    }
    return out;
  });
}

function recordScores(model: ScalarModel, T: number): ScoreInputs {
  const batch = {
    ids: input([BATCH, T], "u32"),
    positions: input([BATCH, T], "u32"),
    range: input([BATCH, 2], "u32"),
  };
  const last = input([BATCH], "u32", "last");
  const scores = model.scores(takeRows(model.hidden(batch).reshape(BATCH * T, -1), last));
  return { batch, last, scores };
}
