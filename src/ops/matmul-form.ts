/**
 * Forms of the matrix product. Each is a file of its own, `matmul-<name>.ts` with its shader, and a line in the list of
 * `matmul.ts`; the op knows none of them.
 */
import type { Device } from "../gpu/device.ts";
import { bucket, type Tuning } from "../gpu/tune.ts";
import type { View } from "../gpu/call.ts";
import type { Dtype, Tensor } from "../tensor/tensor.ts";
import type { Finish } from "./matmul-finish.ts";

/** One call: C = op(A) op(B) + bias, for each product of a batch. */
export interface Product extends Finish {
  /** [M, K], or [K, M] with `transposeA`; `batch` of them; f32 or f16. */
  readonly a: Tensor;
  /** [K, N], or [N, K] with `transposeB`; `batch` of them, or one where `shared`; f32 or f16. */
  readonly b: Tensor;
  /** [N], added to every row. */
  readonly bias: Tensor | undefined;
  /** f32 [M, N], overwritten unless it `adds`; `batch` of them. */
  readonly c: Tensor;
  readonly batch: number;
  readonly M: number;
  readonly N: number;
  readonly K: number;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  /** B is one matrix for all products. */
  readonly shared: boolean;
  /** [N], where the sums of B's columns are added: of one product, f32, not transposed. For a form that `sums` alone. */
  readonly sums?: Tensor | undefined;
  /** What was found fastest for its class, or is to be tried. */
  readonly tuning?: Tuning | undefined;
}

/**
 * The class that tunings are kept for: shapes, and what the operands are stored as. It knows nothing of M and of the batch: a row's
 * bits must not depend on how many rows there are, and a tuning may change the order of sums.
 */
export function classOf(
  product: Pick<Product, "transposeA" | "transposeB" | "N" | "K">,
  [a, b]: readonly [a: Dtype, b: Dtype],
): string {
  const stored = a !== b ? ` ${a} by ${b}` : a === "f32" ? "" : ` ${a}`;
  return `${modeOf(product)} N${bucket(product.N)} K${bucket(product.K)}${stored}`;
}

/** A way to compute a product. */
export interface MatmulForm {
  /** What `attrs.variant` calls it. */
  readonly name: string;
  /** The kind of adapter it is made for; elsewhere, and where it rounds (`asked`), it is used only when asked for by name. */
  readonly madeFor: "any" | "software" | "gpu" | "asked";
  /** Products that it is the best for wherever it runs: a form that rounds operands, of those that are rounded already. */
  readonly bestFor?: (product: Product) => boolean;
  /** Whether the device has what its kernels need. */
  runs(device: Device): boolean;
  /** Whether it can compute this product, on a device where it runs: sizes, alignment, transpositions. */
  fits(product: Product): boolean;
  /** Whether its kernels do what {@link Finish} asks for; what they do not is done after them. */
  readonly finishes?: (product: Product) => boolean;
  /** Whether its kernels add up B's columns on the way, which spares another pass over B. */
  readonly sums?: (product: Product) => boolean;
  /** Records the kernel call. */
  record(product: Product): void;
  /** What `vbon tune` may try for a mode ("nn", "nt", "tn"). */
  readonly tunings?: (mode: string) => readonly Tuning[];
}

/** "nn", "nt", "tn" or "tt": which operand is stored transposed. */
export const modeOf = ({ transposeA, transposeB }: Pick<Product, "transposeA" | "transposeB">): string =>
  (transposeA ? "t" : "n") + (transposeB ? "t" : "n");

/** Floating-point operations of a product. */
export const flopsOf = ({ batch, M, N, K }: Product): number => 2 * batch * M * N * K;

/** Constants of a kernel that reads its operands as vec4s: their types. */
export const vectorsOf = ({
  a,
  b,
}: Pick<Product, "a" | "b">): { readonly A4: string; readonly B4: string } => ({
  A4: a.dtype === "f16" ? "vec4h" : "vec4f",
  B4: b.dtype === "f16" ? "vec4h" : "vec4f",
});

/** The product alone. */
export const unfinished = (product: Product): Product => ({
  ...product,
  plus: undefined,
  slope: undefined,
  activated: undefined,
  adds: false,
});

/** What a kernel binds for the bias; where there is none, memory that it does not read. */
export const biasView = ({ bias, b }: Product): View =>
  (bias ?? b).dtype === "f16" ? { ...b.view, half: false } : (bias ?? b).view;
