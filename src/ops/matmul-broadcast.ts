/** The matrix product for software adapters: a block of B in a function-scope array, rows of A broadcast (docs/kernels.md). */
import { loadKernel, using } from "../gpu/kernel.ts";
import { cores } from "../host.ts";
import { call } from "../tensor/op.ts";
import { empty } from "../tensor/tensor.ts";
import { functions } from "./activation.ts";
import { finishBindings, finishConstants } from "./matmul-finish.ts";
import { biasView, flopsOf, type MatmulForm, modeOf, type Product, vectorsOf } from "./matmul-form.ts";

const kernel = using(await loadKernel("matmul-broadcast"), functions);

/**
 * KC of the kernels: rows of B that a lane keeps. With 128 C is read and written half as often as with 64, which makes nn
 * and nt 1.09 times as fast, unless that means a longer sum of zeros; the code of tn grows too large for it (0.8 times).
 */
function chunkOf(mode: string, K: number, tuned: unknown): number {
  if (tuned === 64 || tuned === 128) return tuned;
  return mode !== "tn" && Math.ceil(K / 64) % 2 === 0 ? 128 : 64;
}

/** Workgroups that keep the cores busy: an adapter deals them out beforehand, as many to each. */
const BUSY = 2 * cores();

/** Rows a workgroup: enough to pay for filling its block of B, few enough to keep the cores busy, all about the same. */
function rowsFor({ M, N, batch, tuning }: Product, lanes: number): number {
  const columns = Math.ceil(N / (4 * lanes)) * batch;
  const most = Math.min(Number(tuning?.["rows"] ?? 512), Math.max(64, Math.floor((M * columns) / BUSY)));
  return 4 * Math.ceil(M / Math.ceil(M / most) / 4);
}

/** Wants subgroups of one size up to 16, and rows of whole vec4s. */
export const broadcast: MatmulForm = {
  name: "broadcast",
  madeFor: "software",
  runs: ({ subgroupSize }) => subgroupSize > 0 && subgroupSize <= 16,
  fits: ({ M, N, K, transposeA, transposeB }) =>
    N % 4 === 0 && (transposeA ? M : K) % 4 === 0 && !(transposeA && transposeB),
  finishes: ({ transposeA, plus, slope, activated }) => !transposeA || !(plus || slope || activated),
  sums: (product) => turns(product) && product.batch === 1,
  record: (product) => (turns(product) ? recordTurned(product) : record(product)),
  tunings: (mode) =>
    (mode === "tn" ? [0, 1] : [0]).flatMap((turn) =>
      [64, 128].flatMap((KC) => [128, 256, 512].map((rows) => ({ form: "broadcast", KC, rows, turn }))),
    ),
};

/** tn is slower than nn by more than a turn of A costs, where A is used for enough columns. */
const turns = ({ transposeA, N, K, tuning }: Product): boolean =>
  transposeA && K % 4 === 0 && (tuning?.["turn"] === undefined ? N >= 128 : tuning["turn"] === 1);

function recordTurned(product: Product): void {
  const { a, batch, M, K } = product;
  const turned = empty([batch, M, K], a.dtype, "turned");
  const rows = Math.min(16, Math.ceil(M / 16));
  call(kernel, "turn", {
    bindings: { a, turned },
    params: { M, N: 0, K, rows, chunk: 0, a_batch: M * K, b_batch: 0, c_batch: 0 },
    constants: {
      L: a.device.subgroupSize,
      KC: 64,
      BIAS: 0,
      SUMS: 0,
      ...vectorsOf(product),
      ...finishConstants({}),
    },
    workgroups: [Math.ceil(M / (16 * rows)), Math.ceil(K / 64), batch],
  });
  record({ ...product, a: turned, transposeA: false });
}

function record(product: Product): void {
  const { a, b, c, bias, batch, M, N, K, shared } = product;
  const L = a.device.subgroupSize;
  const mode = modeOf(product);
  const KC = chunkOf(mode, K, product.tuning?.["KC"]);
  const rows = rowsFor(product, L);
  call(kernel, mode, {
    bindings: {
      a,
      b,
      c,
      bias: biasView(product),
      ...finishBindings(product),
      ...(product.sums && { sums: product.sums }),
    },
    params: {
      M,
      N,
      K,
      rows,
      chunk: KC,
      a_batch: M * K,
      b_batch: shared ? 0 : K * N,
      c_batch: M * N,
    },
    constants: {
      L,
      KC,
      BIAS: bias ? 1 : 0,
      SUMS: product.sums ? 1 : 0,
      ...vectorsOf(product),
      ...finishConstants(product),
    },
    workgroups: [Math.ceil(N / (4 * L)), Math.ceil(M / rows), batch],
    flops: flopsOf(product),
  });
}
