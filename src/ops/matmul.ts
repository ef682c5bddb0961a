/** Matrix product, in every transposition, batched, with an optional bias. */
import type { Grid } from "../gpu/call.ts";
import type { Device } from "../gpu/device.ts";
import { loadKernel } from "../gpu/kernel.ts";
import { call, defineOp, need, type NdArray, type Op } from "../tensor/op.ts";
import { empty, type Shape, type Tensor } from "../tensor/tensor.ts";
import { columnSum } from "./reduce.ts";

const kernel = await loadKernel("matmul");

/** Which operand is stored transposed, and (for tests and tuning) which kernel to use. */
export interface MatmulAttrs {
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
  readonly variant?: string;
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

/** KC of the broadcast kernels: rows of B that a lane keeps. */
const chunkOf = (lanes: number): number => Math.max(64, 4 * lanes);

function variantFor(
  device: Device,
  { M, N, K }: Sizes,
  { transposeA, transposeB, variant }: MatmulAttrs,
): string {
  const aligned = N % 4 === 0 && (transposeA ? M % 4 === 0 : K % 4 === 0);
  const fits = aligned && !(transposeA && transposeB) && device.subgroupSize > 0;
  return fits && (variant ?? "broadcast") === "broadcast" && (variant || device.software)
    ? "broadcast"
    : "plain";
}

/** Rows a workgroup: enough to pay for filling its block of B, few enough to keep the cores busy. */
function rowsFor(device: Device, { M, N, batch }: Sizes): number {
  const columns = Math.ceil(N / (4 * device.subgroupSize)) * batch;
  const rows = Math.ceil((M * columns) / 16 / 4) * 4;
  return Math.min(256, Math.max(64, rows));
}

function run(a: Tensor, b: Tensor, bias: Tensor | undefined, attrs: MatmulAttrs): Tensor {
  const size = sizes(a.shape, b.shape, attrs);
  const { batch, M, N, K, shared, out } = size;
  need(!bias || bias.size === N, `matmul: bias is [${bias?.shape}]; expected [${N}]`);
  const c = empty(out, "f32", "matmul");
  const { transposeA = false, transposeB = false } = attrs;
  const { device } = a;
  const L = device.subgroupSize;
  const broadcast = variantFor(device, size, attrs) === "broadcast";
  const rows = broadcast ? rowsFor(device, size) : 1;
  const params = {
    M, N, K, rows,
    chunk: chunkOf(L),
    a_batch: M * K, b_batch: shared ? 0 : K * N, c_batch: M * N,
    a_row: transposeA ? 1 : K, a_col: transposeA ? M : 1,
    b_row: transposeB ? 1 : N, b_col: transposeB ? K : 1,
  }; // prettier-ignore
  const workgroups: Grid = broadcast
    ? [Math.ceil(N / (4 * L)), Math.ceil(M / rows), batch]
    : [Math.ceil(N / 8), Math.ceil(M / 8), batch];
  const flops = 2 * batch * M * N * K;
  const BIAS = bias ? 1 : 0;
  if (broadcast) {
    const entry = `broadcast_${transposeA ? "tn" : transposeB ? "nt" : "nn"}`;
    const bindings = { a, b, c, bias: bias ?? b };
    call(kernel, entry, { bindings, params, constants: { L, KC: chunkOf(L), BIAS }, workgroups, flops });
  } else {
    const bindings = { a_flat: a, b_flat: b, c_flat: c, bias_flat: bias ?? b };
    call(kernel, "plain", { bindings, params, constants: { L: 1, KC: 1, BIAS }, workgroups, flops });
  }
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

/**
 * C = op(A) op(B) + bias. a: [..., M, K] ([..., K, M] with transposeA), b: [..., K, N] or one [K, N] for all
 * ([N, K] with transposeB), bias: [N] or none; returns [..., M, N].
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
  backward({ inputs: [a, b, bias], attrs, dy: [dc], needs }) {
    need(
      !(attrs.transposeA && b.shape.length === 2 && a.shape.length > 2),
      "matmul: no gradient for a batch of transposed a with a shared b",
    );
    return [
      needs[0] ? gradientA(b, dc!, attrs) : undefined,
      needs[1] ? gradientB(a, b, dc!, attrs) : undefined,
      bias && needs[2] ? columnSum(rowsOf(dc!)) : undefined,
    ];
  },
  reference: ([a, b, bias], attrs) => [reference(a!, b!, bias, attrs)],
  variants: (device) =>
    device.subgroupSize > 0 && device.subgroupSize <= 16 ? ["plain", "broadcast"] : ["plain"],
  cases: [
    { inputs: [[3, 5], [5, 7], [7]] },
    { inputs: [[4, 8], [8, 12], [12]] },
    { inputs: [[5, 4], [4, 4], undefined] },
    { inputs: [[3, 68], [68, 36], [36]] },
    { inputs: [[2, 3, 12], [12, 8], [8]], name: "shared b" },
    { inputs: [[2, 3, 4], [2, 4, 8], undefined], name: "batched" },
    { inputs: [[6, 8], [12, 8], [12]], attrs: { transposeB: true } },
    { inputs: [[3, 72], [20, 72], undefined], attrs: { transposeB: true } },
    { inputs: [[2, 5, 4], [2, 8, 4], undefined], attrs: { transposeB: true }, name: "batched nt" },
    { inputs: [[9, 8], [9, 4], undefined], attrs: { transposeA: true } },
    { inputs: [[70, 4], [70, 36], undefined], attrs: { transposeA: true } },
    { inputs: [[2, 6, 4], [2, 6, 8], undefined], attrs: { transposeA: true }, name: "batched tn" },
    { inputs: [[5, 3], [2, 5], undefined], attrs: { transposeA: true, transposeB: true } },
    { inputs: [[1, 1], [1, 1], [1]] },
  ],
});
