/** The keys and values of every layer for R sequences of up to S tokens. */
import { ConfigError } from "../errors.ts";
import { type Device } from "../gpu/device.ts";
import { packedAttention } from "../ops/attention.ts";
import { cachedAttention, fillCache } from "../ops/kv-cache.ts";
import { persistent, type Tensor } from "../tensor/tensor.ts";
import type { KvCache, ModelConfig } from "./lm.ts";

/** Element type of cached keys and values. f16 halves a cache's memory and the loads of a step; sums stay f32. */
export type KvDtype = "f32" | "f16";

/** GPU memory of a cache, and the two ways in which a model uses it. */
export interface KvMemory {
  readonly rows: number;
  readonly slots: number;
  /** u32 [R]: tokens that each row has cached. The engine's kernels advance it. */
  readonly lengths: Tensor;
  /**
   * For a batch of prompts [P, T], padded on either side: attends within the batch and stores keys and values in the rows whose
   * `source` (u32 [R]) names the prompt, so that samples of one prompt share its prefill.
   */
  prefill(source: Tensor): KvCache;
  /** For one new token a row, [R, 1]: attends over the row's cache and appends to it. */
  readonly extend: KvCache;
  /** Bytes of GPU memory. */
  readonly bytes: number;
  dispose(): void;
}

/**
 * Makes an empty cache.
 * @param rows sequences, R
 * @param slots tokens a sequence, S
 * @throws DeviceError when it does not fit the adapter; ConfigError when f16 does not fit the model
 */
export function createKvMemory(
  device: Device,
  config: ModelConfig,
  rows: number,
  slots: number,
  dtype: KvDtype = "f32",
): KvMemory {
  const shape = [rows, slots, config.nKvHead, config.headDim];
  if (dtype === "f16" && config.headDim % 8 !== 0)
    throw new ConfigError(
      `generate: kvDtype "f16" wants a head dimension that is a multiple of 8; this model's is ${config.headDim}. Use "f32"`,
    );
  const layers = Array.from({ length: config.nLayer }, (_, i) => ({
    k: persistent(device, shape, dtype, `keys of layer ${i}`),
    v: persistent(device, shape, dtype, `values of layer ${i}`),
  }));
  const lengths = persistent(device, [rows], "u32", "cache lengths");
  const tensors = [lengths, ...layers.flatMap(({ k, v }) => [k, v])];
  return {
    rows,
    slots,
    lengths,
    prefill: (source) => ({
      attend(layer, qkv, batch, scale) {
        fillCache(qkv, batch.range, layers[layer]!.k, layers[layer]!.v, source);
        return packedAttention(qkv, batch.range, { kvHeads: config.nKvHead, causal: true, scale });
      },
    }),
    extend: {
      attend(layer, qkv, _batch, scale) {
        const token = qkv.reshape(rows, qkv.dim(2), qkv.dim(3));
        const y = cachedAttention(token, layers[layer]!.k, layers[layer]!.v, lengths, { scale });
        return y.reshape(rows, 1, config.nHead, config.headDim);
      },
    },
    bytes: tensors.reduce((sum, t) => sum + t.storage.bytes, 0),
    dispose: () => tensors.forEach((t) => device.destroyBuffer(t.storage.place!.buffer)),
  };
}
