/**
 * A language model over {a, b} with an end token, small enough to enumerate: every expectation is a sum over its strings
 * and every gradient is exact. A string of `maxLength` letters ends there with no end-token factor.
 */

/** Logits [prefix][a, b, end]. */
export type LogitTable = readonly (readonly number[])[];

/** Strings and prefixes, shortest first, then alphabetically; '' is the end token at once. */
export interface StringModel {
  strings: readonly string[];
  prefixes: readonly string[];
  /** For each string, its factors: which row of the table, which column. */
  paths: readonly (readonly { prefix: number; token: number }[])[];
}

export function stringModel(maxLength: number): StringModel {
  const strings = [""];
  for (let i = 0; (strings[i] ?? "").length < maxLength; i++)
    strings.push(`${strings[i]}a`, `${strings[i]}b`);
  strings.sort((x, y) => x.length - y.length || (x < y ? -1 : 1));
  const prefixes = strings.filter((s) => s.length < maxLength);
  const pathOf = (s: string): { prefix: number; token: number }[] => {
    const letters = [...s].map((letter, t) => ({
      prefix: prefixes.indexOf(s.slice(0, t)),
      token: "ab".indexOf(letter),
    }));
    return s.length < maxLength ? [...letters, { prefix: prefixes.indexOf(s), token: 2 }] : letters;
  };
  return { strings, prefixes, paths: strings.map(pathOf) };
}

/** Row-wise log-softmax. */
export function logSoftmax(table: LogitTable): number[][] {
  return table.map((row) => {
    const high = Math.max(...row);
    const logZ = high + Math.log(row.reduce((sum, z) => sum + Math.exp(z - high), 0));
    return row.map((z) => z - logZ);
  });
}

/** Log-probabilities of the factors of each string. */
export function tokenLogprobs(model: StringModel, table: LogitTable): number[][] {
  const logs = logSoftmax(table);
  return model.paths.map((path) => path.map(({ prefix, token }) => logs[prefix]?.[token] ?? NaN));
}

/** log pi of each string. */
export function stringLogprobs(model: StringModel, table: LogitTable): number[] {
  return tokenLogprobs(model, table).map(total);
}

/** The table whose strings have these log-probabilities (each conditional by summing over continuations). */
export function tableOf(model: StringModel, logPi: readonly number[]): number[][] {
  const mass = model.prefixes.map(() => [0, 0, 0]);
  model.paths.forEach((path, y) => {
    for (const { prefix, token } of path) {
      const row = mass[prefix] ?? [];
      row[token] = (row[token] ?? 0) + Math.exp(logPi[y] ?? NaN);
    }
  });
  return mass.map((row) => row.map((p) => Math.log(p / total(row))));
}

/** sum_y pi(y) weight(y) d log pi(y) / d logits: the exact policy gradient for this weight. */
export function policyGradient(model: StringModel, table: LogitTable, weight: readonly number[]): number[][] {
  const logs = logSoftmax(table);
  const pi = stringLogprobs(model, table).map(Math.exp);
  const gradient = table.map((row) => row.map(() => 0));
  model.paths.forEach((path, y) => {
    const scale = (pi[y] ?? 0) * (weight[y] ?? 0);
    for (const step of path) {
      const row = gradient[step.prefix] ?? [];
      logs[step.prefix]?.forEach((logP, v) => {
        row[v] = (row[v] ?? 0) + scale * ((v === step.token ? 1 : 0) - Math.exp(logP));
      });
    }
  });
  return gradient;
}

/** E[A] - KL(pi || ref), and its gradient with respect to the logits. */
export function regularised(
  model: StringModel,
  table: LogitTable,
  reward: readonly number[],
  logRef: readonly number[],
): { value: number; gradient: number[][] } {
  const logPi = stringLogprobs(model, table);
  const weight = logPi.map((logP, y) => (reward[y] ?? NaN) - logP + (logRef[y] ?? NaN));
  const value = total(logPi.map((logP, y) => Math.exp(logP) * (weight[y] ?? NaN)));
  return { value, gradient: policyGradient(model, table, weight) };
}

/** Gradient ascent on {@link regularised} from `start`; `visit` sees the value after each step. */
export function ascend(
  model: StringModel,
  start: LogitTable,
  reward: readonly number[],
  logRef: readonly number[],
  steps: number,
  lr: number,
  visit: (step: number, value: number) => void = () => {},
): number[][] {
  let table = start.map((row) => [...row]);
  for (let step = 1; step <= steps; step++) {
    const { gradient } = regularised(model, table, reward, logRef);
    table = table.map((row, i) => row.map((z, v) => z + lr * (gradient[i]?.[v] ?? 0)));
    visit(step, regularised(model, table, reward, logRef).value);
  }
  return table;
}

/** The distribution proportional to ref exp(A), and its log Z = the best value of {@link regularised}. */
export function optimum(
  reward: readonly number[],
  logRef: readonly number[],
): { logPi: number[]; logZ: number } {
  const logs = reward.map((r, y) => r + (logRef[y] ?? NaN));
  const logZ = Math.log(total(logs.map(Math.exp)));
  return { logPi: logs.map((x) => x - logZ), logZ };
}

/** KL(p || q) over the strings. */
export function stringKl(logP: readonly number[], logQ: readonly number[]): number {
  return total(logP.map((x, y) => (x === -Infinity ? 0 : Math.exp(x) * (x - (logQ[y] ?? NaN)))));
}

/** E[value] under log-probabilities. */
export function expectation(logP: readonly number[], value: readonly number[]): number {
  return total(logP.map((x, y) => (x === -Infinity ? 0 : Math.exp(x) * (value[y] ?? NaN))));
}

export function total(values: readonly number[]): number {
  return values.reduce((sum, x) => sum + x, 0);
}
