/** Layers of transformers in float64, loop by loop, as the papers write them: what models are compared with. */

/** Rows of numbers: one a token. */
export type Rows = readonly (readonly number[])[];

/** Weights by name, row-major; absent biases are undefined. */
export type Weights = ReadonlyMap<string, ArrayLike<number>>;

const sum = (xs: readonly number[]): number => xs.reduce((a, b) => a + b, 0);

export const addRows = (a: Rows, b: Rows): number[][] => a.map((row, t) => row.map((x, i) => x + b[t]![i]!));

/** x Wᵀ + b of the layer `name`. */
export function dense(w: Weights, name: string, x: Rows): number[][] {
  const [weight, bias] = [w.get(`${name}.weight`)!, w.get(`${name}.bias`)];
  const K = x[0]!.length;
  return x.map((row) =>
    Array.from({ length: weight.length / K }, (_, n) =>
      row.reduce((s, value, k) => s + value * weight[n * K + k]!, bias?.[n] ?? 0),
    ),
  );
}

export function rmsNorm(w: Weights, name: string, x: Rows, eps: number): number[][] {
  const weight = w.get(`${name}.weight`)!;
  return x.map((row) => {
    const size = Math.sqrt(sum(row.map((v) => v * v)) / row.length + eps);
    return row.map((v, i) => (v / size) * weight[i]!);
  });
}

export function layerNorm(w: Weights, name: string, x: Rows, eps: number): number[][] {
  const [weight, bias] = [w.get(`${name}.weight`)!, w.get(`${name}.bias`)!];
  return x.map((row) => {
    const mean = sum(row) / row.length;
    const size = Math.sqrt(sum(row.map((v) => (v - mean) ** 2)) / row.length + eps);
    return row.map((v, i) => ((v - mean) / size) * weight[i]! + bias[i]!);
  });
}

/** Rows `ids` of the table `name`, which has rows of C. */
export function lookUp(w: Weights, name: string, ids: readonly number[], C: number): number[][] {
  const table = w.get(name)!;
  return ids.map((id) => Array.from({ length: C }, (_, i) => table[id * C + i]!));
}

/** The columns of head `h`, D wide. */
export const headOf = (x: Rows, h: number, D: number): number[][] =>
  x.map((row) => row.slice(h * D, (h + 1) * D));

/** softmax(q kᵀ / √D) v of one head; token i sees token j where `sees(i, j)`. */
export function attend(
  q: Rows,
  k: Rows,
  v: Rows,
  sees: (i: number, j: number) => boolean = () => true,
): number[][] {
  return q.map((query, i) => {
    const scores = k.map((key, j) =>
      sees(i, j) ? sum(query.map((x, d) => x * key[d]!)) / Math.sqrt(query.length) : -Infinity,
    );
    const high = Math.max(...scores);
    const shares = scores.map((s) => Math.exp(s - high));
    const total = sum(shares);
    return query.map((_, d) => sum(shares.map((p, j) => (p * v[j]![d]!) / total)));
  });
}

/** Heads side by side again. */
export const joinHeads = (heads: readonly Rows[]): number[][] =>
  heads[0]!.map((_, t) => heads.flatMap((head) => head[t]!));

/** log softmax(row)[id]. */
export function logProb(row: readonly number[], id: number): number {
  const high = Math.max(...row);
  return row[id]! - high - Math.log(sum(row.map((x) => Math.exp(x - high))));
}
