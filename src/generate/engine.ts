/**
 * Generation: many sequences at once over a key/value cache, tokens drawn on the GPU. A row whose response has ended
 * takes the next request that waits. Samples of one prompt share its prefill, and a sample is the same whatever else
 * is in its batch: its random numbers are keyed by (seed, stream, position), no kernel lets one row see another, and
 * how its prompt is computed depends on the prompt alone.
 */
import { ConfigError, DeviceError } from "../errors.ts";
import { createKvMemory, type KvDtype, type KvMemory } from "../nn/kv-cache.ts";
import type { LanguageModel } from "../nn/lm.ts";
import { input, record, type Tensor } from "../tensor/tensor.ts";
import {
  admit,
  advance,
  createDecodeState,
  type DecodeState,
  IDLE,
  KEEP,
  MAX_EOS,
  readReport,
  RING,
  type RowReport,
} from "./advance.ts";
import { createPrefill, prefillLength } from "./prefill.ts";
import { sampleTokens, type SamplingSettings } from "./sample.ts";
import { createSchedule, stepsUntilLook } from "./schedule.ts";
import type { Stop } from "./stop.ts";

/** How tokens are drawn and when a response ends. */
export interface GenerateSettings extends SamplingSettings {
  /** Most tokens of a response. */
  readonly maxNewTokens: number;
  /** A response ends with the first of these. */
  readonly eosIds: readonly number[];
  /** Or where it says this. */
  readonly stop?: Stop;
  /** Element type of the key/value cache, "f32" by default. With "f16" log-probabilities move by an RMS of about 1e-3 nats. */
  readonly kvDtype?: KvDtype;
}

/** One response to be drawn. */
export interface Request {
  /** Prompt tokens, at least one. */
  readonly ids: readonly number[];
  /** Key of its random numbers: the same seed and stream give the same response. */
  readonly stream: readonly [number, number];
}

/** A response. */
export interface Sample {
  /** Response tokens, the end token included. */
  readonly ids: number[];
  /** log p of each token at the sampling temperature over the full vocabulary, nats. */
  readonly logprobs: Float32Array;
  /** What ended it: a token, a text, or that it may not be longer. */
  readonly finish: "eos" | "stop" | "length";
}

/** Whether a response came to its end, and was not cut off. */
export const isFinished = ({ finish }: Sample): boolean => finish !== "length";

/** A response and whose it is. */
export interface Response {
  /** Index of the request. */
  readonly index: number;
  readonly sample: Sample;
}

/** What {@link Engine.generate} may report while it works. */
export interface GenerateOptions {
  readonly seed: number;
  /** Called every few tokens with the number of tokens drawn since the last call. */
  readonly onProgress?: (tokens: number) => void;
  /** Called as often with the growing responses of the rows in flight, by index of their request. */
  readonly onTokens?: (responses: ReadonlyMap<number, Uint32Array>) => void;
  /**
   * Called as often with the responses of the rows in flight; those that it names are given up, and their rows take requests
   * that wait. They are never yielded.
   */
  readonly reject?: (responses: ReadonlyMap<number, Growing>) => Promise<readonly number[]>;
}

/** A response that is being drawn, or has just ended. */
export interface Growing {
  readonly ids: readonly number[];
  readonly ended: boolean;
}

/** A reusable generator for one model and one setting. */
export interface Engine {
  readonly settings: GenerateSettings;
  /**
   * Draws one response a request, in order.
   * @throws ConfigError when a prompt is empty or prompt and response exceed the model's context; DeviceError when
   *   the GPU fails
   */
  generate(requests: readonly Request[], options: GenerateOptions): Promise<Sample[]>;
  /**
   * The same, each response as it ends, with the index of its request. To leave the loop is to stop. One loop at a time.
   * @throws ConfigError, DeviceError as there
   */
  responses(requests: readonly Request[], options: GenerateOptions): AsyncGenerator<Response>;
  /** Records the prefill of up to `prompts` different prompts of the longest length ahead of its first use. */
  prepare(prompts: number): Promise<void>;
  /** Bytes of the key/value cache. */
  readonly cacheBytes: number;
  dispose(): void;
}

/** Tokens between two looks at which rows are done, where anything depends on it. */
const BURST = 8;

/** A response that is being drawn. */
interface Draft {
  readonly ids: number[];
  readonly logprobs: number[];
  /** Whether it has said what ends it. */
  stopped: boolean;
}

/**
 * Prepares a generator.
 * @param rows sequences decoded side by side
 * @param promptLength longest prompt, in tokens
 * @throws ConfigError when the longest prompt and response exceed the model's context
 */
export async function createEngine(
  model: LanguageModel,
  rows: number,
  promptLength: number,
  settings: GenerateSettings,
): Promise<Engine> {
  checkSettings(model, promptLength, settings);
  const { device } = model.parameters;
  const { maxNewTokens, eosIds, stop } = settings;
  // The last token of a response is never fed; a prefill stores its padding too.
  const slots = Math.max(
    promptLength + maxNewTokens - 1,
    prefillLength(promptLength, model.config.blockSize),
  );
  const memory = createKvMemory(device, model.config, rows, slots, settings.kvDtype);
  const state = createDecodeState(device, memory.lengths);
  const prefill = createPrefill(model, memory);
  const decode = await record(device, "decode", () => recordStep(model, state, memory, settings));
  const admission = await record(device, "admission", () => {
    const admissions = input([rows, 4], "u32", "admissions");
    admit(state, admissions, settings);
    return admissions;
  });

  /** Tells the GPU of the rows that were given, and of those that were halted; the others go on, or become idle at first. */
  const start = async (
    given: readonly number[],
    requestOf: (row: number) => Request,
    others: number,
    halted: readonly number[],
  ): Promise<void> => {
    const admissions = new Uint32Array(4 * rows).map((_, i) => (i % 4 === 0 ? others : 0));
    for (const row of halted) admissions[4 * row] = IDLE;
    for (const row of given) {
      const { ids, stream } = requestOf(row);
      admissions.set([ids.length - 1, ids.at(-1)!, ...stream], 4 * row);
    }
    admission.result.write(admissions);
    admission.run();
    await prefill.run(given.map((row) => ({ row, ids: requestOf(row).ids })));
  };

  async function* responses(
    requests: readonly Request[],
    options: GenerateOptions,
  ): AsyncGenerator<Response> {
    for (const { ids } of requests) checkPrompt(ids, promptLength);
    const { seed, onProgress, onTokens, reject } = options;
    const watched =
      eosIds.length > 0 || [stop, onTokens, onProgress, reject].some((hears) => hears !== undefined);
    const schedule = createSchedule(requests.length, rows);
    const drafts = new Map<number, Draft>();
    const requestOf = (row: number): Request => requests[schedule.requestOf(row)!]!;

    /** Gives rows out and submits the next steps. False when there is nothing left to draw. */
    const submit = async (others: number, halted: readonly number[] = []): Promise<boolean> => {
      const given = schedule.admit();
      if (given.length + halted.length > 0 || others === IDLE) await start(given, requestOf, others, halted);
      for (const row of given) drafts.set(row, { ids: [], logprobs: [], stopped: false });
      const left = schedule.active.map((row) => maxNewTokens - drafts.get(row)!.ids.length);
      if (left.length === 0) return false;
      decode.run(stepsUntilLook({ left, waiting: schedule.waiting > 0, most: watched ? BURST : RING }));
      return true;
    };

    state.seed.write([seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0]);
    for (let busy = await submit(IDLE); busy;) {
      const reports = await readReport(state);
      const flight = schedule.active.map((row) => ({
        row,
        index: schedule.requestOf(row)!,
        draft: drafts.get(row)!,
        ...reports(row),
      }));
      const drawn = flight.map(({ draft, ...report }) => extend(draft, report));
      flight.forEach(({ draft: { ids }, draft }, i) =>
        cutAt(draft, stop?.lengthOf(ids, ids.length - drawn[i]!)),
      );
      onProgress?.(drawn.reduce((a, b) => a + b, 0));
      onTokens?.(new Map(flight.map(({ index, draft }) => [index, Uint32Array.from(draft.ids)])));
      const hasEnded = ({ idle, draft }: (typeof flight)[number]): boolean => idle || draft.stopped;
      const growing = new Map(flight.map((one) => [one.index, { ids: one.draft.ids, ended: hasEnded(one) }]));
      const dropped = new Set(await reject?.(growing));
      const over = flight.filter((one) => hasEnded(one) || dropped.has(one.index));
      for (const { row } of over) schedule.release(row);
      const halted = over.filter(({ idle }) => !idle).map(({ row }) => row);
      busy = await submit(KEEP, halted); // before the caller works on what has ended
      for (const { index, draft } of flight.filter(hasEnded))
        yield { index, sample: sampleOf(draft, eosIds) };
    }
  }

  return {
    settings,
    cacheBytes: memory.bytes,
    prepare: (prompts) => prefill.prepare(Math.min(rows, prompts), promptLength),
    responses,
    async generate(requests, options) {
      const samples: Sample[] = [];
      for await (const { index, sample } of responses(requests, options)) samples[index] = sample;
      return samples;
    },
    dispose() {
      for (const part of [memory, decode, admission, prefill]) part.dispose();
      const { lengths: _, ...own } = state;
      for (const tensor of Object.values(own) as Tensor[]) device.destroyBuffer(tensor.storage.place!.buffer);
    },
  };
}

/** Responses in the order of their requests, each as soon as it and all before it have ended. */
export async function* inOrder(responses: AsyncIterable<Response>): AsyncGenerator<Response> {
  const early = new Map<number, Sample>();
  let next = 0;
  for await (const { index, sample } of responses) {
    early.set(index, sample);
    for (let ready = early.get(next); ready; ready = early.get(next)) {
      early.delete(next);
      yield { index: next++, sample: ready };
    }
  }
}

/** One token a row: feed the current token, draw the next. */
function recordStep(
  model: LanguageModel,
  state: DecodeState,
  memory: KvMemory,
  settings: GenerateSettings,
): void {
  const R = memory.rows;
  const batch = {
    ids: state.current.reshape(R, 1),
    positions: memory.lengths.reshape(R, 1),
    range: input([R, 2], "u32"),
  };
  const hidden = model.hidden(batch, memory.extend).reshape(R, -1);
  advance(state, sampleTokens(model.logits(hidden), state, settings), settings);
}

/**
 * Appends what a row has drawn since the last look; returns how many tokens that is.
 * @throws DeviceError when that cannot be: its memory holds something else
 */
function extend({ ids, logprobs }: Draft, { drawn, token, logprob }: RowReport): number {
  const before = ids.length;
  if (drawn <= before || drawn > before + RING)
    throw new DeviceError(
      `generate: a response of ${before} tokens has ${drawn} after the next steps; the adapter has not computed them`,
    );
  for (let t = before; t < drawn; t++) {
    ids.push(token(t));
    logprobs.push(logprob(t));
  }
  return drawn - before;
}

/** Ends a response after `length` tokens, where that is known. */
function cutAt(draft: Draft, length: number | undefined): void {
  if (length === undefined) return;
  draft.ids.length = length;
  draft.logprobs.length = length;
  draft.stopped = true;
}

function sampleOf({ ids, logprobs, stopped }: Draft, eosIds: readonly number[]): Sample {
  const ended = eosIds.includes(ids.at(-1)!) ? "eos" : "length";
  return { ids, logprobs: Float32Array.from(logprobs), finish: stopped ? "stop" : ended };
}

function checkSettings(
  model: LanguageModel,
  promptLength: number,
  { maxNewTokens, eosIds }: GenerateSettings,
): void {
  const { blockSize } = model.config;
  if (promptLength + maxNewTokens > blockSize) {
    throw new ConfigError(
      `generate: a prompt of ${promptLength} tokens and ${maxNewTokens} new ones exceed the model's context of ${blockSize}; ` +
        "shorten the prompt or ask for fewer new tokens",
    );
  }
  if (maxNewTokens < 1)
    throw new ConfigError(`generate: maxNewTokens is ${maxNewTokens}; expected at least 1`);
  if (eosIds.length > MAX_EOS)
    throw new ConfigError(`generate: ${eosIds.length} end tokens; at most ${MAX_EOS}`);
}

function checkPrompt(ids: readonly number[], longest: number): void {
  if (ids.length === 0)
    throw new ConfigError("generate: a prompt has no tokens; begin it with the model's BOS token");
  if (ids.length > longest)
    throw new ConfigError(`generate: a prompt has ${ids.length} tokens; this engine was made for ${longest}`);
}
