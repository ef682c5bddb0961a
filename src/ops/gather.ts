/** Rows by number: `takeRows(x, rows)`, and the kernels of an embedding. */
import { grid } from "../gpu/call.ts";
import { loadKernel } from "../gpu/kernel.ts";
import { call, defineOp, need, type NdArray, type Op, strided } from "../tensor/op.ts";
import { empty, type Shape, sizeOf, type Tensor } from "../tensor/tensor.ts";
import { zeros } from "./copy.ts";

const kernel = await loadKernel("gather");

/** Positions in a chunk of the gradient: 64 bytes of marks each. */
const P = 512;

interface Sizes {
  readonly R: number;
  readonly S: number;
  /** Elements of a row, and how many of them a kernel takes at once. */
  readonly W: number;
  readonly width: 1 | 4;
}

function sizesOf(table: Shape, rows: Shape): Sizes {
  const W = sizeOf(table.slice(1));
  return { R: table[0]!, S: sizeOf(rows), W, width: W % 4 === 0 ? 4 : 1 };
}

const paramsFor = ({ R, S, W, width }: Sizes): Record<string, number> => ({
  R,
  S,
  W: W / width,
  chunks: Math.ceil(S / P),
});
const constantsFor = ({ width }: Sizes): Record<string, number | string> => ({
  P,
  T: width === 4 ? "vec4u" : "u32",
  F: width === 4 ? "vec4f" : "f32",
});

/** table [R, ...W] by rows u32 [S] -> [S, ...W]; numbers above R - 1 mean R - 1. Carries no gradient. */
export function lookup(table: Tensor, rows: Tensor): Tensor {
  const sizes = sizesOf(table.shape, rows.shape);
  const result = empty([sizes.S, ...table.shape.slice(1)], table.dtype, "rows");
  const items = (sizes.S * sizes.W) / sizes.width;
  const bindings = { table, rows, result };
  call(kernel, "take", {
    bindings,
    params: paramsFor(sizes),
    constants: constantsFor(sizes),
    workgroups: strided(items),
  });
  return result;
}

/**
 * The gradient of {@link lookup}: dx of the table's shape, dx[r] = sum of dy[s] over rows[s] = r in increasing s,
 * zero in rows that no number names.
 */
export function addRows(dy: Tensor, rows: Tensor, shape: Shape): Tensor {
  const sizes = sizesOf(shape, rows.shape);
  const { R, S, W, width } = sizes;
  const chunks = Math.ceil(S / P);
  const head = zeros([chunks * R], "u32");
  const mark = zeros([chunks * P * (P / 32)], "u32");
  const dx = empty(shape, "f32", "drows");
  const rest = { params: paramsFor(sizes), constants: constantsFor(sizes) };
  call(kernel, "heads", { ...rest, bindings: { rows, head_rw: head }, workgroups: grid(Math.ceil(S / 64)) });
  call(kernel, "marks", {
    ...rest,
    bindings: { rows, head, mark_rw: mark },
    workgroups: grid(Math.ceil(S / 64)),
  });
  const workgroups = grid(Math.ceil((R * W) / width / 64));
  call(kernel, "add_rows", { ...rest, bindings: { head, mark, dy, dx }, workgroups, flops: S * W });
  return dx;
}

/** The float64 loop of {@link lookup}. */
export function lookupReference(table: NdArray, rows: NdArray): NdArray {
  const { R, S, W } = sizesOf(table.shape, rows.shape);
  const shape = [S, ...table.shape.slice(1)];
  const at = (i: number): number => Math.min(rows.data[Math.floor(i / W)]!, R - 1) * W + (i % W);
  return { shape, data: Float64Array.from({ length: S * W }, (_, i) => table.data[at(i)]!) };
}

/** The rows of x that are named; see {@link takeRows}. */
export const gather: Op<[x: Tensor, rows: Tensor], object> = defineOp<[x: Tensor, rows: Tensor]>({
  name: "takeRows",
  arity: 2,
  forward: ([x, rows]) => lookup(x, rows),
  backward: ({ inputs: [x, rows], dy: [dy] }) => [addRows(dy!, rows, x.shape), undefined],
  reference: ([x, rows]) => [lookupReference(x!, rows!)],
  cases: [
    { inputs: [[1, 1], { shape: [1], dtype: "u32", fill: () => 0 }], name: "one" },
    { inputs: [[7, 5], { shape: [4], dtype: "u32", fill: (i) => 6 - 2 * i }], name: "distinct" },
    {
      inputs: [[3, 8], { shape: [9], dtype: "u32", fill: (i) => (i * 5) % 4 }],
      name: "repeated, one beyond the end",
    },
    { inputs: [[9], { shape: [5], dtype: "u32", fill: (i) => i % 3 }], name: "numbers" },
    { inputs: [[4, 3, 4], { shape: [2], dtype: "u32", fill: (i) => 3 - i }], name: "rows of matrices" },
    {
      inputs: [[5, 4], { shape: [1100], dtype: "u32", fill: (i) => (i * i) % 7 }],
      name: "more than a chunk",
    },
  ],
});

/**
 * x[rows]: x [R, ...], rows u32 [S] -> [S, ...]. A number above R - 1 means R - 1. Rows may repeat: their gradients
 * are summed in order, to the same bits in every run.
 * @throws ShapeError when rows is not a vector of u32
 */
export function takeRows(x: Tensor, rows: Tensor): Tensor {
  need(
    rows.dtype === "u32" && rows.shape.length === 1,
    `takeRows: rows is ${rows.dtype} [${rows.shape}]; expected u32 [S]`,
  );
  need(x.shape.length > 0, "takeRows: x has no rows");
  return gather(x, rows);
}
