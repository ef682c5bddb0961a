/** Attention of one new token a row over a cache of keys and values, and filling that cache from prompts. */
import type { View } from "../gpu/call.ts";
import type { Device } from "../gpu/device.ts";
import { type Constants, loadKernel } from "../gpu/kernel.ts";
import { call, type CaseInput, defineOp, need, type NdArray, type Op, strided } from "../tensor/op.ts";
import { empty, type Shape, type Tensor } from "../tensor/tensor.ts";

const kernel = await loadKernel("kv-cache");

/** In `source`: this row keeps what it has. */
export const NONE = 0xffffffff;

export interface CachedAttentionAttrs {
  /** Factor of the scores; by default 1/√D. */
  readonly scale?: number;
  readonly variant?: string;
}

type CachedInputs = [qkv: Tensor, cacheK: Tensor, cacheV: Tensor, lengths: Tensor];

/** Threads of `extend_team`: as many as workgroup memory has room for their scores and sums; undefined where it has for none. */
const teamFor = ({ limits }: Device, queries: number, D: number): number | undefined =>
  [128, 64, 32].find(
    (threads) =>
      D / 4 <= threads &&
      queries * (threads * 20 + D * 4 + 4 * threads) <= limits.maxComputeWorkgroupStorageSize,
  );

/** Loads of a key that `extend_team` has on their way at a time: 8, or what divides a key's. */
const aheadOf = (loads: number): number => [8, 4, 2].find((n) => loads % n === 0) ?? 1;

/** How the kernels see caches: f16 ones in packed pairs, which no device feature is needed for. */
function elementsOf(cache: Tensor): { view: View; constants: Constants } {
  const half = cache.dtype === "f16";
  need(
    !half || cache.dim(-1) % 8 === 0,
    `cachedAttention: an f16 cache wants a head dimension that is a multiple of 8; got [${cache.shape}]`,
  );
  return {
    view: { ...cache.view, half: false },
    constants: half ? { C: "vec4u", PER: 2, HALF: 1, KEYS: 2 } : { C: "vec4f", PER: 1, HALF: 0, KEYS: 1 },
  };
}

function forward([qkv, cacheK, cacheV, lengths]: CachedInputs, attrs: CachedAttentionAttrs): Tensor {
  const [R = 0, heads = 0, D = 0] = qkv.shape;
  const [, S = 0, G = 0] = cacheK.shape;
  const H = heads - 2 * G;
  const fits =
    String(cacheK.shape) === String([R, S, G, D]) &&
    String(cacheV.shape) === String(cacheK.shape) &&
    cacheV.dtype === cacheK.dtype &&
    lengths.size === R;
  need(
    fits && H > 0 && H % G === 0 && D % 4 === 0,
    `cachedAttention: qkv [${qkv.shape}], caches [${cacheK.shape}] and [${cacheV.shape}], lengths [${lengths.shape}] do not fit`,
  );
  const y = empty([R, H, D], "f32", "cached attention");
  const { device } = qkv;
  const team = teamFor(device, H / G, D);
  const variant =
    (attrs.variant ?? (device.software ? "plain" : "team")) === "team" && team ? "team" : "plain";
  const { constants } = elementsOf(cacheK);
  call(kernel, `extend_${variant}`, {
    bindings: { qkv, cache_k: elementsOf(cacheK).view, cache_v: elementsOf(cacheV).view, lengths, y },
    params: { R, S, H, G, T: 1, scale: attrs.scale ?? 1 / Math.sqrt(D) },
    constants: {
      L: variant === "team" ? team! : D / 4,
      D4: D / 4,
      QUERIES: H / G,
      AHEAD: aheadOf(D / 4 / Number(constants["PER"])),
      ...constants,
    },
    workgroups: variant === "team" ? [G, R, 1] : [Math.ceil((R * G) / 64), 1, 1],
    flops: 2 * R * H * S * D,
  });
  return y;
}

function reference(inputs: readonly (NdArray | undefined)[], attrs: CachedAttentionAttrs): NdArray {
  const [qkv, cacheK, cacheV, lengths] = inputs as NdArray[];
  const [R = 0, heads = 0, D = 0] = qkv!.shape;
  const [, S = 0, G = 0] = cacheK!.shape;
  const H = heads - 2 * G;
  const data = new Float64Array(R * H * D);
  for (let r = 0; r < R; r++) {
    for (let h = 0; h < H; h++) {
      const g = Math.floor((h * G) / H);
      const [q, k, v] = [h, H + g, H + G + g].map((head) => (r * heads + head) * D) as [
        number,
        number,
        number,
      ];
      const length = lengths!.data[r]!;
      const rows = Array.from({ length: length + 1 }, (_, j) =>
        j < length ? ((r * S + j) * G + g) * D : -1,
      );
      const key = (at: number, d: number): number => (at < 0 ? qkv!.data[k + d]! : cacheK!.data[at + d]!);
      const value = (at: number, d: number): number => (at < 0 ? qkv!.data[v + d]! : cacheV!.data[at + d]!);
      const scores = rows.map((at) => {
        let s = 0;
        for (let d = 0; d < D; d++) s += qkv!.data[q + d]! * key(at, d);
        return s * (attrs.scale ?? 1 / Math.sqrt(D));
      });
      const high = Math.max(...scores);
      const total = scores.reduce((sum, s) => sum + Math.exp(s - high), 0);
      rows.forEach((at, j) => {
        const p = Math.exp(scores[j]! - high) / total;
        for (let d = 0; d < D; d++) data[(r * H + h) * D + d]! += p * value(at, d);
      });
    }
  }
  return { shape: [R, H, D], data };
}

const lengthsOf = (...n: number[]): { shape: Shape; dtype: "u32"; fill: (i: number) => number } => ({
  shape: [n.length],
  dtype: "u32",
  fill: (i) => n[i]!,
});

const half = (...shape: number[]): CaseInput => ({ shape, dtype: "f16" });

/**
 * Attention of one new token a row. qkv: [R,H+2G,D], the token's queries, keys and values; caches: [R,S,G,D], f32 or f16; lengths:
 * u32 [R], how many tokens each row has cached; returns [R,H,D]. The new key and value are stored at slot
 * `lengths` of their row. Not differentiable.
 * @throws ShapeError when shapes disagree
 */
export const cachedAttention: Op<CachedInputs, CachedAttentionAttrs> = defineOp<
  CachedInputs,
  CachedAttentionAttrs
>({
  name: "cachedAttention",
  arity: 4,
  forward,
  reference: (inputs, attrs) => [reference(inputs, attrs)],
  variants: () => ["plain", "team"],
  cases: [
    {
      inputs: [[1, 3, 4], [1, 3, 1, 4], [1, 3, 1, 4], lengthsOf(0)],
      name: "empty cache",
    },
    {
      inputs: [[2, 8, 8], [2, 21, 2, 8], [2, 21, 2, 8], lengthsOf(20, 7)],
      name: "ragged lengths",
    },
    {
      inputs: [[3, 5, 12], [3, 9, 1, 12], [3, 9, 1, 12], lengthsOf(8, 1, 3)],
      name: "one key head",
    },
    {
      inputs: [[2, 6, 8], [2, 300, 2, 8], [2, 300, 2, 8], lengthsOf(299, 128)],
      name: "more keys than a team has threads",
    },
    {
      inputs: [[2, 8, 8], half(2, 21, 2, 8), half(2, 21, 2, 8), lengthsOf(20, 7)],
      name: "f16 cache",
    },
    {
      inputs: [[2, 4, 24], half(2, 9, 1, 24), half(2, 9, 1, 24), lengthsOf(3, 8)],
      name: "f16 cache, wider heads",
    },
  ],
});

/**
 * Copies the keys and values of prompts, in qkv: [P,T,H+2G,D], into the first slots of cache rows, [R,S,G,D]: row r
 * takes prompt `source[r]` from its first real token, `range[p, 0]` of u32 [P,2], so that many samples of one prompt share
 * its prefill. {@link NONE} leaves a row alone.
 * @throws ShapeError when shapes disagree
 */
export function fillCache(qkv: Tensor, range: Tensor, cacheK: Tensor, cacheV: Tensor, source: Tensor): void {
  const [P = 0, T = 0, heads = 0, D = 0] = qkv.shape;
  const [R = 0, S = 0, G = 0] = cacheK.shape;
  need(
    T <= S && cacheK.dim(3) === D && heads > 2 * G,
    `fillCache: prompts [${qkv.shape}] do not fit a cache of [${cacheK.shape}]`,
  );
  need(range.size === 2 * P, `fillCache: range is [${range.shape}]; expected [${P},2]`);
  need(source.size === R, `fillCache: source is [${source.shape}]; expected [${R}]`);
  const { constants } = elementsOf(cacheK);
  call(kernel, "fill", {
    bindings: { qkv, cache_k: elementsOf(cacheK).view, cache_v: elementsOf(cacheV).view, source, range },
    params: { R, S, H: heads - 2 * G, G, T, scale: 1 },
    constants: { L: D / 4, D4: D / 4, QUERIES: 1, ...constants },
    workgroups: strided((R * T * G * D) / 4),
  });
}
