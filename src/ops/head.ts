/**
 * The head of a language model without its logits: the product with the vocabulary's vectors and what is read from
 * it, some columns of some rows at a time, in scratch memory that the next ones use again.
 */
import type { Device } from "../gpu/device.ts";
import { rowVariants } from "../tensor/rows.ts";
import { ShapeError } from "../errors.ts";
import { type Backward, defineOp, need, type NdArray, type Op } from "../tensor/op.ts";
import { empty, type Shape, sizeOf, type Tensor } from "../tensor/tensor.ts";
import { addTo, zeros } from "./copy.ts";
import { half } from "./cast.ts";
import { concat } from "./layout.ts";
import {
  absorb,
  type Chunk,
  diverge,
  emptyLogprobs,
  fullKl,
  logitsGradient,
  type Logprobs,
  type LogprobAttrs,
  someTargets,
  tokenLogprobs,
} from "./logprob.ts";
import { matmul } from "./matmul.ts";
import { columnSum } from "./reduce.ts";
import { evenSpans, rowsIn, rowsInBinding, rowUnit, type Span, spansOf } from "./spans.ts";

/** Temperature; for tests also the most columns and rows at a time. */
export interface HeadAttrs extends LogprobAttrs {
  readonly columns?: number;
  readonly rows?: number;
}

/** Columns at a time, at most: enough for an efficient product, and small vocabularies are one chunk. */
const COLUMNS = 8192;
/**
 * Floats of logits at a time, at most: 64 MiB; on GPUs, whose products want many rows, 256. If all fit, the way back finds them
 * instead of computing them again.
 */
const scratchOf = ({ software }: Device): number => (software ? 2 ** 24 : 2 ** 26);

/** Rows at a time, at least: what holds a number a row may be bound from every such row on. */
const ROWS = 64;

/** What logits are computed with: weight [V, C], bias [V] or none. */
interface Head {
  readonly weight: Tensor;
  readonly bias: Tensor | undefined;
}

interface Chunks {
  readonly rows: readonly Span[];
  readonly columns: readonly Span[];
}

/**
 * The chunks of R rows, the same for all of `heads`. Columns do not depend on R, so that a row's sums are the same
 * however many rows there are. Columns beyond the last multiple of 4 are a chunk of their own: the others then suit
 * every matmul.
 */
function chunksOf(R: number, heads: readonly Head[], attrs: HeadAttrs): Chunks {
  const parts = heads.flatMap(({ weight, bias }) => (bias ? [weight, bias] : [weight]));
  const unit = Math.max(4, ...parts.map(rowUnit));
  const { device } = heads[0]!.weight;
  const floats = Math.min(scratchOf(device), device.bindingBytes / 4);
  const widest = Math.min(attrs.columns ?? COLUMNS, floats / ROWS, ...parts.map(rowsInBinding));
  const V = heads[0]!.weight.dim(0);
  const columns = evenSpans(V, Math.max(unit, Math.floor(widest / unit) * unit), unit);
  const { from, to } = columns.at(-1)!;
  const tail = from + Math.floor((to - from) / unit) * unit;
  if ((to - from) % 4 !== 0 && tail > from) columns.splice(-1, 1, { from, to: tail }, { from: tail, to });
  const high = Math.max(ROWS, Math.floor((attrs.rows ?? floats / columns[0]!.to) / ROWS) * ROWS);
  return { rows: spansOf(R, high), columns };
}

/**
 * All logits, for sampling: hidden [R, C] by weight [V, C], bias [V] or none, gives [R, V]. A weight that is larger than
 * one binding goes in parts, and then there is no gradient.
 * @throws ShapeError when sizes differ, or on the way back through parts
 */
export function headLogits(hidden: Tensor, weight: Tensor, bias: Tensor | undefined): Tensor {
  if (weight.view.bytes! <= weight.device.bindingBytes)
    return matmul(hidden, weight, bias, { transposeB: true });
  const { columns } = chunksOf(hidden.dim(0), [{ weight, bias }], {});
  const parts = columns.map((span) => chunkOf(hidden.detach(), { weight, bias }, span).logits);
  const logits = concat(parts, 1);
  if (hidden.needsGrad || weight.needsGrad)
    logits.node = {
      name: "logits",
      inputs: [hidden, weight, bias],
      outputs: [logits],
      backward: refuseParts,
    };
  return logits;
}

function refuseParts(): never {
  throw new ShapeError(
    "logits: the weight is larger than one binding holds, and such logits have no gradient; use logprobs()",
  );
}

/** Some columns of the logits of some hidden states, computed now. */
function chunkOf(hidden: Tensor, { weight, bias }: Head, columns: Span): Chunk {
  const shift = bias && rowsIn(bias, columns);
  const logits = matmul(hidden, rowsIn(weight, columns), shift, { transposeB: true });
  return { logits, from: columns.from, vocabulary: weight.dim(0) };
}

function check(who: string, hidden: Tensor, { weight, bias }: Head, targets: Tensor): void {
  const fits = hidden.shape.length === 2 && weight.shape.length === 2 && hidden.dim(1) === weight.dim(1);
  need(fits, `${who}: hidden is [${hidden.shape}], weight [${weight.shape}]; expected [R, C] and [V, C]`);
  need(!bias || bias.size === weight.dim(0), `${who}: bias is [${bias?.shape}]; expected [${weight.dim(0)}]`);
  need(
    targets.dtype === "u32" && String(targets.shape) === String([hidden.dim(0)]),
    `${who}: targets are ${targets.dtype} [${targets.shape}]; expected u32 [${hidden.dim(0)}]`,
  );
}

type HeadInputs = [hidden: Tensor, weight: Tensor, bias: Tensor | undefined, targets: Tensor];

/** Logits of a forward pass, by its stats: the first way back takes them, and turns them into their gradient. */
const kept = new WeakMap<Tensor, Chunk[]>();

/** Some rows of {@link Logprobs}. */
const partOf = ({ logprobs, entropy, stats }: Logprobs, rows: Span): Logprobs => ({
  logprobs: rowsIn(logprobs, rows),
  entropy: rowsIn(entropy, rows),
  stats: rowsIn(stats, rows),
});

function forward([hidden, weight, bias, targets]: HeadInputs, attrs: HeadAttrs): Tensor[] {
  check("headLogprobs", hidden, { weight, bias }, targets);
  const made = emptyLogprobs(targets);
  const { rows, columns } = chunksOf(targets.size, [{ weight, bias }], attrs);
  const chunks: Chunk[] = [];
  for (const some of rows) {
    for (const span of columns) {
      const chunk = chunkOf(rowsIn(hidden, some), { weight, bias }, span);
      absorb(chunk, rowsIn(targets, some), partOf(made, some), attrs);
      chunks.push(chunk);
    }
  }
  if (rows.length === 1 && targets.size * weight.dim(0) <= scratchOf(weight.device))
    kept.set(made.stats, chunks);
  return [made.logprobs, made.entropy, made.stats];
}

function backward(ctx: Backward<HeadInputs, HeadAttrs>): (Tensor | undefined)[] {
  const { inputs, outputs, attrs, dy, needs, into } = ctx;
  const [hidden, weight, bias, targets] = inputs;
  const stats = outputs[2]!;
  const known = kept.get(stats);
  kept.delete(stats);
  const dhidden = needs[0] ? sumOf(hidden.shape) : undefined;
  const dweight = needs[1] ? sumOf(weight.shape, into[1]) : undefined;
  const dbias = bias && needs[2] ? sumOf(bias.shape, into[2]) : undefined;
  const { rows, columns } = chunksOf(targets.size, [{ weight, bias }], attrs);
  for (const some of rows) {
    const [dlogprobs, dentropy] = dy.map((d) => d && rowsIn(d, some));
    const arrived = { targets: rowsIn(targets, some), stats: rowsIn(stats, some), dlogprobs, dentropy };
    for (const [i, span] of columns.entries()) {
      const states = rowsIn(hidden, some);
      const chunk = known?.[i] ?? chunkOf(states, { weight, bias }, span);
      logitsGradient(chunk, arrived, attrs);
      // Products of f16 take gradients in f16 too, as those of `matmul` do.
      const dlogits = states.dtype === "f16" ? half(chunk.logits) : chunk.logits;
      dhidden?.add(matmul(dlogits, rowsIn(weight, span), undefined, {}), some);
      dweight?.add(matmul(dlogits, states, undefined, { transposeA: true }), span);
      dbias?.add(columnSum(chunk.logits), span);
    }
  }
  return [dhidden?.made, dweight?.made, dbias?.made, undefined];
}

/** A gradient that comes in parts. */
interface Sum {
  /** Adds to some of its rows. */
  add(part: Tensor, rows: Span): void;
  /** The whole; undefined where it was added to the one that was there. */
  readonly made: Tensor | undefined;
}

/** A sum into the gradient `into`, else into a tensor of its own, which a part that is the whole already is. */
function sumOf(shape: Shape, into?: Tensor): Sum {
  let made: Tensor | undefined;
  return {
    add(part, rows) {
      if (!into && part.size === sizeOf(shape) && !made) made = part.reshape(...shape);
      else addTo(rowsIn(into ?? (made ??= zeros(shape)), rows), part);
    },
    get made() {
      return made;
    },
  };
}

/** Logits in float64. */
function logitsReference(hidden: NdArray, weight: NdArray, bias: NdArray | undefined): NdArray {
  const [[R, C], [V]] = [hidden.shape, weight.shape] as [[number, number], [number, number]];
  const data = new Float64Array(R * V);
  for (let r = 0; r < R; r++) {
    for (let v = 0; v < V; v++) {
      let sum = bias?.data[v] ?? 0;
      for (let c = 0; c < C; c++) sum += hidden.data[r * C + c]! * weight.data[v * C + c]!;
      data[r * V + v] = sum;
    }
  }
  return { shape: [R, V], data };
}

interface HeadCase {
  readonly R: number;
  readonly V: number;
  readonly C: number;
  readonly bias?: true;
  readonly attrs?: HeadAttrs;
}

/** One chunk, ragged columns, several chunks of columns, of rows, of both; a last chunk shorter than 4. */
const CASES: readonly HeadCase[] = [
  { R: 1, V: 1, C: 1 },
  { R: 7, V: 12, C: 8, attrs: { temperature: 0.7 } },
  { R: 5, V: 71, C: 4, bias: true, attrs: { temperature: 0.7 } },
  { R: 5, V: 132, C: 4, bias: true, attrs: { columns: 64 } },
  { R: 3, V: 98, C: 16, attrs: { columns: 64 } },
  { R: 70, V: 67, C: 3, attrs: { columns: 64, rows: 64, temperature: 1.3 } },
];

/**
 * Log-probabilities of `targets` and the entropy of each row's distribution, in nats, under softmax(logits / T) with
 * logits = hidden weightᵀ + bias, which are never stored as a whole when they are many. hidden [R, C], weight [V, C],
 * bias [V] or none, targets u32 [R], ids beyond V count as V - 1; hidden and weight may be f16. Returns [logprobs, entropy], both [R] (a third
 * output is for the way back). Gradients flow to hidden, weight and bias. A row's result does not depend on how many
 * rows there are, to the last bit.
 * @throws ShapeError when sizes differ or T is not positive
 */
export const headLogprobs: Op<
  HeadInputs,
  HeadAttrs,
  readonly [logprobs: Tensor, entropy: Tensor, stats: Tensor]
> = defineOp<HeadInputs, HeadAttrs, readonly [logprobs: Tensor, entropy: Tensor, stats: Tensor]>({
  name: "headLogprobs",
  arity: 4,
  forward,
  backward,
  reference: ([hidden, weight, bias, targets], attrs) =>
    tokenLogprobs.reference([logitsReference(hidden!, weight!, bias), targets], attrs),
  variants: rowVariants,
  cases: CASES.map(({ R, V, C, bias, attrs = {} }) => ({
    name: `[${R},${C}] [${V},${C}] ${bias ? "bias " : ""}${JSON.stringify(attrs)}`,
    inputs: [[R, C], [V, C], bias && [V], someTargets(R, V)],
    attrs,
  })),
});

type CompareInputs = [
  hiddenP: Tensor,
  weightP: Tensor,
  biasP: Tensor | undefined,
  hiddenQ: Tensor,
  weightQ: Tensor,
  biasQ: Tensor | undefined,
  targets: Tensor,
];

/** What {@link headCompare} returns, all [R]. */
export type Comparison = readonly [logprobsP: Tensor, entropyP: Tensor, logprobsQ: Tensor, kl: Tensor];

function compare([hiddenP, ...inputs]: CompareInputs, attrs: HeadAttrs): Comparison {
  const [weightP, biasP, hiddenQ, weightQ, biasQ, targets] = inputs;
  const [p, q] = [
    { weight: weightP, bias: biasP },
    { weight: weightQ, bias: biasQ },
  ];
  check("headCompare", hiddenP, p, targets);
  check("headCompare", hiddenQ, q, targets);
  const [V, other] = [weightP.dim(0), weightQ.dim(0)];
  need(V === other, `headCompare: the vocabulary of p has ${V} tokens, of q ${other}; expected the same`);
  const [ofP, ofQ] = [emptyLogprobs(targets), emptyLogprobs(targets)];
  const kl = empty(targets.shape, "f32", "kl");
  const sums = empty([targets.size, 8], "f32", "kl sums");
  const { rows, columns } = chunksOf(targets.size, [p, q], attrs);
  for (const some of rows) {
    for (const span of columns) {
      const mine = chunkOf(rowsIn(hiddenP, some), p, span);
      const theirs = chunkOf(rowsIn(hiddenQ, some), q, span);
      absorb(mine, rowsIn(targets, some), partOf(ofP, some), attrs);
      absorb(theirs, rowsIn(targets, some), partOf(ofQ, some), attrs);
      diverge(mine, theirs.logits, rowsIn(sums, some), rowsIn(kl, some), attrs);
    }
  }
  return [ofP.logprobs, ofP.entropy, ofQ.logprobs, kl];
}

function compareReference(inputs: readonly (NdArray | undefined)[], attrs: HeadAttrs): NdArray[] {
  const [hiddenP, weightP, biasP, hiddenQ, weightQ, biasQ, targets] = inputs;
  const p = logitsReference(hiddenP!, weightP!, biasP);
  const q = logitsReference(hiddenQ!, weightQ!, biasQ);
  const [logprobs, entropy] = tokenLogprobs.reference([p, targets], attrs);
  const [others] = tokenLogprobs.reference([q, targets], attrs);
  const [kl] = fullKl.reference([p, q], attrs);
  return [logprobs!, entropy!, others!, kl!];
}

/**
 * Two language models on the same tokens: log-probabilities of `targets` under p = softmax(logits / T) with
 * logits = hiddenP weightPᵀ + biasP, the entropy of p, log-probabilities under q alike, and the exact KL(p || q), all
 * in nats. hidden [R, C] and weight [V, C] of either; C may differ. The logits are never stored as a whole when they
 * are many. No gradient: metrics. The first two have the bits of {@link headLogprobs}; the KL is exactly 0 where both
 * rows of logits are bit-equal.
 * @throws ShapeError when sizes differ or T is not positive
 */
export const headCompare: Op<CompareInputs, HeadAttrs, Comparison> = defineOp<
  CompareInputs,
  HeadAttrs,
  Comparison
>({
  name: "headCompare",
  arity: 7,
  forward: compare,
  reference: compareReference,
  variants: rowVariants,
  cases: CASES.map(({ R, V, C, attrs = {} }) => ({
    name: `[${R},${C}] [${V},${C}] ${JSON.stringify(attrs)}`,
    inputs: [[R, C], [V, C], [V], [R, C + 1], [V, C + 1], undefined, someTargets(R, V)],
    attrs,
  })),
});
