/** Scaled dot-product attention: causal or not, padded, with grouped key/value heads. */
import type { Grid } from "../gpu/call.ts";
import type { Device } from "../gpu/device.ts";
import { loadKernel } from "../gpu/kernel.ts";
import { call, defineOp, need, type NdArray, type Op, strided } from "../tensor/op.ts";
import { empty, type Shape, type Tensor } from "../tensor/tensor.ts";
import { zeros } from "./copy.ts";
import { concat, slice } from "./layout.ts";

const kernel = await loadKernel("attention");

/** How queries see keys. */
export interface AttentionAttrs {
  /** Query i sees keys up to i only. */
  readonly causal: boolean;
  /** Factor of the scores; by default 1/√D. */
  readonly scale?: number;
  readonly variant?: string;
}

interface Sizes {
  readonly B: number;
  readonly T: number;
  readonly H: number;
  readonly G: number;
  readonly D: number;
}

function sizes(q: Shape, k: Shape, v: Shape, range: Shape): Sizes {
  const [B = 0, T = 0, H = 0, D = 0] = q;
  const G = k[2] ?? 0;
  const fits = q.length === 4 && String(k) === String([B, T, G, D]) && String(v) === String(k);
  need(fits, `attention: q is [${q}], k is [${k}], v is [${v}]; expected [B,T,H,D] and twice [B,T,G,D]`);
  need(H % G === 0, `attention: ${H} query heads do not share ${G} key heads evenly`);
  need(D % 4 === 0, `attention: head dimension ${D} is not a multiple of 4`);
  need(String(range) === String([B, 2]), `attention: range is [${range}]; expected [${B},2]`);
  return { B, T, H, G, D };
}

/** Rows of the other side that are broadcast together: more amortise the softmax, fewer compile sooner. */
const keysFor = (lanes: number, D: number): number => Math.max(1, Math.min(lanes, 4, Math.floor(128 / D)));

const bestVariant = (device: Device): string => (device.subgroupSize > 0 ? "broadcast" : "plain");

/** One of the three kernels over [rows of T, heads, batch]. */
function run(
  entry: "forward" | "query" | "keys",
  bindings: Record<string, Tensor>,
  { B, T, H, G, D }: Sizes,
  attrs: AttentionAttrs,
): void {
  const { device } = bindings["q"]!;
  const variant = attrs.variant ?? bestVariant(device);
  const L = device.subgroupSize;
  const D4 = D / 4;
  const KEYS = keysFor(L, D);
  // Two rows a lane halve the broadcasts; short sequences would leave the second one idle.
  const ROWS = entry !== "keys" && T > L && D <= 64 ? 2 : 1;
  const LOADS = Math.ceil((KEYS * D4) / L);
  const CAUSAL = attrs.causal ? 1 : 0;
  const heads = entry === "keys" ? G : H;
  const broadcast = variant === "broadcast";
  const workgroups: Grid = [Math.ceil(T / (broadcast ? L * ROWS : 64)), heads, B];
  const constants = broadcast ? { L, D4, KEYS, ROWS, LOADS, CAUSAL } : { L: 1, D4, CAUSAL };
  const params = { B, T, H, G, scale: attrs.scale ?? 1 / Math.sqrt(D), queries: H / G };
  const flops =
    (entry === "forward" ? 4 : entry === "query" ? 6 : 8) * B * H * T * T * D * (attrs.causal ? 0.5 : 1);
  call(kernel, `${entry}_${variant}`, { bindings, params, constants, workgroups, flops });
}

function reference(
  q: NdArray,
  k: NdArray,
  v: NdArray,
  range: NdArray,
  { causal, scale }: AttentionAttrs,
): NdArray {
  const { B, T, H, G, D } = sizes(q.shape, k.shape, v.shape, range.shape);
  const data = new Float64Array(B * T * H * D);
  const factor = scale ?? 1 / Math.sqrt(D);
  const rowQ = (b: number, t: number, h: number): number => ((b * T + t) * H + h) * D;
  const rowK = (b: number, t: number, h: number): number => ((b * T + t) * G + Math.floor((h * G) / H)) * D;
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      for (let i = 0; i < T; i++) {
        const stop = Math.min(range.data[2 * b + 1]!, causal ? i + 1 : T);
        const scores: number[] = [];
        for (let j = range.data[2 * b]!; j < stop; j++) {
          let s = 0;
          for (let d = 0; d < D; d++) s += q.data[rowQ(b, i, h) + d]! * k.data[rowK(b, j, h) + d]!;
          scores.push(s * factor);
        }
        const high = Math.max(...scores);
        const total = scores.reduce((sum, s) => sum + Math.exp(s - high), 0);
        scores.forEach((s, n) => {
          const p = Math.exp(s - high) / total;
          const j = range.data[2 * b]! + n;
          for (let d = 0; d < D; d++) data[rowQ(b, i, h) + d]! += p * v.data[rowK(b, j, h) + d]!;
        });
      }
    }
  }
  return { shape: q.shape, data };
}

const rangeOf = (
  ...pairs: [number, number][]
): { shape: Shape; dtype: "u32"; fill: (i: number) => number } => ({
  shape: [pairs.length, 2],
  dtype: "u32",
  fill: (i) => pairs[i >> 1]![i & 1]!,
});

/** The op itself, for head dimensions that are multiples of 4; see {@link attention}. */
export const attentionOp: Op<[q: Tensor, k: Tensor, v: Tensor, range: Tensor], AttentionAttrs> = defineOp<
  [q: Tensor, k: Tensor, v: Tensor, range: Tensor],
  AttentionAttrs
>({
  name: "attention",
  arity: 4,
  saves: true,
  forward([q, k, v, range], attrs) {
    const size = sizes(q.shape, k.shape, v.shape, range.shape);
    const y = empty(q.shape, "f32", "attention");
    const lse = empty([size.B, size.H, size.T], "f32", "lse");
    run("forward", { q, k, v, range, y, lse }, size, attrs);
    return [y, lse];
  },
  backward({ inputs: [q, k, v, range], outputs: [y, lse], attrs, dy: [dy] }) {
    const size = sizes(q.shape, k.shape, v.shape, range.shape);
    const { B, T, H, D } = size;
    const stats = empty([B, H, T, 2], "f32", "attention stats");
    const params = { B, T, H, G: size.G, scale: 1, queries: 1 };
    const bindings = { y_in: y!, dy: dy!, lse_in: lse!, stats };
    call(kernel, "delta", {
      bindings,
      params,
      constants: { D4: D / 4, L: 1, CAUSAL: 0 },
      workgroups: strided(B * T * H),
    });
    const shared = { q, k, v, range, stats_in: stats, dy: dy! };
    const [dq, dk, dv] = [empty(q.shape), empty(k.shape), empty(v.shape)];
    run("query", { ...shared, dq }, size, attrs);
    run("keys", { ...shared, dk, dv }, size, attrs);
    return [dq, dk, dv, undefined];
  },
  reference: ([q, k, v, range], attrs) => [reference(q!, k!, v!, range!, attrs)],
  variants: (device) => (device.subgroupSize > 0 ? ["plain", "broadcast"] : ["plain"]),
  cases: [
    {
      inputs: [[1, 1, 1, 4], [1, 1, 1, 4], [1, 1, 1, 4], rangeOf([0, 1])],
      attrs: { causal: true },
      name: "one token",
    },
    {
      inputs: [[2, 5, 2, 4], [2, 5, 2, 4], [2, 5, 2, 4], rangeOf([0, 5], [0, 3])],
      attrs: { causal: true },
      name: "padded right",
    },
    {
      inputs: [[1, 9, 4, 8], [1, 9, 2, 8], [1, 9, 2, 8], rangeOf([0, 9])],
      attrs: { causal: true },
      name: "grouped heads",
    },
    {
      inputs: [[1, 19, 1, 12], [1, 19, 1, 12], [1, 19, 1, 12], rangeOf([0, 19])],
      attrs: { causal: true },
      name: "two blocks",
    },
    {
      inputs: [[2, 6, 3, 4], [2, 6, 1, 4], [2, 6, 1, 4], rangeOf([0, 4], [0, 6])],
      attrs: { causal: false, scale: 0.3 },
      name: "both ways",
    },
  ],
});

/**
 * y = softmax(scale q kᵀ + mask) v. q: [B,T,H,D], k and v: [B,T,G,D] with G dividing H, range: u32 [B,2], first
 * and one past the last real token of each row; returns [B,T,H,D]. Rows of padding before the first token are 0.
 * @throws ShapeError when shapes disagree
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, range: Tensor, attrs: AttentionAttrs): Tensor {
  const D = q.dim(-1);
  if (D % 4 === 0) return attentionOp(q, k, v, range, attrs);
  // Kernels read vec4s. Zeros behind every head change no score and no output.
  const fill = (x: Tensor): Tensor => concat([x, zeros([...x.shape.slice(0, -1), 4 - (D % 4)])], -1);
  return slice(
    attentionOp(fill(q), fill(k), fill(v), range, { scale: 1 / Math.sqrt(D), ...attrs }),
    -1,
    0,
    D,
  );
}
