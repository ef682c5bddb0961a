/** What a decoding run remembers for its rows, and the kernel that moves it on by one token. */
import type { Device } from "../gpu/device.ts";
import { loadKernel } from "../gpu/kernel.ts";
import { call } from "../tensor/op.ts";
import { persistent, type Tensor } from "../tensor/tensor.ts";

const kernel = await loadKernel("advance");

/** No token has this id. */
const NONE = 0xffffffff;
/** As many end tokens as the kernel compares. */
export const MAX_EOS = 4;

/** State of R rows that generate up to N tokens each. All u32 but the log-probabilities. */
export interface DecodeState {
  /** [R]: the token each row feeds to the model next. */
  readonly current: Tensor;
  /** [R]: index in the response of the next token to draw. */
  readonly positions: Tensor;
  /** [R, 2]: response length so far, and 1 when the row is done. */
  readonly progress: Tensor;
  /** [R, N] */
  readonly outIds: Tensor;
  /** f32 [R, N] */
  readonly outLogprobs: Tensor;
  /** [R, 2]: the key of each row's random numbers. */
  readonly streams: Tensor;
  /** [2]: the seed. */
  readonly seed: Tensor;
}

export function createDecodeState(device: Device, rows: number, maxNewTokens: number): DecodeState {
  return {
    current: persistent(device, [rows], "u32", "current token"),
    positions: persistent(device, [rows], "u32", "sample position"),
    progress: persistent(device, [rows, 2], "u32", "progress"),
    outIds: persistent(device, [rows, maxNewTokens], "u32", "response ids"),
    outLogprobs: persistent(device, [rows, maxNewTokens], "f32", "response logprobs"),
    streams: persistent(device, [rows, 2], "u32", "random streams"),
    seed: persistent(device, [2], "u32", "seed"),
  };
}

/**
 * Stores the tokens just drawn and moves every row on that is not done.
 * @param tokens u32 [R]
 * @param logprobs [R]
 * @param lengths u32 [R]: grows by `appended`, the tokens that this pass put into the cache
 */
export function advance(
  state: DecodeState,
  drawn: { readonly tokens: Tensor; readonly logprobs: Tensor },
  lengths: Tensor,
  { appended, eosIds }: { readonly appended: 0 | 1; readonly eosIds: readonly number[] },
): void {
  const [R = 0, N = 0] = state.outIds.shape;
  const [eos0 = NONE, eos1 = NONE, eos2 = NONE, eos3 = NONE] = eosIds;
  call(kernel, "advance", {
    bindings: {
      tokens: drawn.tokens,
      logprobs: drawn.logprobs,
      current: state.current,
      out_ids: state.outIds,
      out_logprobs: state.outLogprobs,
      progress: state.progress,
      lengths,
      positions: state.positions,
    },
    params: { R, N, appended, eos0, eos1, eos2, eos3 },
    workgroups: [Math.ceil(R / 64), 1, 1],
  });
}
