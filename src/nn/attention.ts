/** The one place where models attend: over the batch itself, or over a cache. */
import { packedAttention } from "../ops/attention.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Batch, KvCache, ModelConfig, Precision } from "./lm.ts";

/** Where a layer's attention happens. */
export interface AttendOptions {
  readonly config: ModelConfig;
  readonly batch: Batch;
  readonly cache: KvCache | undefined;
  readonly layer: number;
  /** Factor of the scores; 1/√D unless the family says otherwise. */
  readonly scale?: number;
  /** What enters the products of a whole batch; over a cache it is f32. */
  readonly precision: Precision;
  /** Whether tokens see those before them only, the default, or all. */
  readonly causal?: boolean;
}

/**
 * Attention, softmax(scale q kᵀ) v a head, over real tokens only (Vaswani et al. 2017, eq. 1).
 * @param qkv [B, T, (H + 2G)·D]: a token's queries, then its keys, then its values, as one projection makes them,
 *   or the same split into heads; each key head serves H/G query heads
 * @returns [B, T, H·D]
 */
export function attend(qkv: Tensor, options: AttendOptions): Tensor {
  const { config, batch, cache, layer, precision } = options;
  const { causal = true, scale = 1 / Math.sqrt(config.headDim) } = options;
  const heads = splitHeads(qkv, config);
  const y = cache
    ? cache.attend(layer, heads, batch, scale)
    : packedAttention(heads, batch.range, { kvHeads: config.nKvHead, causal, scale, precision });
  return y.reshape(qkv.dim(0), qkv.dim(1), -1);
}

/** A packed projection a head: [B, T, (H + 2G)·D] to [B, T, H + 2G, D]. */
export function splitHeads(qkv: Tensor, { nHead, nKvHead, headDim }: ModelConfig): Tensor {
  return qkv.reshape(qkv.dim(0), qkv.dim(1), nHead + 2 * nKvHead, headDim);
}
