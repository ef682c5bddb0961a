/** Scaled dot-product attention: causal or not, padded, with grouped key/value heads. */
import type { Device } from "../gpu/device.ts";
import { loadKernel } from "../gpu/kernel.ts";
import { call, defineOp, need, type NdArray, type Op, strided } from "../tensor/op.ts";
import { empty, type Shape, type Tensor } from "../tensor/tensor.ts";
import { broadcast } from "./attention-broadcast.ts";
import {
  type AttentionEntry,
  type AttentionForm,
  attentionKernel,
  type AttentionSizes,
  recordAttention,
} from "./attention-form.ts";
import { matrix } from "./attention-matrix.ts";
import { tile } from "./attention-tile.ts";
import { zeros } from "./copy.ts";
import { concat, slice } from "./layout.ts";
import { testVariants } from "./self-test.ts";

const kernel = attentionKernel(await loadKernel("attention"));

/** How queries see keys. */
export interface AttentionAttrs {
  /** Query i sees keys up to i only. */
  readonly causal: boolean;
  /** Factor of the scores; by default 1/√D. */
  readonly scale?: number;
  /** "mixed": what enters products may be rounded to f16, where the device has a unit for it; sums and softmax are f32. */
  readonly precision?: "f32" | "mixed" | undefined;
  /** A form by its name, or one of the caller's own. */
  readonly variant?: string | AttentionForm;
}

/** And how heads are packed. */
export interface PackedAttrs extends AttentionAttrs {
  /** G: key heads, and as many value heads; each serves H / G query heads. */
  readonly kvHeads: number;
}

function sizes(qkv: Shape, range: Shape, G: number): AttentionSizes {
  const [B = 0, T = 0, heads = 0, D = 0] = qkv;
  const H = heads - 2 * G;
  need(
    qkv.length === 4 && H > 0 && H % G === 0,
    `attention: qkv is [${qkv}] with ${G} key heads; expected [B,T,H+2G,D] with G = ${G} dividing H`,
  );
  need(D % 4 === 0, `attention: head dimension ${D} is not a multiple of 4`);
  need(String(range) === String([B, 2]), `attention: range is [${range}]; expected [${B},2]`);
  return { B, T, H, G, D };
}

const plain: AttentionForm = {
  name: "plain",
  kernel,
  madeFor: "any",
  runs: () => true,
  fits: () => true,
  launch: () => ({ rows: 64, constants: {} }),
};

/** Every form, the best of each kind first. */
const FORMS: readonly AttentionForm[] = [broadcast, tile, plain, matrix];

/** Forms that do well on a device: not those of GPUs on a software adapter, whose compiler takes half a minute over each. */
const formsFor = (device: Device): AttentionForm[] =>
  FORMS.filter((form) => form.runs(device) && !(device.software && form.madeFor === "gpu"));

const namesOf = (device: Device, rounds: boolean): string[] =>
  formsFor(device)
    .filter(({ madeFor }) => (madeFor === "asked") === rounds)
    .map(({ name }) => name);

/**
 * The form asked for, else one that rounds where that is allowed, else the first made for this kind of adapter, else the first that
 * runs; `plain` where that does not fit.
 */
function formFor(
  entry: AttentionEntry,
  device: Device,
  D: number,
  { variant, precision }: AttentionAttrs,
): AttentionForm {
  if (typeof variant === "object") return variant;
  const usable = (variant === undefined ? formsFor(device) : FORMS).filter(
    (form) => form.runs(device) && form.fits(entry, D, device),
  );
  if (variant !== undefined) return usable.find(({ name }) => name === variant) ?? plain;
  const wanted = [...(precision === "mixed" ? ["asked"] : []), device.software ? "software" : "gpu"];
  const best = wanted.flatMap((kind) => usable.filter(({ madeFor }) => madeFor === kind));
  return best[0] ?? usable.find(({ madeFor }) => madeFor !== "asked") ?? plain;
}

/** One of the three kernels. */
function run(
  entry: AttentionEntry,
  bindings: Record<string, Tensor>,
  size: AttentionSizes,
  attrs: PackedAttrs,
): void {
  const { device } = bindings["qkv"]!;
  const form = formFor(entry, device, size.D, attrs);
  recordAttention(form, entry, bindings, size, { ...form.launch(entry, size, device), ...attrs });
}

function reference(qkv: NdArray, range: NdArray, { causal, scale, kvHeads }: PackedAttrs): NdArray {
  const { B, T, H, G, D } = sizes(qkv.shape, range.shape, kvHeads);
  const y = new Float64Array(B * T * H * D);
  const factor = scale ?? 1 / Math.sqrt(D);
  const at = (b: number, t: number, head: number): number => ((b * T + t) * (H + 2 * G) + head) * D;
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      const g = Math.floor((h * G) / H);
      for (let i = 0; i < T; i++) {
        const stop = Math.min(range.data[2 * b + 1]!, causal ? i + 1 : T);
        const scores: number[] = [];
        for (let j = range.data[2 * b]!; j < stop; j++) {
          let s = 0;
          for (let d = 0; d < D; d++) s += qkv.data[at(b, i, h) + d]! * qkv.data[at(b, j, H + g) + d]!;
          scores.push(s * factor);
        }
        const high = Math.max(...scores);
        const total = scores.reduce((sum, s) => sum + Math.exp(s - high), 0);
        scores.forEach((s, n) => {
          const from = at(b, range.data[2 * b]! + n, H + G + g);
          const p = Math.exp(s - high) / total;
          for (let d = 0; d < D; d++) y[((b * T + i) * H + h) * D + d]! += p * qkv.data[from + d]!;
        });
      }
    }
  }
  return { shape: [B, T, H, D], data: y };
}

const rangeOf = (
  ...pairs: [number, number][]
): { shape: Shape; dtype: "u32"; fill: (i: number) => number } => ({
  shape: [pairs.length, 2],
  dtype: "u32",
  fill: (i) => pairs[i >> 1]![i & 1]!,
});

type PackedInputs = [qkv: Tensor, range: Tensor];

/** The op itself, for head dimensions that are multiples of 4; see {@link packedAttention}. */
export const attentionOp: Op<PackedInputs, PackedAttrs> = defineOp<PackedInputs, PackedAttrs>({
  name: "attention",
  arity: 2,
  saves: true,
  forward([qkv, range], attrs) {
    const size = sizes(qkv.shape, range.shape, attrs.kvHeads);
    const { B, T, H, D } = size;
    const y = empty([B, T, H, D], "f32", "attention");
    const lse = empty([B, H, T], "f32", "lse");
    run("forward", { qkv, range, y, lse }, size, attrs);
    return [y, lse];
  },
  backward({ inputs: [qkv, range], outputs: [y, lse], attrs, dy: [dy] }) {
    const size = sizes(qkv.shape, range.shape, attrs.kvHeads);
    const { B, T, H, D } = size;
    const stats = empty([B, H, T, 2], "f32", "attention stats");
    const params = { B, T, H, G: size.G, scale: 1, queries: 1 };
    const bindings = { y_in: y!, dy: dy!, lse_in: lse!, stats };
    call(kernel, "delta", {
      bindings,
      params,
      constants: { D4: D / 4, CAUSAL: 0 },
      workgroups: strided(B * T * H),
    });
    const dqkv = empty(qkv.shape, "f32", "dqkv");
    const shared = { qkv, range, stats_in: stats, dy: dy!, dqkv };
    run("query", shared, size, attrs);
    run("keys", shared, size, attrs);
    return [dqkv, undefined];
  },
  reference: ([qkv, range], attrs) => [reference(qkv!, range!, attrs)],
  variants: (device) => namesOf(device, false),
  roundingVariants: (device) => namesOf(device, true),
  cases: [
    { inputs: [[1, 1, 3, 4], rangeOf([0, 1])], attrs: { kvHeads: 1, causal: true }, name: "one token" },
    {
      inputs: [[2, 5, 6, 4], rangeOf([0, 5], [0, 3])],
      attrs: { kvHeads: 2, causal: true },
      name: "padded right",
    },
    {
      inputs: [[2, 18, 3, 4], rangeOf([7, 18], [17, 18])],
      attrs: { kvHeads: 1, causal: true },
      name: "padded left",
    },
    { inputs: [[1, 9, 8, 8], rangeOf([0, 9])], attrs: { kvHeads: 2, causal: true }, name: "grouped heads" },
    { inputs: [[1, 19, 3, 12], rangeOf([0, 19])], attrs: { kvHeads: 1, causal: true }, name: "two blocks" },
    {
      inputs: [[2, 6, 5, 4], rangeOf([0, 4], [0, 6])],
      attrs: { kvHeads: 1, causal: false, scale: 0.3 },
      name: "both ways",
    },
    {
      inputs: [[1, 70, 4, 8], rangeOf([3, 69])],
      attrs: { kvHeads: 1, causal: true },
      name: "several tiles",
    },
    {
      inputs: [[2, 70, 6, 16], rangeOf([3, 69], [0, 70])],
      attrs: { kvHeads: 2, causal: true },
      backward: false, // central differences of so many numbers take a minute
      name: "whole matrices",
    },
  ],
});

testVariants(attentionOp, [
  { tier: "tile", variant: "tile", on: "several tiles" },
  { tier: "subgroups", variant: "broadcast", on: "padded left" },
  { tier: "subgroups", variant: "broadcast", on: "grouped heads" },
  // Operands are rounded to f16.
  { tier: "matrix", variant: "matrix", on: "whole matrices", tolerance: 4e-3 },
]);

/**
 * y = softmax(scale q kᵀ + mask) v of a packed qkv: [B,T,H+2G,D], a token's H queries, then its G keys, then its G
 * values, as one projection makes them. range: u32 [B,2], first and one past the last real token of each row; returns
 * [B,T,H,D]. Rows of padding before the first token are 0.
 * @throws ShapeError when shapes disagree
 */
export function packedAttention(qkv: Tensor, range: Tensor, attrs: PackedAttrs): Tensor {
  const D = qkv.dim(-1);
  if (D % 4 === 0) return attentionOp(qkv, range, attrs);
  // Kernels read vec4s. Zeros behind every head change no score and no output.
  const filled = concat([qkv, zeros([...qkv.shape.slice(0, -1), 4 - (D % 4)])], -1);
  return slice(attentionOp(filled, range, { scale: 1 / Math.sqrt(D), ...attrs }), -1, 0, D);
}

/**
 * {@link packedAttention} of separate tensors, which it copies together. q: [B,T,H,D], k and v: [B,T,G,D] with G
 * dividing H, range: u32 [B,2]; returns [B,T,H,D].
 * @throws ShapeError when shapes disagree
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, range: Tensor, attrs: AttentionAttrs): Tensor {
  const like = q.shape.with(2, k.dim(2));
  const fits = q.shape.length === 4 && String(k.shape) === String(like) && String(v.shape) === String(like);
  need(
    fits,
    `attention: q is [${q.shape}], k is [${k.shape}], v is [${v.shape}]; expected [B,T,H,D] and twice [B,T,G,D]`,
  );
  return packedAttention(concat([q, k, v], 2), range, { ...attrs, kvHeads: k.dim(2) });
}
