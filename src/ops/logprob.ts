/** Log-probabilities of given tokens, entropy, cross-entropy and full KL divergence, straight from logits. */
import { type Backward, call, defineOp, need, type NdArray, type Op, strided } from "../tensor/op.ts";
import { loadRowKernel, rowCall, rowVariants } from "../tensor/rows.ts";
import { empty, type Tensor } from "../tensor/tensor.ts";

const kernel = await loadRowKernel("logprob");

/** What logits are divided by first (default 1), and (for tests) which kernel to use. */
export interface LogprobAttrs {
  readonly temperature?: number;
  readonly variant?: string;
}

type Call = Parameters<typeof call>[2];

/** Some columns of each row of logits: N of V, from number `from` on. Chunks come in order; the first has from = 0. */
export interface Chunk {
  /** [R, N] */
  readonly logits: Tensor;
  readonly from: number;
  /** V */
  readonly vocabulary: number;
}

const whole = (logits: Tensor): Chunk => ({ logits, from: 0, vocabulary: logits.dim(-1) });

function plan(
  { logits, from, vocabulary }: Chunk,
  { temperature = 1, variant }: LogprobAttrs,
): Omit<Call, "bindings"> {
  need(temperature > 0, `logprob: temperature is ${temperature}; expected a positive number`);
  const columns = logits.dim(-1);
  const shared = rowCall(logits.device, logits.size / columns, columns, variant);
  const place = { columns, from_column: from, vocabulary };
  const [first, last] = [from === 0 ? 1 : 0, from + columns === vocabulary ? 1 : 0];
  return {
    ...shared,
    params: { ...shared.params, ...place, first, last, inverse_temperature: 1 / temperature },
    flops: 6 * logits.size,
  };
}

/** What the forward pass makes of logits: [R] each, and stats [R, 4] for the way back. */
export interface Logprobs {
  readonly logprobs: Tensor;
  readonly entropy: Tensor;
  readonly stats: Tensor;
}

/** Tensors for {@link absorb}, shaped as targets u32 [R]. */
export function emptyLogprobs(targets: Tensor): Logprobs {
  return {
    logprobs: empty(targets.shape, "f32", "logprobs"),
    entropy: empty(targets.shape, "f32", "entropy"),
    stats: empty([targets.size, 4], "f32", "logprob stats"),
  };
}

/** Adds a chunk of logits to `stats`; the last one completes them and writes log-probabilities and entropy. */
export function absorb(
  chunk: Chunk,
  targets: Tensor,
  { logprobs, entropy, stats }: Logprobs,
  attrs: LogprobAttrs,
): void {
  const { logits } = chunk;
  const bindings = { logits, flat: logits, targets, logprobs, entropy, stats_out: stats };
  call(kernel, "forward", { ...plan(chunk, attrs), bindings });
}

/** What the way back needs beside the logits; a gradient that did not arrive is undefined. */
export interface Arrived {
  readonly targets: Tensor;
  readonly stats: Tensor;
  readonly dlogprobs: Tensor | undefined;
  readonly dentropy: Tensor | undefined;
}

/** The gradient of a chunk of logits: into `dlogits`, or over the logits themselves where there is none. */
export function logitsGradient(chunk: Chunk, arrived: Arrived, attrs: LogprobAttrs, dlogits?: Tensor): void {
  const { constants, ...shared } = plan(chunk, attrs);
  const { targets, stats, dlogprobs, dentropy } = arrived;
  const either = (dlogprobs ?? dentropy)!;
  const given = { targets, stats, dlogprobs: dlogprobs ?? either, dentropy: dentropy ?? either };
  const places = dlogits ? { logits: chunk.logits, dlogits } : { dlogits: chunk.logits };
  const uses = { LOGPROB: dlogprobs ? 1 : 0, ENTROPY: dentropy ? 1 : 0 };
  call(kernel, dlogits ? "backward" : "backward_in_place", {
    ...shared,
    bindings: { ...given, ...places },
    constants: { ...constants, ...uses },
  });
}

/** Adds chunks of logits of p and of q to `sums` [R, 8]; the last ones write kl [R]. */
export function diverge(p: Chunk, q: Tensor, sums: Tensor, kl: Tensor, attrs: LogprobAttrs): void {
  const bindings = { logits: p.logits, logits_q: q, kl, stats_out: sums };
  call(kernel, "divergence", { ...plan(p, attrs), bindings });
}

type LogprobInputs = [logits: Tensor, targets: Tensor];

function forward([logits, targets]: LogprobInputs, attrs: LogprobAttrs): [Tensor, Tensor, Tensor] {
  const rows = logits.size / logits.dim(-1);
  need(
    targets.size === rows,
    `tokenLogprobs: logits [${logits.shape}] have ${rows} rows, targets are [${targets.shape}]`,
  );
  need(targets.dtype === "u32", `tokenLogprobs: targets are ${targets.dtype}; expected u32 token ids`);
  const made = emptyLogprobs(targets);
  absorb(whole(logits), targets, made, attrs);
  return [made.logprobs, made.entropy, made.stats];
}

function backward({
  inputs: [logits, targets],
  outputs,
  attrs,
  dy: [dlogprobs, dentropy],
}: Backward<LogprobInputs, LogprobAttrs>): [Tensor, undefined] {
  const dlogits = empty(logits.shape, "f32", "dlogits");
  const arrived = { targets, stats: outputs[2]!, dlogprobs, dentropy };
  logitsGradient(whole(logits), arrived, attrs, dlogits);
  return [dlogits, undefined];
}

/** Log-softmax of each row of logits / T, in float64. */
function* logRows({ shape, data }: NdArray, { temperature = 1 }: LogprobAttrs): Generator<Float64Array> {
  const V = shape.at(-1)!;
  for (let start = 0; start < data.length; start += V) {
    const z = data.slice(start, start + V).map((v) => v / temperature);
    const top = z.reduce((a, b) => Math.max(a, b), -Infinity);
    const logSum = Math.log(z.reduce((sum, v) => sum + Math.exp(v - top), 0));
    yield z.map((v) => v - top - logSum);
  }
}

/** Entropy of a row of log-probabilities. */
const entropyOf = (logp: Float64Array): number =>
  -logp.reduce((sum, l) => sum + (l > -Infinity ? Math.exp(l) * l : 0), 0);

const SHAPES = [
  [7, 1],
  [65, 3],
  [1, 64],
  [7, 64],
  [7, 172],
  [3, 130],
] as const;
/** Some beyond the last token: they count as the last. */
export const someTargets = (
  R: number,
  V: number,
): { shape: number[]; dtype: "u32"; fill: (i: number) => number } => ({
  shape: [R],
  dtype: "u32",
  fill: (i) => (i === 6 ? 2 * V : (i * 29 + 1) % V),
});

/**
 * Log-probabilities of `targets` and the entropy of each row's distribution, in nats, under softmax(logits / T).
 * logits: [..., V]; targets: u32 ids, one a row, ids beyond V count as V - 1. Returns [logprobs, entropy], both
 * shaped as targets (a third output is for the backward pass). Gradients flow through both to the logits.
 * @throws ShapeError when the number of targets is not the number of rows, or T is not positive
 */
export const tokenLogprobs: Op<
  LogprobInputs,
  LogprobAttrs,
  readonly [logprobs: Tensor, entropy: Tensor, stats: Tensor]
> = defineOp<LogprobInputs, LogprobAttrs, readonly [logprobs: Tensor, entropy: Tensor, stats: Tensor]>({
  name: "tokenLogprobs",
  arity: 2,
  forward,
  backward,
  reference([logits, targets], attrs) {
    const V = logits!.shape.at(-1)!;
    const rows = [...logRows(logits!, attrs)];
    const logprobs = Float64Array.from(rows, (logp, r) => logp[Math.min(targets!.data[r]!, V - 1)]!);
    return [logprobs, Float64Array.from(rows, entropyOf)].map((data) => ({ shape: targets!.shape, data }));
  },
  variants: rowVariants,
  cases: SHAPES.flatMap(([R, V]) =>
    [1, 0.7].map((temperature) => ({
      name: `[${R},${V}] T=${temperature}`,
      inputs: [[R, V], someTargets(R, V)],
      attrs: { temperature },
    })),
  ),
});

/** loss = - sum of weights logprobs over all elements. logprobs, weights: [R]; returns [1]. Gradients to both. */
export const weightedNll: Op<[logprobs: Tensor, weights: Tensor], object> = defineOp<
  [logprobs: Tensor, weights: Tensor]
>({
  name: "weightedNll",
  arity: 2,
  forward([values, weights]) {
    need(values.size === weights.size, `crossEntropy: ${values.size} rows, weights are [${weights.shape}]`);
    const loss = empty([1], "f32", "loss");
    call(kernel, "weigh", { bindings: { values, weights, loss }, ...flat(values), workgroups: [1, 1, 1] });
    return loss;
  },
  backward({ inputs: [values, weights], dy: [dloss], needs }) {
    const dvalues = empty(values.shape, "f32", "dlogprobs");
    const dweights = empty(weights.shape, "f32", "dweights");
    const bindings = { values, weights, dloss: dloss!, dvalues, dweights };
    call(kernel, "weigh_backward", { bindings, ...flat(values), workgroups: strided(values.size) });
    return [needs[0] ? dvalues : undefined, needs[1] ? dweights : undefined];
  },
  reference: ([values, weights]) => [
    {
      shape: [1],
      data: Float64Array.of(-values!.data.reduce((sum, v, r) => sum + v * weights!.data[r]!, 0)),
    },
  ],
  cases: [1, 7, 65, 700].map((n) => ({ inputs: [[n], [n]] })),
});

/** Params and constants of the entries that walk over one number a row. */
function flat(values: Tensor): Pick<Call, "params" | "constants"> {
  const chunk = { columns: 1, from_column: 0, vocabulary: 1, first: 1, last: 1, inverse_temperature: 1 };
  const params = { rows: values.size, width: 1, trips: 1, ...chunk };
  return { params, constants: { THREADS: 64, L: 1, SUBGROUPS: 0, VEC: 0, W: 1, E: "f32" } };
}

/**
 * Weighted cross-entropy: sum over rows of weights · -log softmax(logits)[target], in nats. logits: [..., V];
 * targets: u32, one a row; weights: f32, one a row, carrying mask and divisor (1 / number of tokens for a mean);
 * a row of weight 0 gets no gradient. Returns [1].
 * @throws ShapeError when targets or weights do not count the rows
 */
export function crossEntropy(
  logits: Tensor,
  targets: Tensor,
  weights: Tensor,
  attrs: LogprobAttrs = {},
): Tensor {
  return weightedNll(tokenLogprobs(logits, targets, attrs)[0], weights);
}

/**
 * Exact KL(p || q) = sum over the vocabulary of p (log p - log q), in nats, for p = softmax(logits p / T), q alike.
 * Both [..., V]; returns [R]. No gradient: a metric. Exactly 0 where both rows are bit-equal; else absolute
 * rounding of about 1e-7 times the largest |logit|.
 * @throws ShapeError when the shapes differ
 */
export const fullKl: Op<[logitsP: Tensor, logitsQ: Tensor], LogprobAttrs> = defineOp<
  [logitsP: Tensor, logitsQ: Tensor],
  LogprobAttrs
>({
  name: "fullKl",
  arity: 2,
  forward([p, q], attrs) {
    need(
      String(p.shape) === String(q.shape),
      `fullKl: logits of p are [${p.shape}], of q [${q.shape}]; expected equal shapes`,
    );
    const rows = p.size / p.dim(-1);
    const kl = empty([rows], "f32", "kl");
    diverge(whole(p), q, empty([rows, 8], "f32", "kl sums"), kl, attrs);
    return kl;
  },
  reference([p, q], attrs) {
    const qs = [...logRows(q!, attrs)];
    const kls = [...logRows(p!, attrs)].map((logp, r) =>
      logp.reduce((sum, l, v) => sum + Math.exp(l) * (l - qs[r]![v]!), 0),
    );
    return [{ shape: [kls.length], data: Float64Array.from(kls) }];
  },
  variants: rowVariants,
  cases: SHAPES.map(([R, V]) => ({
    inputs: [
      [R, V],
      [R, V],
    ],
    attrs: { temperature: 0.7 },
  })),
});
