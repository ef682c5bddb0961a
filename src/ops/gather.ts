/** Rows by number: `takeRows(x, rows)`, and the kernels of an embedding. */
import { grid } from "../gpu/call.ts";
import { loadKernel } from "../gpu/kernel.ts";
import { call, defineOp, need, type NdArray, type Op, strided } from "../tensor/op.ts";
import { empty, type Shape, sizeOf, type Tensor } from "../tensor/tensor.ts";
import { zeros } from "./copy.ts";
import { rowsIn, rowsInBinding, type Span, spansOf } from "./spans.ts";

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

/** The rows of the table that one dispatch sees. */
const paramsFor = ({ R, S, W, width }: Sizes, { from, to }: Span): Record<string, number> => ({
  R,
  S,
  W: W / width,
  chunks: Math.ceil(S / P),
  from_row: from,
  count: to - from,
});
const constantsFor = ({ width }: Sizes): Record<string, number | string> => ({
  P,
  T: width === 4 ? "vec4u" : "u32",
  F: width === 4 ? "vec4f" : "f32",
});

/** A table's rows in as many parts as bindings must hold it in. */
const partsOf = (table: Tensor): Span[] => spansOf(table.dim(0), rowsInBinding(table));

/** table [R, ...W] by rows u32 [S] -> [S, ...W]; numbers above R - 1 mean R - 1. Carries no gradient. */
export function lookup(table: Tensor, rows: Tensor): Tensor {
  const sizes = sizesOf(table.shape, rows.shape);
  const result = empty([sizes.S, ...table.shape.slice(1)], table.dtype, "rows");
  const items = (sizes.S * sizes.W) / sizes.width;
  for (const part of partsOf(table)) {
    call(kernel, "take", {
      bindings: { table: rowsIn(table, part), rows, result },
      params: paramsFor(sizes, part),
      constants: {
        ...constantsFor(sizes),
        ...(table.dtype === "f16" && { T: sizes.width === 4 ? "vec4h" : "f16" }),
      },
      workgroups: strided(items),
    });
  }
  return result;
}

/**
 * The gradient of {@link lookup}: dx[r] = sum of dy[s] over rows[s] = r in increasing s, zero in rows that no number
 * names. Takes time for the rows that are named, not for those of the table.
 * @param into a gradient of the table's shape to add it to; by default a new one, which is returned
 */
export function addRows(dy: Tensor, rows: Tensor, shape: Shape, into?: Tensor): Tensor | undefined {
  const sizes = sizesOf(shape, rows.shape);
  const { R, S, W, width } = sizes;
  const chunks = Math.ceil(S / P);
  const head = zeros([chunks * R], "u32");
  const mark = zeros([chunks * P * (P / 32)], "u32");
  const next = empty([S], "u32", "next position of the row");
  const dx = into ?? zeros(shape);
  const constants = constantsFor(sizes);
  const all = {
    params: paramsFor(sizes, { from: 0, to: R }),
    constants,
    workgroups: grid(Math.ceil(S / 64)),
  };
  call(kernel, "heads", { ...all, bindings: { rows, head_rw: head } });
  call(kernel, "marks", { ...all, bindings: { rows, head, mark_rw: mark } });
  call(kernel, "chain", { ...all, bindings: { rows, head, mark, next_rw: next } });
  for (const part of partsOf(dx)) {
    call(kernel, "add_rows", {
      bindings: { rows, next, dy, dx: rowsIn(dx, part) },
      params: paramsFor(sizes, part),
      constants,
      workgroups: strided((S * W) / width),
      flops: S * W,
    });
  }
  return into ? undefined : dx;
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
  backward: ({ inputs: [x, rows], dy: [dy], into }) => [addRows(dy!, rows, x.shape, into[0]), undefined],
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
