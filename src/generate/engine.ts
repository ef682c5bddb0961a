/**
 * Generation: many sequences at once over a key/value cache, tokens drawn on the GPU. Samples of one prompt
 * share its prefill, and a sample is the same whatever else is in its batch: its random numbers are keyed by
 * (seed, stream, position) and no kernel lets one row see another.
 */
import { bucketLength, padBatch } from "../data/batch.ts";
import { ConfigError } from "../errors.ts";
import type { Program } from "../gpu/program.ts";
import { createKvMemory, type KvMemory } from "../nn/kv-cache.ts";
import type { Batch, LanguageModel } from "../nn/lm.ts";
import { takeRows } from "../ops/gather.ts";
import { input, readAll, record, type Tensor } from "../tensor/tensor.ts";
import { advance, createDecodeState, type DecodeState, MAX_EOS } from "./advance.ts";
import { sampleTokens, type SamplingSettings } from "./sample.ts";

/** How tokens are drawn and when a response ends. */
export interface GenerateSettings extends SamplingSettings {
  /** Most tokens of a response. */
  readonly maxNewTokens: number;
  /** A response ends with the first of these. */
  readonly eosIds: readonly number[];
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
  readonly finish: "eos" | "length";
}

/** What {@link Engine.generate} may report while it works. */
export interface GenerateOptions {
  readonly seed: number;
  /** Called every few tokens with the number of tokens drawn since the last call. */
  readonly onProgress?: (tokens: number) => void;
  /** Called with the growing responses of the rows in flight, by index of their request. */
  readonly onTokens?: (responses: ReadonlyMap<number, Uint32Array>) => void;
}

/** A reusable generator for one model and one setting. */
export interface Engine {
  readonly settings: GenerateSettings;
  /**
   * Draws one response a request, in order.
   * @throws ConfigError when a prompt is empty or prompt and response exceed the model's context
   */
  generate(requests: readonly Request[], options: GenerateOptions): Promise<Sample[]>;
  /** Records the prefill of up to `prompts` different prompts of the longest length ahead of its first use. */
  prepare(prompts: number): Promise<void>;
  /** Bytes of the key/value cache. */
  readonly cacheBytes: number;
  dispose(): void;
}

/** Tokens between two looks at which rows are done. */
const BURST = 8;

interface PrefillInputs {
  readonly batch: Batch;
  /** u32 [R]: which prompt each row continues. */
  readonly source: Tensor;
  /** u32 [P]: the row of the hidden states, [P·T, C], at each prompt's last token. */
  readonly last: Tensor;
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
  const { maxNewTokens, eosIds } = settings;
  const state = createDecodeState(device, rows, maxNewTokens);
  const memory = createKvMemory(device, model.config, rows, promptLength + maxNewTokens);
  const decode = await record(device, "decode", () => recordStep(model, state, memory, settings));
  const prefills = new Map<string, Promise<Program<PrefillInputs>>>();

  const prefill = (P: number, T: number): Promise<Program<PrefillInputs>> => {
    const key = `${P}x${T}`;
    const known =
      prefills.get(key) ??
      record(device, `prefill ${key}`, () => recordPrefill(model, state, memory, settings, P, T));
    prefills.set(key, known);
    return known;
  };

  /** Draws the responses of up to `rows` requests. */
  const wave = async (
    requests: readonly Request[],
    first: number,
    options: GenerateOptions,
  ): Promise<Sample[]> => {
    const { prompts, source } = groupByPrompt(requests);
    const T = bucketLength(Math.max(...prompts.map((p) => p.length)), promptLength);
    const program = await prefill(powerOfTwo(prompts.length), T);
    writeInputs(program.result, prompts, source, T);
    resetState(state, memory, requests, prompts, source, options.seed);
    program.run();
    const watched = eosIds.length > 0 || options.onTokens !== undefined || options.onProgress !== undefined;
    for (let done = 1, drawn = 0; done < maxNewTokens; done += BURST) {
      decode.run(Math.min(BURST, maxNewTokens - done));
      if (!watched) continue;
      const { lengths, finished } = await look(state, requests.length);
      const tokens = lengths.reduce((a, b) => a + b, 0);
      options.onProgress?.(tokens - drawn);
      drawn = tokens;
      if (options.onTokens) options.onTokens(await responsesSoFar(state, lengths, first));
      if (finished) break;
    }
    return readSamples(state, requests.length, eosIds);
  };

  return {
    settings,
    cacheBytes: memory.bytes,
    async prepare(prompts) {
      await prefill(powerOfTwo(Math.min(rows, prompts)), bucketLength(promptLength, promptLength));
    },
    async generate(requests, options) {
      for (const { ids } of requests) checkPrompt(ids, promptLength);
      const samples: Sample[] = [];
      for (let i = 0; i < requests.length; i += rows)
        samples.push(...(await wave(requests.slice(i, i + rows), i, options)));
      return samples;
    },
    dispose() {
      memory.dispose();
      decode.dispose();
      for (const program of prefills.values()) void program.then((p) => p.dispose());
      for (const tensor of Object.values(state) as Tensor[])
        device.destroyBuffer(tensor.storage.place!.buffer);
    },
  };
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
  const drawn = sampleTokens(model.logits(hidden), state, settings);
  advance(state, drawn, memory.lengths, { appended: 1, eosIds: settings.eosIds });
}

/** All prompts at once; every row takes its prompt's cache and draws its first token. */
function recordPrefill(
  model: LanguageModel,
  state: DecodeState,
  memory: KvMemory,
  settings: GenerateSettings,
  P: number,
  T: number,
): PrefillInputs {
  const batch = { ids: input([P, T], "u32"), positions: input([P, T], "u32"), range: input([P, 2], "u32") };
  const source = input([memory.rows], "u32", "source");
  const last = input([P], "u32", "last");
  const hidden = model.hidden(batch, memory.prefill(source));
  const logits = model.logits(takeRows(hidden.reshape(P * T, -1), last));
  const drawn = sampleTokens(takeRows(logits, source), state, settings);
  advance(state, drawn, memory.lengths, { appended: 0, eosIds: settings.eosIds });
  return { batch, source, last };
}

/** The distinct prompts of the requests, and which one each request continues. */
function groupByPrompt(requests: readonly Request[]): { prompts: (readonly number[])[]; source: number[] } {
  const index = new Map<string, number>();
  const prompts: (readonly number[])[] = [];
  const source = requests.map(({ ids }) => {
    const key = ids.join(",");
    const known = index.get(key) ?? prompts.push(ids) - 1;
    index.set(key, known);
    return known;
  });
  return { prompts, source };
}

function writeInputs(
  { batch, source, last }: PrefillInputs,
  prompts: (readonly number[])[],
  rows: number[],
  T: number,
): void {
  const P = batch.ids.dim(0);
  const all = [...prompts, ...Array.from({ length: P - prompts.length }, () => [0])];
  const padded = padBatch(all, { padId: 0, length: T });
  batch.ids.write(padded.ids);
  batch.positions.write(padded.positions);
  batch.range.write(padded.range);
  source.write(Array.from({ length: source.size }, (_, r) => rows[r] ?? 0));
  last.write(all.map((ids, p) => p * T + ids.length - 1));
}

/** Rows beyond the requests start out done. */
function resetState(
  state: DecodeState,
  memory: KvMemory,
  requests: readonly Request[],
  prompts: (readonly number[])[],
  source: number[],
  seed: number,
): void {
  const rows = Array.from({ length: memory.rows }, (_, r) => r);
  memory.lengths.write(rows.map((r) => prompts[source[r] ?? 0]!.length));
  state.progress.write(rows.flatMap((r) => [0, r < requests.length ? 0 : 1]));
  state.positions.write(rows.map(() => 0));
  state.streams.write(rows.flatMap((r) => requests[r]?.stream ?? [0, 0]));
  state.seed.write([seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0]);
}

/** How long every response is, and whether all have ended. */
async function look(state: DecodeState, count: number): Promise<{ lengths: number[]; finished: boolean }> {
  const progress = await state.progress.readU32();
  const rows = Array.from({ length: count }, (_, r) => r);
  return {
    lengths: rows.map((r) => progress[2 * r]!),
    finished: rows.every((r) => progress[2 * r + 1] === 1),
  };
}

async function responsesSoFar(
  state: DecodeState,
  lengths: number[],
  first: number,
): Promise<Map<number, Uint32Array>> {
  const ids = await state.outIds.readU32();
  const N = state.outIds.dim(1);
  return new Map(lengths.map((n, r) => [first + r, ids.subarray(r * N, r * N + n)]));
}

async function readSamples(state: DecodeState, count: number, eosIds: readonly number[]): Promise<Sample[]> {
  const [progress, ids, logprobs] = await readAll(state.current.device, [
    state.progress,
    state.outIds,
    state.outLogprobs,
  ]);
  const lengths = new Uint32Array(progress!.buffer);
  const tokens = new Uint32Array(ids!.buffer);
  const N = state.outIds.dim(1);
  return Array.from({ length: count }, (_, r) => {
    const end = r * N + lengths[2 * r]!;
    const response = Array.from(tokens.subarray(r * N, end));
    const finish = eosIds.includes(response.at(-1)!) ? "eos" : "length";
    return { ids: response, logprobs: logprobs!.slice(r * N, end), finish };
  });
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

const powerOfTwo = (n: number): number => 2 ** Math.ceil(Math.log2(n));
