/** What a decoding run remembers for its rows, and the kernels that give a row to a response and move it on. */
import type { Device } from "../gpu/device.ts";
import { loadKernel } from "../gpu/kernel.ts";
import { call } from "../tensor/op.ts";
import { persistent, type Tensor } from "../tensor/tensor.ts";

const kernel = await loadKernel("advance");

/** No token has this id. */
const NO_TOKEN = 0xffffffff;
/** As many end tokens as the kernel compares. */
export const MAX_EOS = 4;
/** Tokens that a row's report holds: it must be read at least that often. */
export const RING = 32;
/** u32 words of a row's report. */
export const REPORT_WORDS: number = 2 + 2 * RING;

/** In place of an admission's cached tokens: this row goes on as it is; this row becomes idle. */
export const KEEP = 0xffffffff;
export const IDLE = 0xfffffffe;

/** State of R rows; all u32. */
export interface DecodeState {
  /** [R]: the token each row feeds to the model next. */
  readonly current: Tensor;
  /** [R]: tokens that each row has cached. It belongs to the key/value memory. */
  readonly lengths: Tensor;
  /** [R]: index in the response of the next token to draw. */
  readonly positions: Tensor;
  /** [R, 2]: the key of each row's random numbers. */
  readonly streams: Tensor;
  /** [2]: the seed. */
  readonly seed: Tensor;
  /** [R, 2 + 2 RING]: what {@link readReport} reads. */
  readonly report: Tensor;
}

export function createDecodeState(device: Device, lengths: Tensor): DecodeState {
  const rows = lengths.size;
  return {
    lengths,
    current: persistent(device, [rows], "u32", "current token"),
    positions: persistent(device, [rows], "u32", "sample position"),
    streams: persistent(device, [rows, 2], "u32", "random streams"),
    seed: persistent(device, [2], "u32", "seed"),
    report: persistent(device, [rows, REPORT_WORDS], "u32", "report"),
  };
}

/** When responses end. */
interface Ends {
  readonly maxNewTokens: number;
  readonly eosIds: readonly number[];
}

function run(entry: "advance" | "admit", bindings: Record<string, Tensor>, R: number, ends: Ends): void {
  const [eos0 = NO_TOKEN, eos1 = NO_TOKEN, eos2 = NO_TOKEN, eos3 = NO_TOKEN] = ends.eosIds;
  call(kernel, entry, {
    bindings,
    params: { R, N: ends.maxNewTokens, eos0, eos1, eos2, eos3 },
    constants: { RING },
    workgroups: [Math.ceil(R / 64), 1, 1],
  });
}

/**
 * Stores the tokens just drawn and moves every row on that is not idle.
 * @param tokens u32 [R]
 * @param logprobs [R]
 */
export function advance(
  { current, lengths, positions, report }: DecodeState,
  { tokens, logprobs }: { readonly tokens: Tensor; readonly logprobs: Tensor },
  ends: Ends,
): void {
  run("advance", { tokens, logprobs, current, lengths, positions, report }, tokens.size, ends);
}

/**
 * Gives rows to new responses.
 * @param admissions u32 [R, 4]: cached tokens ({@link KEEP}, {@link IDLE}), the token to feed, the random stream
 */
export function admit(state: DecodeState, admissions: Tensor, ends: Ends): void {
  const { current, lengths, positions, streams, report } = state;
  run("admit", { admissions, current, lengths, positions, streams, report }, lengths.size, ends);
}

/** What a report says of one row. */
export interface RowReport {
  /** Tokens of its response so far. */
  readonly drawn: number;
  readonly idle: boolean;
  /** Token `t` of its response, one of the latest {@link RING}, and its log-probability. */
  token(t: number): number;
  logprob(t: number): number;
}

/** Reads the rows' reports: one small copy, one wait. */
export async function readReport({ report }: DecodeState): Promise<(row: number) => RowReport> {
  const words = await report.readU32();
  const floats = new Float32Array(words.buffer);
  return (row) => {
    const base = row * REPORT_WORDS;
    return {
      drawn: words[base]!,
      idle: words[base + 1] === 1,
      token: (t) => words[base + 2 + (t % RING)]!,
      logprob: (t) => floats[base + 2 + RING + (t % RING)]!,
    };
  };
}
