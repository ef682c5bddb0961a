/** Attention of one new token a row over a cache of keys and values, and filling that cache from prompts. */
import type { Device } from "../gpu/device.ts";
import { loadKernel } from "../gpu/kernel.ts";
import { call, defineOp, need, type NdArray, type Op, strided } from "../tensor/op.ts";
import { empty, type Shape, type Tensor } from "../tensor/tensor.ts";

const kernel = await loadKernel("kv-cache");

/** In `source`: this row keeps what it has. */
export const NONE = 0xffffffff;

export interface CachedAttentionAttrs {
  /** Factor of the scores; by default 1/√D. */
  readonly scale?: number;
  readonly variant?: string;
}

type CachedInputs = [q: Tensor, k: Tensor, v: Tensor, cacheK: Tensor, cacheV: Tensor, lengths: Tensor];

const bestVariant = (device: Device): string =>
  device.subgroupSize > 0 && !device.software ? "lanes" : "plain";

function forward([q, k, v, cacheK, cacheV, lengths]: CachedInputs, attrs: CachedAttentionAttrs): Tensor {
  const [R = 0, H = 0, D = 0] = q.shape;
  const [, S = 0, G = 0] = cacheK.shape;
  const fits =
    String(k.shape) === String([R, G, D]) &&
    String(cacheK.shape) === String([R, S, G, D]) &&
    lengths.size === R;
  need(
    fits && H % G === 0 && D % 4 === 0,
    `cachedAttention: q [${q.shape}], k [${k.shape}], cache [${cacheK.shape}], lengths [${lengths.shape}] do not fit`,
  );
  const y = empty(q.shape, "f32", "cached attention");
  const variant = attrs.variant ?? bestVariant(q.device);
  const L = q.device.subgroupSize;
  call(kernel, `extend_${variant}`, {
    bindings: { q, k, v, cache_k: cacheK, cache_v: cacheV, lengths, y },
    params: { R, S, H, G, T: 1, scale: attrs.scale ?? 1 / Math.sqrt(D) },
    constants: { L: variant === "lanes" ? L : 1, D4: D / 4, QUERIES: H / G },
    workgroups: variant === "lanes" ? [G, R, 1] : [Math.ceil((R * G) / 64), 1, 1],
    flops: 2 * R * H * S * D,
  });
  return y;
}

function reference(inputs: readonly (NdArray | undefined)[], attrs: CachedAttentionAttrs): NdArray {
  const [q, k, v, cacheK, cacheV, lengths] = inputs as NdArray[];
  const [R = 0, H = 0, D = 0] = q!.shape;
  const [, S = 0, G = 0] = cacheK!.shape;
  const data = new Float64Array(R * H * D);
  for (let r = 0; r < R; r++) {
    for (let h = 0; h < H; h++) {
      const g = Math.floor((h * G) / H);
      const length = lengths!.data[r]!;
      const rows = Array.from({ length: length + 1 }, (_, j) =>
        j < length ? ((r * S + j) * G + g) * D : (r * G + g) * D,
      );
      const scores = rows.map((at, j) => {
        const keys = j < length ? cacheK! : k!;
        let s = 0;
        for (let d = 0; d < D; d++) s += q!.data[(r * H + h) * D + d]! * keys.data[at + d]!;
        return s * (attrs.scale ?? 1 / Math.sqrt(D));
      });
      const high = Math.max(...scores);
      const total = scores.reduce((sum, s) => sum + Math.exp(s - high), 0);
      rows.forEach((at, j) => {
        const values = j < length ? cacheV! : v!;
        for (let d = 0; d < D; d++)
          data[(r * H + h) * D + d]! += (Math.exp(scores[j]! - high) / total) * values.data[at + d]!;
      });
    }
  }
  return { shape: q!.shape, data };
}

const lengthsOf = (...n: number[]): { shape: Shape; dtype: "u32"; fill: (i: number) => number } => ({
  shape: [n.length],
  dtype: "u32",
  fill: (i) => n[i]!,
});

/**
 * Attention of one new token a row. q: [R,H,D], k and v of the new token: [R,G,D], caches: [R,S,G,D], lengths:
 * u32 [R], how many tokens each row has cached; returns [R,H,D]. The new key and value are stored at slot
 * `lengths` of their row. Not differentiable.
 * @throws ShapeError when shapes disagree
 */
export const cachedAttention: Op<CachedInputs, CachedAttentionAttrs> = defineOp<
  CachedInputs,
  CachedAttentionAttrs
>({
  name: "cachedAttention",
  arity: 6,
  forward,
  reference: (inputs, attrs) => [reference(inputs, attrs)],
  variants: (device) => (device.subgroupSize > 0 ? ["plain", "lanes"] : ["plain"]),
  cases: [
    {
      inputs: [[1, 1, 4], [1, 1, 4], [1, 1, 4], [1, 3, 1, 4], [1, 3, 1, 4], lengthsOf(0)],
      name: "empty cache",
    },
    {
      inputs: [[2, 4, 8], [2, 2, 8], [2, 2, 8], [2, 21, 2, 8], [2, 21, 2, 8], lengthsOf(20, 7)],
      name: "ragged lengths",
    },
    {
      inputs: [[3, 3, 12], [3, 1, 12], [3, 1, 12], [3, 9, 1, 12], [3, 9, 1, 12], lengthsOf(8, 1, 3)],
      name: "one key head",
    },
  ],
});

/**
 * Copies keys and values of prompts, [P,T,G,D], into the first T slots of cache rows, [R,S,G,D]: row r takes
 * prompt `source[r]`, so that many samples of one prompt share its prefill. {@link NONE} leaves a row alone.
 * @throws ShapeError when shapes disagree
 */
export function fillCache(k: Tensor, v: Tensor, cacheK: Tensor, cacheV: Tensor, source: Tensor): void {
  const [, T = 0, G = 0, D = 0] = k.shape;
  const [R = 0, S = 0] = cacheK.shape;
  need(
    T <= S && String(cacheK.shape.slice(2)) === String([G, D]),
    `fillCache: prompts [${k.shape}] do not fit a cache of [${cacheK.shape}]`,
  );
  need(source.size === R, `fillCache: source is [${source.shape}]; expected [${R}]`);
  call(kernel, "fill", {
    bindings: { k, v, cache_k: cacheK, cache_v: cacheV, source },
    params: { R, S, H: G, G, T, scale: 1 },
    constants: { L: 1, D4: D / 4, QUERIES: 1 },
    workgroups: strided((R * T * G * D) / 4),
  });
}
