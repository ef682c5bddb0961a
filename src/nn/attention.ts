/** The one place where models attend: over the batch itself, or over a cache. */
import { attention } from "../ops/attention.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Batch, KvCache } from "./lm.ts";

/** Where a layer's attention happens. */
export interface AttendOptions {
  readonly batch: Batch;
  readonly cache: KvCache | undefined;
  readonly layer: number;
  /** Factor of the scores; 1/√D unless the family says otherwise. */
  readonly scale?: number;
}

/**
 * Causal attention, softmax(scale q kᵀ) v a head, over real tokens only (Vaswani et al. 2017, eq. 1).
 * @param q [B, T, H, D]
 * @param k [B, T, G, D]; each key head serves H/G query heads
 * @param v [B, T, G, D]
 * @returns [B, T, H·D]
 */
export function attend(q: Tensor, k: Tensor, v: Tensor, options: AttendOptions): Tensor {
  const { batch, cache, layer, scale = 1 / Math.sqrt(q.dim(-1)) } = options;
  const y = cache
    ? cache.attend(layer, q, k, v, batch, scale)
    : attention(q, k, v, batch.range, { causal: true, scale });
  return y.reshape(q.dim(0), q.dim(1), -1);
}

/** Splits the last dimension into heads: [B, T, heads·D] to [B, T, heads, D]. */
export function splitHeads(x: Tensor, heads: number): Tensor {
  return x.reshape(x.dim(0), x.dim(1), heads, x.dim(2) / heads);
}
