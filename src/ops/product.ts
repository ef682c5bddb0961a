/** Matrix products as ops record them: sizes, the form, what is done with the sums, and the products of the way back. */
import type { Device } from "../gpu/device.ts";
import type { Tuning } from "../gpu/tune.ts";
import { need } from "../tensor/op.ts";
import { empty, type Shape, sizeOf, type Tensor } from "../tensor/tensor.ts";
import { addTo } from "./copy.ts";
import { broadcast } from "./matmul-broadcast.ts";
import { type Finish } from "./matmul-finish.ts";
import { classOf, type MatmulForm, type Product } from "./matmul-form.ts";
import { matrices } from "./matmul-matrix.ts";
import { plain } from "./matmul-plain.ts";
import { split, tile, tiles } from "./matmul-tile.ts";
import { columnSum } from "./reduce.ts";
import { elementwise } from "./unary.ts";

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

export function sizes(a: Shape, b: Shape, { transposeA = false, transposeB = false }: MatmulAttrs): Sizes {
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
function chooseForm(wanted: Product, variant: string | undefined): MatmulForm {
  const { device } = wanted.a;
  const kind = device.software ? "software" : "gpu";
  const usable = (form: MatmulForm): boolean => form.runs(device) && form.fits(wanted);
  const named = (name: unknown): MatmulForm | undefined =>
    FORMS.find((form) => form.name === name && usable(form));
  if (variant) return named(variant) ?? plain;
  const tuned = named(wanted.tuning?.["form"]);
  return (
    tuned ??
    FORMS.find((form) => form.bestFor?.(wanted) && usable(form)) ??
    FORMS.find((form) => (form.madeFor === "any" || form.madeFor === kind) && usable(form)) ??
    plain
  );
}

/** What `vbon tune` may try on a device, for a mode ("nn", "nt", "tn") and operands of a dtype: forms that round none of them. */
export function matmulTunings(device: Device, mode: string, dtype: "f32" | "f16"): readonly Tuning[] {
  const kinds = [device.software ? "software" : "gpu", ...(dtype === "f16" ? ["asked"] : [])];
  return FORMS.flatMap((form) =>
    kinds.includes(form.madeFor) && form.runs(device) ? (form.tunings?.(mode) ?? []) : [],
  );
}

/**
 * Names of the forms that a device can run, for ops that finish products: those that do it themselves, and `plain`, which has it
 * done, as the others have. Those that round operands are a list of their own.
 */
export const finishingForms = (device: Device, rounds = false): string[] =>
  formNames(
    device,
    ({ finishes, madeFor }) =>
      (finishes !== undefined || madeFor === "any") && (madeFor === "asked") === rounds,
  );

/** Names of the forms that a device can run. */
export const formNames = (device: Device, which: (form: MatmulForm) => boolean): string[] =>
  FORMS.filter((form) => form.runs(device) && which(form)).map(({ name }) => name);

/** What is asked for beyond op(A) op(B) + bias. */
interface Wanted extends Finish {
  /** Where the result is added; by default it is a tensor of its own. */
  readonly into?: Tensor | undefined;
  /** [N]: where the sums of B's columns are added. */
  readonly sums?: Tensor | undefined;
}

/**
 * Records C = op(A) op(B) + bias, finished as `wanted` says: by the product's kernel if that can, else by kernels after it.
 * @returns C, or `wanted.into`
 * @throws ShapeError when shapes do not fit, or an operand is u32
 */
export function product(
  a: Tensor,
  b: Tensor,
  bias: Tensor | undefined,
  attrs: MatmulAttrs,
  { into, sums, ...finish }: Wanted = {},
): Tensor {
  const { out, ...size } = sizes(a.shape, b.shape, attrs);
  for (const x of [a, b]) need(x.dtype !== "u32", "matmul: an operand is u32; expected f32 or f16");
  need(!bias || bias.size === size.N, `matmul: bias is [${bias?.shape}]; expected [${size.N}]`);
  const { plus } = finish;
  need(
    !plus || plus.size === sizeOf(out),
    `matmul: what is added is [${plus?.shape}]; expected as many elements as [${out}]`,
  );
  const c = into ?? empty(out, "f32", "matmul");
  const { transposeA = false, transposeB = false } = attrs;
  const modes = { transposeA, transposeB };
  const tuning = attrs.tuning ?? a.device.tuned("matmul", classOf({ ...size, ...modes }, [a.dtype, b.dtype]));
  const bare: Product = { a, b, bias, c, ...size, ...modes, tuning, ...finish, adds: into !== undefined };
  const form = chooseForm(bare, attrs.variant);
  const summing = { ...bare, sums };
  const whole = form.sums?.(summing) ? summing : bare;
  if (sums && whole === bare) columnSum(rowsOf(b), sums);
  if (form.finishes?.(whole)) form.record(whole);
  else recordInSteps(form, whole);
  return c;
}

/** The product alone, then what its form does not do. */
function recordInSteps(form: MatmulForm, { plus, slope, activated, kind, adds, ...bare }: Product): void {
  const { c } = bare;
  const sum = adds || slope ? empty(c.shape, "f32", "matmul") : c;
  form.record({ ...bare, c: sum });
  if (slope) elementwise("backward", { x: slope, dy: sum, dx: c }, c, kind!);
  if (adds) addTo(c, sum);
  if (plus) addTo(c, plus);
  if (activated) elementwise("forward", { x: c, y: activated }, c, kind!);
}

/** The gradient of a matrix that every product of a batch shares: one product over all rows. */
const rowsOf = (x: Tensor): Tensor => x.reshape(-1, x.dim(-1));

/** dA from B and dC, finished as `wanted` says. */
export function gradientA(
  b: Tensor,
  dc: Tensor,
  { transposeA, transposeB, ...rest }: MatmulAttrs,
  wanted?: Wanted,
): Tensor {
  return transposeA
    ? product(b, dc, undefined, { ...rest, transposeA: transposeB ?? false, transposeB: true }, wanted)
    : product(dc, b, undefined, { ...rest, transposeB: !transposeB }, wanted);
}

/** Which gradients of a linear map are wanted, its weight's and its bias's, and what each is added to. */
interface MapGradients {
  readonly needs: readonly [weight: boolean | undefined, bias: boolean | undefined];
  readonly into: readonly [weight: Tensor | undefined, bias: Tensor | undefined];
  /** dC as it arrived, f32, where the product takes it rounded: the bias's gradient is of this one. */
  readonly arrived?: Tensor | undefined;
}

/**
 * The gradients of B and of a bias [N] from A and dC: undefined where none is wanted, and where it was added to another. Both
 * sum dC over its rows, which a product may do for both.
 */
export function gradientsOfMap(
  a: Tensor,
  b: Tensor,
  dc: Tensor,
  attrs: MatmulAttrs,
  { needs, into, arrived = dc }: MapGradients,
): [weight: Tensor | undefined, bias: Tensor | undefined] {
  const together = needs[0] && needs[1] && arrived === dc && !attrs.transposeB ? into[1] : undefined;
  const weight = needs[0] ? gradientB(a, b, dc, attrs, { into: into[0], sums: together }) : undefined;
  const bias = needs[1] && !together ? columnSum(rowsOf(arrived), into[1]) : undefined;
  return [into[0] ? undefined : weight, into[1] ? undefined : bias];
}

/** dB from A and dC, of B's shape. */
function gradientB(
  a: Tensor,
  b: Tensor,
  dc: Tensor,
  { transposeA, transposeB, ...rest }: MatmulAttrs,
  wanted: Wanted,
): Tensor {
  if (b.shape.length === 2 && a.shape.length > 2) [a, dc] = [rowsOf(a), rowsOf(dc)];
  return transposeB
    ? product(dc, a, undefined, { ...rest, transposeA: true, transposeB: transposeA ?? false }, wanted)
    : product(a, dc, undefined, { ...rest, transposeA: !transposeA }, wanted);
}
