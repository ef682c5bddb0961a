/** LayerNorm and RMSNorm over the last dimension. */
import { grid } from "../gpu/call.ts";
import { type Backward, call, defineOp, need, type NdArray, type Op } from "../tensor/op.ts";
import { loadRowKernel, rowCall, rowVariants } from "../tensor/rows.ts";
import { empty, type Tensor } from "../tensor/tensor.ts";

const kernel = await loadRowKernel("norm");

/** Which norm, what is added to the variance, and (for tests) which kernel to use. */
export interface NormAttrs {
  readonly kind: "layer" | "rms";
  readonly eps: number;
  readonly variant?: string;
}

type NormInputs = [x: Tensor, weight: Tensor, bias: Tensor | undefined];

/** At most this many slabs of rows: their sums are added by one thread a column. */
const MAX_SLABS = 128;
const MIN_SLAB = 16;

function plan(
  [x, weight, bias]: NormInputs,
  { kind, eps, variant }: NormAttrs,
): Omit<Parameters<typeof call>[2], "bindings"> & { slabs: number } {
  const columns = x.dim(-1);
  need(
    weight.size === columns,
    `norm: x is [${x.shape}], weight is [${weight.shape}]; expected [${columns}]`,
  );
  need(
    !bias || bias.size === columns,
    `norm: x is [${x.shape}], bias is [${bias?.shape}]; expected [${columns}]`,
  );
  const rows = x.size / columns;
  const shared = rowCall(x.device, rows, columns, variant);
  const slab = Math.max(MIN_SLAB, Math.ceil(rows / MAX_SLABS));
  const slabs = Math.ceil(rows / slab);
  return {
    workgroups: shared.workgroups,
    params: { ...shared.params, columns, eps, slab, slabs, zero: 0 },
    constants: { ...shared.constants, CENTER: kind === "layer" ? 1 : 0, BIAS: bias ? 1 : 0, ADD: 0 },
    flops: 8 * x.size,
    slabs,
  };
}

function forward(inputs: NormInputs, attrs: NormAttrs): [y: Tensor, stats: Tensor] {
  const [x, weight, bias] = inputs;
  const { slabs: _, ...shared } = plan(inputs, attrs);
  const y = empty(x.shape, "f32", `${attrs.kind} norm`);
  const stats = empty([x.size / x.dim(-1), 4], "f32", "norm stats");
  call(kernel, "forward", { ...shared, bindings: { x, weight, bias: bias ?? weight, y, stats_out: stats } });
  return [y, stats];
}

/** dx, and what has come around the norm, such as along a residual stream. */
function gradientX({ inputs, outputs, attrs, dy, take }: Backward<NormInputs, NormAttrs>): Tensor {
  const { slabs: _, ...shared } = plan(inputs, attrs);
  const [x, weight] = inputs;
  const dx = empty(x.shape, "f32", "dnorm");
  const around = take(0);
  call(kernel, "backward_x", {
    ...shared,
    constants: { ...shared.constants, ADD: around ? 1 : 0 },
    bindings: { x, weight, stats: outputs[1]!, dy: dy[0]!, ...(around && { around }), dx },
  });
  return dx;
}

/** dweight and dbias: sums over slabs of rows, then over the slabs, in a fixed order. */
function gradientWeights({
  inputs,
  outputs,
  attrs,
  dy,
  into: [, intoWeight, intoBias],
}: Backward<NormInputs, NormAttrs>): [Tensor | undefined, Tensor | undefined] {
  const { slabs, ...shared } = plan(inputs, attrs);
  const [x, weight, bias] = inputs;
  const width = shared.params!["width"]!;
  const partial = empty([slabs, bias ? 2 : 1, x.dim(-1)], "f32", "norm partials");
  const bindings = { x, dy: dy[0]!, stats: outputs[1]!, partial };
  call(kernel, "backward_partial", {
    ...shared,
    bindings,
    workgroups: grid(Math.ceil((slabs * width) / 64)),
  });
  const inPlace = intoWeight !== undefined && (!bias || intoBias !== undefined);
  const dweight = inPlace ? intoWeight : empty(weight.shape, "f32", "dweight");
  const dbias = (inPlace ? intoBias : undefined) ?? empty(bias ? bias.shape : [4], "f32", "dbias");
  call(kernel, "backward_sum", {
    ...shared,
    constants: { ...shared.constants, ADD: inPlace ? 1 : 0 },
    bindings: { sums: partial, dweight, dbias },
    workgroups: grid(Math.ceil(width / 64)),
  });
  return inPlace ? [undefined, undefined] : [dweight, bias && dbias];
}

function reference([x, weight, bias]: readonly (NdArray | undefined)[], { kind, eps }: NormAttrs): NdArray[] {
  const C = weight!.data.length;
  const data = new Float64Array(x!.data.length);
  for (let from = 0; from < data.length; from += C) {
    const row = x!.data.subarray(from, from + C);
    const mean = kind === "layer" ? row.reduce((sum, v) => sum + v, 0) / C : 0;
    const variance = row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / C;
    for (let c = 0; c < C; c++) {
      data[from + c] =
        ((row[c]! - mean) / Math.sqrt(variance + eps)) * weight!.data[c]! + (bias?.data[c] ?? 0);
    }
  }
  return [{ shape: x!.shape, data }];
}

/** Both norms; the second output, (mean, 1/std) of each row, is for the backward pass. Call {@link layerNorm} or {@link rmsNorm}. */
export const norm: Op<NormInputs, NormAttrs, readonly Tensor[]> = defineOp<
  NormInputs,
  NormAttrs,
  readonly Tensor[]
>({
  name: "norm",
  arity: 3,
  forward,
  backward(context) {
    const { needs } = context;
    const dx = needs[0] ? gradientX(context) : undefined;
    const [dweight, dbias] = needs[1] || needs[2] ? gradientWeights(context) : [undefined, undefined];
    return [dx, needs[1] ? dweight : undefined, needs[2] ? dbias : undefined];
  },
  reference,
  variants: rowVariants,
  cases: [
    [7, 1],
    [65, 3],
    [1, 64],
    [65, 64],
    [7, 172],
    [2, 3, 130],
  ].flatMap((shape) => {
    const C = shape.at(-1)!;
    // One column: y = x / |x|, whose gradient is the rounding of 1 - 1 unless eps is of the size of x².
    const eps = C === 1 ? 0.5 : 1e-6;
    // And x's gradient is w dy - w dy: 0, but where the first product is fused into the subtraction; not with w = 1.
    const weight = C === 1 ? { shape: [C], fill: () => 1 } : [C];
    return [
      { name: `layer [${shape}]`, inputs: [shape, weight, [C]], attrs: { kind: "layer", eps: 1e-5 } },
      {
        name: `layer, no bias [${shape}]`,
        inputs: [shape, weight, undefined],
        attrs: { kind: "layer", eps: 1e-5 },
      },
      { name: `rms [${shape}]`, inputs: [shape, [C], undefined], attrs: { kind: "rms", eps } },
    ];
  }),
});

/**
 * y = (x - mean) / sqrt(var + eps) weight + bias over the last dimension, var with divisor C.
 * x: [..., C], weight, bias: [C]; returns [..., C]. Source: Ba, Kiros, Hinton 2016, arXiv 1607.06450, eq. 4.
 * @throws ShapeError when weight or bias is not [C]
 */
export function layerNorm(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | undefined,
  { eps }: { readonly eps: number },
): Tensor {
  return norm(x, weight, bias, { kind: "layer", eps })[0]!;
}

/**
 * y = x / sqrt(mean(x²) + eps) weight over the last dimension. x: [..., C], weight: [C]; returns [..., C].
 * Source: Zhang, Sennrich 2019, arXiv 1910.07467, eq. 4.
 * @throws ShapeError when weight is not [C]
 */
export function rmsNorm(x: Tensor, weight: Tensor, { eps }: { readonly eps: number }): Tensor {
  return norm(x, weight, undefined, { kind: "rms", eps })[0]!;
}
