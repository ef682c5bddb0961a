/** Matrix product, in every transposition, batched, with an optional bias. */
import type { Device } from "../gpu/device.ts";
import type { Tuning } from "../gpu/tune.ts";
import { type Case, type CaseInput, defineOp, need, type NdArray, type Op } from "../tensor/op.ts";
import { empty, type Shape, type Tensor } from "../tensor/tensor.ts";
import { broadcast } from "./matmul-broadcast.ts";
import { classOf, type MatmulForm, type Product } from "./matmul-form.ts";
import { matrices } from "./matmul-matrix.ts";
import { plain } from "./matmul-plain.ts";
import { split, tile, tiles } from "./matmul-tile.ts";
import { half } from "./cast.ts";
import { columnSum } from "./reduce.ts";
import { testVariants } from "./self-test.ts";

/** Which operand is stored transposed, and (for tests and tuning) the name of the form to use. */
export interface MatmulAttrs {
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
  readonly variant?: string;
  /** Tunables to try; left out: what was found fastest for the class of shapes. */
  readonly tuning?: Tuning;
}

interface Sizes {
  readonly batch: number;
  readonly M: number;
  readonly N: number;
  readonly K: number;
  /** B is one matrix for all products. */
  readonly shared: boolean;
  readonly out: Shape;
}

function sizes(a: Shape, b: Shape, { transposeA = false, transposeB = false }: MatmulAttrs): Sizes {
  need(a.length >= 2 && b.length >= 2, `matmul: wants matrices; a is [${a}], b is [${b}]`);
  const [aRows, aCols] = a.slice(-2) as [number, number];
  const [bRows, bCols] = b.slice(-2) as [number, number];
  const [M, K] = transposeA ? [aCols, aRows] : [aRows, aCols];
  const [inner, N] = transposeB ? [bCols, bRows] : [bRows, bCols];
  need(K === inner, `matmul: a is [${a}], b is [${b}]; inner dimensions ${K} and ${inner} differ`);
  const lead = a.slice(0, -2);
  const shared = b.length === 2;
  need(
    shared || String(lead) === String(b.slice(0, -2)),
    `matmul: a is [${a}], b is [${b}]; leading dimensions differ`,
  );
  const batch = lead.reduce((x, y) => x * y, 1);
  // A shared B turns a batch of products into one tall product.
  if (shared && !transposeA) return { batch: 1, M: batch * M, N, K, shared: true, out: [...lead, M, N] };
  return { batch, M, N, K, shared, out: [...lead, M, N] };
}

/** Every form, the best first; `plain` computes whatever the others do not. */
const FORMS: readonly MatmulForm[] = [broadcast, split, tile, ...tiles, ...matrices, plain];

/**
 * The form for a product, the only place where one is chosen: the one asked for, else the one found fastest, else one
 * that is best for it, else the first made for this kind of adapter; `plain` where that does not fit.
 */
function chooseForm(product: Product, variant: string | undefined): MatmulForm {
  const { device } = product.a;
  const kind = device.software ? "software" : "gpu";
  const usable = (form: MatmulForm): boolean => form.runs(device) && form.fits(product);
  const named = (wanted: unknown): MatmulForm | undefined =>
    FORMS.find((form) => form.name === wanted && usable(form));
  if (variant) return named(variant) ?? plain;
  const tuned = named(product.tuning?.["form"]);
  return (
    tuned ??
    FORMS.find((form) => form.bestFor?.(product) && usable(form)) ??
    FORMS.find((form) => (form.madeFor === "any" || form.madeFor === kind) && usable(form)) ??
    plain
  );
}

/** What `vbon tune` may try on a device, for a mode ("nn", "nt", "tn"). */
export function matmulTunings(device: Device, mode: string): readonly Tuning[] {
  const kind = device.software ? "software" : "gpu";
  return FORMS.flatMap((form) =>
    form.madeFor === kind && form.runs(device) ? (form.tunings?.(mode) ?? []) : [],
  );
}

const namesOf = (device: Device, which: (form: MatmulForm) => boolean): string[] =>
  FORMS.filter((form) => form.runs(device) && which(form)).map(({ name }) => name);

function run(a: Tensor, b: Tensor, bias: Tensor | undefined, attrs: MatmulAttrs): Tensor {
  const { out, ...size } = sizes(a.shape, b.shape, attrs);
  for (const x of [a, b]) need(x.dtype !== "u32", "matmul: an operand is u32; expected f32 or f16");
  need(!bias || bias.size === size.N, `matmul: bias is [${bias?.shape}]; expected [${size.N}]`);
  const c = empty(out, "f32", "matmul");
  const { transposeA = false, transposeB = false } = attrs;
  const modes = { transposeA, transposeB };
  const tuning = attrs.tuning ?? a.device.tuned("matmul", classOf({ ...size, ...modes }));
  const product = { a, b, bias, c, ...size, ...modes, tuning };
  chooseForm(product, attrs.variant).record(product);
  return c;
}

/** The gradient of a matrix that every product of a batch shares: one product over all rows. */
const rowsOf = (x: Tensor): Tensor => x.reshape(-1, x.dim(-1));

function gradientA(b: Tensor, dc: Tensor, { transposeA, transposeB, ...rest }: MatmulAttrs): Tensor {
  return transposeA
    ? run(b, dc, undefined, { ...rest, transposeA: transposeB ?? false, transposeB: true })
    : run(dc, b, undefined, { ...rest, transposeB: !transposeB });
}

function gradientB(
  a: Tensor,
  b: Tensor,
  dc: Tensor,
  { transposeA, transposeB, ...rest }: MatmulAttrs,
): Tensor {
  if (b.shape.length === 2 && a.shape.length > 2) [a, dc] = [rowsOf(a), rowsOf(dc)];
  return transposeB
    ? run(dc, a, undefined, { ...rest, transposeA: true, transposeB: transposeA ?? false })
    : run(a, dc, undefined, { ...rest, transposeA: !transposeA });
}

function reference(a: NdArray, b: NdArray, bias: NdArray | undefined, attrs: MatmulAttrs): NdArray {
  const { batch, M, N, K, shared, out } = sizes(a.shape, b.shape, attrs);
  const data = new Float64Array(batch * M * N);
  for (let z = 0; z < batch; z++) {
    for (let m = 0; m < M; m++) {
      for (let n = 0; n < N; n++) {
        let sum = bias?.data[n] ?? 0;
        for (let k = 0; k < K; k++) {
          const i = z * M * K + (attrs.transposeA ? k * M + m : m * K + k);
          const j = (shared ? 0 : z * K * N) + (attrs.transposeB ? n * K + k : k * N + n);
          sum += a.data[i]! * b.data[j]!;
        }
        data[(z * M + m) * N + n] = sum;
      }
    }
  }
  return { shape: out, data };
}

const half16 = (...shape: number[]): CaseInput => ({ shape, dtype: "f16" });

/** Operands in f16, or one of them. */
const HALVES: readonly Case<MatmulAttrs>[] = [
  { inputs: [half16(3, 5), half16(5, 7), [7]], name: "f16, ragged" },
  { inputs: [half16(3, 68), half16(68, 36), undefined], name: "f16, more than one block" },
  { inputs: [half16(3, 72), half16(20, 72), [20]], attrs: { transposeB: true }, name: "f16 nt" },
  { inputs: [half16(12, 8), half16(12, 132), undefined], attrs: { transposeA: true }, name: "f16, wide tn" },
  { inputs: [[6, 8], half16(8, 4), undefined], name: "f32 by f16" },
  { inputs: [half16(6, 8), [8, 4], undefined], name: "f16 by f32" },
];

/**
 * C = op(A) op(B) + bias. a: [..., M, K] ([..., K, M] with transposeA), b: [..., K, N] or one [K, N] for all
 * ([N, K] with transposeB), bias: [N] or none; returns [..., M, N]. a and b may be f16, each for itself: sums, bias and C are
 * f32 all the same, and where a is f16 dC is rounded to f16 on the way back for the products that it enters.
 * A row of the result does not depend on how many rows there are, to the last bit.
 * @throws ShapeError when inner or leading dimensions differ
 */
export const matmul: Op<[a: Tensor, b: Tensor, bias: Tensor | undefined], MatmulAttrs> = defineOp<
  [a: Tensor, b: Tensor, bias: Tensor | undefined],
  MatmulAttrs
>({
  name: "matmul",
  arity: 3,
  forward: ([a, b, bias], attrs) => run(a, b, bias, attrs),
  backward({ inputs: [a, b, bias], attrs, dy: [arrived], needs }) {
    need(
      !(attrs.transposeA && b.shape.length === 2 && a.shape.length > 2),
      "matmul: no gradient for a batch of transposed a with a shared b",
    );
    const dc = a.dtype === "f16" ? half(arrived!) : arrived!;
    return [
      needs[0] ? gradientA(b, dc, attrs) : undefined,
      needs[1] ? gradientB(a, b, dc, attrs) : undefined,
      bias && needs[2] ? columnSum(rowsOf(arrived!)) : undefined,
    ];
  },
  reference: ([a, b, bias], attrs) => [reference(a!, b!, bias, attrs)],
  variants: (device) => namesOf(device, ({ madeFor }) => madeFor !== "asked"),
  roundingVariants: (device) => namesOf(device, ({ madeFor }) => madeFor === "asked"),
  cases: [
    { inputs: [[3, 5], [5, 7], [7]] },
    { inputs: [[4, 8], [8, 12], [12]] },
    { inputs: [[5, 4], [4, 4], undefined] },
    { inputs: [[3, 68], [68, 36], [36]], name: "more than one block" },
    { inputs: [[2, 3, 12], [12, 8], [8]], name: "shared b" },
    { inputs: [[2, 3, 4], [2, 4, 8], undefined], name: "batched" },
    { inputs: [[6, 8], [12, 8], [12]], attrs: { transposeB: true } },
    { inputs: [[3, 72], [20, 72], undefined], attrs: { transposeB: true } },
    { inputs: [[2, 5, 4], [2, 8, 4], undefined], attrs: { transposeB: true }, name: "batched nt" },
    { inputs: [[9, 8], [9, 4], undefined], attrs: { transposeA: true } },
    { inputs: [[12, 8], [12, 132], undefined], attrs: { transposeA: true }, name: "wide tn" },
    { inputs: [[2, 8, 4], [2, 8, 128], undefined], attrs: { transposeA: true }, name: "batched wide tn" },
    { inputs: [[70, 4], [70, 36], undefined], attrs: { transposeA: true } },
    { inputs: [[2, 6, 4], [2, 6, 8], undefined], attrs: { transposeA: true }, name: "batched tn" },
    { inputs: [[5, 3], [2, 5], undefined], attrs: { transposeA: true, transposeB: true } },
    { inputs: [[1, 1], [1, 1], [1]] },
    ...HALVES,
    { inputs: [[150, 4], [4, 8], undefined], name: "a long sum on the way back" },
    { inputs: [[70, 300], [300, 37], [37]], backward: false, name: "several chunks of K, ragged" },
    {
      inputs: [[2, 600, 8], [2, 600, 12], [12]],
      attrs: { transposeA: true },
      backward: false,
      name: "K in parts",
    },
  ],
});

testVariants(matmul, [
  { tier: "tile", variant: "tile", on: "more than one block" },
  { tier: "tile", variant: "tile64", on: "several chunks of K, ragged" },
  { tier: "tile", variant: "split", on: "K in parts" },
  { tier: "subgroups", variant: "broadcast", on: "more than one block" },
  // Operands are rounded to f16: 2^-11 of each, over sums of 68 and 300 terms.
  { tier: "matrix", variant: "matrix64", on: "more than one block", tolerance: 2e-3 },
  { tier: "matrix", variant: "matrix64", on: "several chunks of K, ragged", tolerance: 2e-3 },
]);
