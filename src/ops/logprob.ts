/** Log-probabilities of given tokens, entropy, cross-entropy and full KL divergence, straight from logits. */
import { loadKernel } from "../gpu/kernel.ts";
import { type Backward, call, defineOp, need, type NdArray, type Op, strided } from "../tensor/op.ts";
import { rowCall, rowVariants } from "../tensor/rows.ts";
import { empty, type Tensor } from "../tensor/tensor.ts";

const kernel = await loadKernel("logprob");

/** What logits are divided by first (default 1), and (for tests) which kernel to use. */
export interface LogprobAttrs {
  readonly temperature?: number;
  readonly variant?: string;
}

type Call = Parameters<typeof call>[2];

function plan(logits: Tensor, { temperature = 1, variant }: LogprobAttrs): Omit<Call, "bindings"> {
  need(temperature > 0, `logprob: temperature is ${temperature}; expected a positive number`);
  const columns = logits.dim(-1);
  const shared = rowCall(logits.device, logits.size / columns, columns, variant);
  return {
    ...shared,
    params: { ...shared.params, columns, inverse_temperature: 1 / temperature },
    flops: 6 * logits.size,
  };
}

type LogprobInputs = [logits: Tensor, targets: Tensor];

function forward([logits, targets]: LogprobInputs, attrs: LogprobAttrs): [Tensor, Tensor, Tensor] {
  const rows = logits.size / logits.dim(-1);
  need(
    targets.size === rows,
    `tokenLogprobs: logits [${logits.shape}] have ${rows} rows, targets are [${targets.shape}]`,
  );
  need(targets.dtype === "u32", `tokenLogprobs: targets are ${targets.dtype}; expected u32 token ids`);
  const logprobs = empty(targets.shape, "f32", "logprobs");
  const entropy = empty(targets.shape, "f32", "entropy");
  const stats = empty([rows, 4], "f32", "logprob stats");
  const bindings = { logits, flat: logits, targets, logprobs, entropy, stats_out: stats };
  call(kernel, "forward", { ...plan(logits, attrs), bindings });
  return [logprobs, entropy, stats];
}

function backward({
  inputs: [logits, targets],
  outputs,
  attrs,
  dy,
}: Backward<LogprobInputs, LogprobAttrs>): [Tensor, undefined] {
  const { constants, ...shared } = plan(logits, attrs);
  const [dlogprobs, dentropy] = dy;
  const either = (dlogprobs ?? dentropy)!;
  const dlogits = empty(logits.shape, "f32", "dlogits");
  const bindings = {
    logits,
    targets,
    stats: outputs[2]!,
    dlogprobs: dlogprobs ?? either,
    dentropy: dentropy ?? either,
    dlogits,
  };
  const uses = { LOGPROB: dlogprobs ? 1 : 0, ENTROPY: dentropy ? 1 : 0 };
  call(kernel, "backward", { ...shared, bindings, constants: { ...constants, ...uses } });
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
const someTargets = (
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
  const params = { rows: values.size, width: 1, trips: 1, columns: 1, inverse_temperature: 1 };
  return { params, constants: { L: 1, SUBGROUPS: 0, VEC: 0, W: 1, E: "f32" } };
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
    const kl = empty([p.size / p.dim(-1)], "f32", "kl");
    call(kernel, "divergence", { ...plan(p, attrs), bindings: { logits: p, logits_q: q, kl } });
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
