/** Rotary position embedding. */
import { ConfigError } from "../errors.ts";
import { grid } from "../gpu/call.ts";
import type { Device } from "../gpu/device.ts";
import { loadKernel } from "../gpu/kernel.ts";
import { call, defineOp, need, type NdArray, type Op } from "../tensor/op.ts";
import { empty, persistent, type Tensor } from "../tensor/tensor.ts";
import { copy } from "./copy.ts";

const kernel = await loadKernel("rope");

/** The angles: position · theta^(-2i / rotaryDim) for pair i. */
export interface RopeAttrs {
  readonly theta: number;
  /** How many heads of a token turn, from the first; the others pass through (values, in a packed qkv). All by default. */
  readonly heads?: number;
  /**
   * Turn x where it lies. The caller promises that nothing else reads x after this, nor the gradient that arrives,
   * which is turned where it lies too.
   */
  readonly inPlace?: boolean;
  /** How many of the D dimensions turn, even; the others pass through. Pair i is (i, i + rotaryDim / 2). */
  readonly rotaryDim: number;
  /** Positions that have angles (default 8192); later ones give NaN. The table takes rotaryDim floats each. */
  readonly maxPositions?: number;
  /** Angle per position of each of the rotaryDim / 2 pairs, in place of theta's powers (scaled forms). */
  readonly inverseFrequencies?: readonly number[];
  /** Only the half-split pairing exists. */
  readonly interleaved?: false;
}

const DEFAULT_POSITIONS = 8192;

function frequencies({ theta, rotaryDim, inverseFrequencies }: RopeAttrs): readonly number[] {
  if (inverseFrequencies && inverseFrequencies.length !== rotaryDim / 2) {
    throw new ConfigError(
      `rope: ${inverseFrequencies.length} inverseFrequencies; expected rotaryDim / 2 = ${rotaryDim / 2}`,
    );
  }
  return (
    inverseFrequencies ?? Array.from({ length: rotaryDim / 2 }, (_, i) => theta ** ((-2 * i) / rotaryDim))
  );
}

const tables = new WeakMap<Device, Map<string, Tensor>>();

/**
 * Cosines and sines in float64 on the host, rounded once: at position 100000 an angle computed in f32 is off by
 * 0.004 rad. One table a device and setting, shared by all layers and programs.
 */
function tableFor(device: Device, attrs: RopeAttrs): Tensor {
  const { rotaryDim, maxPositions = DEFAULT_POSITIONS } = attrs;
  const freqs = frequencies(attrs);
  const known = tables.get(device) ?? new Map<string, Tensor>();
  tables.set(device, known);
  const key = `${maxPositions}:${freqs.join()}`;
  const found = known.get(key);
  if (found) return found;
  const half = rotaryDim / 2;
  const values = new Float32Array(maxPositions * rotaryDim);
  for (let p = 0; p < maxPositions; p++) {
    for (let i = 0; i < half; i++) {
      values[p * rotaryDim + i] = Math.cos(p * freqs[i]!);
      values[p * rotaryDim + half + i] = Math.sin(p * freqs[i]!);
    }
  }
  const table = persistent(device, [maxPositions, rotaryDim], "f32", "rope table");
  table.write(values);
  known.set(key, table);
  return table;
}

function turn(x: Tensor, positions: Tensor, attrs: RopeAttrs, direction: 1 | -1): Tensor {
  const [H, D] = [x.dim(-2), x.dim(-1)];
  const { rotaryDim, heads = H } = attrs;
  const tokens = x.size / (H * D);
  need(
    rotaryDim % 2 === 0 && rotaryDim > 0 && rotaryDim <= D,
    `rope: rotaryDim is ${rotaryDim}; expected an even number up to D = ${D}`,
  );
  need(heads > 0 && heads <= H, `rope: heads is ${heads}; x [${x.shape}] has ${H}`);
  need(
    positions.size === tokens,
    `rope: x [${x.shape}] has ${tokens} tokens, positions are [${positions.shape}]`,
  );
  need(positions.dtype === "u32", `rope: positions are ${positions.dtype}; expected u32`);
  const table = tableFor(x.device, attrs);
  const y = attrs.inPlace ? x.detach() : copyOf(x);
  const W = D % 4 === 0 && rotaryDim % 8 === 0 ? 4 : 1;
  const half = rotaryDim / 2 / W;
  call(kernel, "turn", {
    bindings: { y, positions, table },
    params: { tokens, heads, width: D / W, row: (H * D) / W, half, positions: table.dim(0) },
    constants: { E: W === 4 ? "vec4f" : "f32", DIRECTION: direction },
    workgroups: grid(Math.ceil((tokens * half) / 64)),
    flops: 3 * tokens * heads * rotaryDim,
  });
  return y;
}

function copyOf(x: Tensor): Tensor {
  const y = empty(x.shape, "f32", "rope");
  copy(x, y, { dims: [x.size], fromStrides: [1], toStrides: [1] });
  return y;
}

function reference(x: NdArray, positions: NdArray, attrs: RopeAttrs): NdArray {
  const [H, D] = x.shape.slice(-2) as [number, number];
  const freqs = frequencies(attrs);
  const half = attrs.rotaryDim / 2;
  const data = Float64Array.from(x.data);
  for (let start = 0; start < data.length; start += D) {
    if ((start / D) % H >= (attrs.heads ?? H)) continue;
    const position = positions.data[Math.floor(start / (H * D))]!;
    for (let i = 0; i < half; i++) {
      const [a, b, angle] = [x.data[start + i]!, x.data[start + i + half]!, position * freqs[i]!];
      data[start + i] = a * Math.cos(angle) - b * Math.sin(angle);
      data[start + i + half] = b * Math.cos(angle) + a * Math.sin(angle);
    }
  }
  return { shape: x.shape, data };
}

const positionsOf = (
  B: number,
  T: number,
  stretch = 1,
): { shape: number[]; dtype: "u32"; fill: (i: number) => number } => ({
  shape: [B, T],
  dtype: "u32",
  fill: (i) => ((i * 7) % (T + 3)) * stretch,
});

/**
 * Turns a head's pairs (i, i + rotaryDim / 2) by position · theta^(-2i / rotaryDim). x: [B, T, H, D];
 * positions: u32 [B, T]; returns [B, T, H, D]. Gradient to x: the same turn backwards.
 * Source: Su et al. 2021, arXiv 2104.09864, eq. 34, in the half-split order of GPT-NeoX and Llama.
 * @throws ShapeError when rotaryDim is odd or beyond D, or positions do not count the tokens;
 *   ConfigError when inverseFrequencies are not rotaryDim / 2
 */
export const rope: Op<[x: Tensor, positions: Tensor], RopeAttrs> = defineOp<
  [x: Tensor, positions: Tensor],
  RopeAttrs
>({
  name: "rope",
  arity: 2,
  forward: ([x, positions], attrs) => turn(x, positions, attrs, 1),
  backward: ({ inputs: [, positions], attrs, dy: [dy] }) => [turn(dy!, positions, attrs, -1), undefined],
  reference: ([x, positions], attrs) => [reference(x!, positions!, attrs)],
  cases: [
    { inputs: [[2, 5, 3, 8], positionsOf(2, 5)], attrs: { theta: 10000, rotaryDim: 8 } },
    { inputs: [[2, 3, 2, 16], positionsOf(2, 3)], attrs: { theta: 10000, rotaryDim: 8 }, name: "partial" },
    {
      inputs: [[1, 7, 2, 12], positionsOf(1, 7)],
      attrs: { theta: 10000, rotaryDim: 4 },
      name: "partial, scalar",
    },
    {
      inputs: [[2, 5, 4, 8], positionsOf(2, 5)],
      attrs: { theta: 100, rotaryDim: 8, heads: 3 },
      name: "packed",
    },
    { inputs: [[1, 3, 1, 5], positionsOf(1, 3)], attrs: { theta: 500, rotaryDim: 2 }, name: "odd head" },
    {
      name: "far positions",
      inputs: [[1, 9, 2, 16], positionsOf(1, 9, 11915)],
      attrs: { theta: 500000, rotaryDim: 16, maxPositions: 131072 },
    },
    {
      name: "given frequencies",
      inputs: [[2, 3, 2, 4], positionsOf(2, 3)],
      attrs: { theta: 1, rotaryDim: 4, inverseFrequencies: [0.5, 0.01] },
    },
  ],
});
