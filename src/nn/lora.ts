/**
 * Low-rank adapters (LoRA; Hu et al. 2021, "Low-rank adaptation of large language models"): a frozen linear map
 * y = x Wᵀ becomes y = x Wᵀ + (alpha / r) (x Aᵀ) Bᵀ with A [r, K] and B [N, r], which alone are trained. B starts at zero,
 * so that at first nothing changes. Names are PEFT's: `<module>.lora_A.weight`, `<module>.lora_B.weight`.
 */
import { ConfigError } from "../errors.ts";
import { add, scale as scaled } from "../ops/binary.ts";
import { zeros } from "../ops/copy.ts";
import { concat } from "../ops/layout.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type ParameterSpec, torchLinear, weight } from "./init.ts";
import { linear } from "./linear.ts";
import type { Precision, Trunk } from "./lm.ts";
import { createParameters, type Parameters } from "./parameters.ts";

/** Which maps get adapters, and of what size. */
export interface LoraSettings {
  /**
   * PEFT's target_modules: names separated by commas, each the end of a module's name ("q_proj,v_proj"); or a regular
   * expression that a whole name matches; or "all-linear".
   */
  readonly pattern: string;
  /** r */
  readonly rank: number;
  readonly alpha: number;
}

/** What stands on a model beside its adapters, and what A starts from. */
export interface AdaptedOptions {
  readonly seed: number;
  /** Tensors that are trained whole: a new head, or one of the model's own, whose values are copied. */
  readonly whole?: readonly ParameterSpec[];
}

/** The names of a module's two matrices. */
export const adapterNames = (module: string): { readonly a: string; readonly b: string } => ({
  a: `${module}.lora_A.weight`,
  b: `${module}.lora_B.weight`,
});

/** K and N of the map whose weight `spec` is. */
function sizesOf({ shape, layout }: ParameterSpec): { K: number; N: number } {
  const [first, second] = shape as [number, number];
  return layout === "in_out" ? { K: first, N: second } : { K: second, N: first };
}

/** The specifications of A and B on the map of `spec`: A as torch's Linear starts, B zero. */
export function adapterSpecs(spec: ParameterSpec, rank: number): ParameterSpec[] {
  const { K, N } = sizesOf(spec);
  const { a, b } = adapterNames(moduleOf(spec));
  return [weight(a, [rank, K], torchLinear(K)), weight(b, [N, rank], "zeros")];
}

/** The module of a weight: its name without ".weight". */
export const moduleOf = ({ name }: ParameterSpec): string => name.replace(/\.weight$/, "");

/**
 * The weights among `specs` on which `pattern` puts adapters.
 * @param except names of tensors that get none: those trained whole
 * @throws ConfigError when the pattern, or one of its names, is of no linear map, or is no regular expression
 */
export function adapterTargets(
  specs: readonly ParameterSpec[],
  pattern: string,
  except: readonly ParameterSpec[] = [],
): ParameterSpec[] {
  const whole = new Set(except.map(({ name }) => name));
  const maps = specs.filter(({ name, layout }) => layout !== undefined && !whole.has(name));
  if (pattern === "all-linear") return maps;
  const tests = matchersOf(pattern);
  for (const [name, matches] of tests) {
    if (maps.some((spec) => matches(moduleOf(spec)))) continue;
    const ends = [...new Set(maps.map((spec) => moduleOf(spec).split(".").at(-1)))];
    throw new ConfigError(
      `lora: "${name}" names no linear map of the model; expected the ends of names among ${ends.join(", ")}, a regular ` +
        `expression of whole names such as ${maps.map(moduleOf)[0]}, or all-linear`,
    );
  }
  return maps.filter((spec) => tests.some(([, matches]) => matches(moduleOf(spec))));
}

/** The names of a list, or undefined where `pattern` is a regular expression. */
export function namesOfPattern(pattern: string): string[] | undefined {
  const names = pattern.split(",").map((name) => name.trim());
  return names.every((name) => /^[\w.-]+$/.test(name)) ? names : undefined;
}

function matchersOf(pattern: string): (readonly [string, (module: string) => boolean])[] {
  const names = namesOfPattern(pattern);
  if (names) {
    return names.map((name) => [name, (module) => module === name || module.endsWith(`.${name}`)]);
  }
  try {
    const whole = new RegExp(`^(?:${pattern})$`);
    return [[pattern, (module) => whole.test(module)]];
  } catch {
    throw new ConfigError(
      `lora: "${pattern}" is neither a list of names nor a regular expression; expected for example "q_proj,v_proj"`,
    );
  }
}

/**
 * Trained adapters on the weights of `model`, which stay as they are and are shared: `model.with(…)` computes with both.
 * @throws ConfigError when the pattern matches nothing, or a size is out of range
 */
export function adaptedParameters(
  model: Trunk,
  { pattern, rank, alpha }: LoraSettings,
  { seed, whole = [] }: AdaptedOptions,
): Parameters {
  if (!Number.isInteger(rank) || rank < 1)
    throw new ConfigError(`lora: rank is ${rank}; expected a whole number from 1`);
  if (!(alpha > 0)) throw new ConfigError(`lora: alpha is ${alpha}; expected a number above 0`);
  const { parameters, specs } = model;
  const adapters = adapterTargets(specs, pattern, whole).flatMap((spec) => adapterSpecs(spec, rank));
  const base = { parameters, scale: alpha / rank };
  const adapted = createParameters(parameters.device, [...adapters, ...whole], {
    trainable: true,
    seed,
    base,
  });
  const own = whole.filter(({ name }) => parameters.has(name)).map(({ name }) => name);
  adapted.copyFrom(parameters, own);
  return adapted;
}

/** Whether there is an adapter on any of the maps. */
export const anyAdapted = (parameters: Parameters, names: readonly string[]): boolean =>
  parameters.base !== undefined && names.some((name) => parameters.has(adapterNames(name).a));

/**
 * `y` plus what the adapters of `names` make of `x`, side by side; `y` itself where there are none.
 * @param y [..., N₁ + N₂ + …], what the maps without adapters make of x [..., K]
 */
export function withAdapters(
  y: Tensor,
  x: Tensor,
  parameters: Parameters,
  names: readonly string[],
  precision: Precision | undefined,
): Tensor {
  const { base } = parameters;
  const adapted = (name: string): boolean => parameters.has(adapterNames(name).a);
  if (!base || !anyAdapted(parameters, names)) return y;
  const part = (name: string): Tensor => {
    // Several maps at once are stored [N, K].
    if (!adapted(name)) return zeros([...x.shape.slice(0, -1), parameters.get(`${name}.weight`).dim(0)]);
    const { a, b } = adapterNames(name);
    const inner = linear(x, parameters.get(a), undefined, "out_in", precision);
    return linear(scaled(inner, base.scale), parameters.get(b), undefined, "out_in", precision);
  };
  return add(y, names.length === 1 ? part(names[0]!) : concat(names.map(part), -1));
}

/** Whether an adapter stands on this tensor of the model. */
const isAdapted = (parameters: Parameters, spec: ParameterSpec): boolean =>
  parameters.base !== undefined &&
  spec.layout !== undefined &&
  parameters.has(adapterNames(moduleOf(spec)).a);

/** {@link mergedValues} to be written: in pieces where nothing is merged, as most are. */
export function mergedPieces(
  parameters: Parameters,
  spec: ParameterSpec,
): Promise<Float32Array> | AsyncIterable<Float32Array> {
  return isAdapted(parameters, spec) ? mergedValues(parameters, spec) : parameters.get(spec.name).pieces();
}

/**
 * The values of one tensor of a model with the adapter on it, if there is one, merged into it: W + (alpha / r) B A, rounded once.
 * @param spec of the model, not of the adapter
 * @param sign -1 takes the adapter out of weights that it was merged into
 */
export async function mergedValues(
  parameters: Parameters,
  spec: ParameterSpec,
  sign: 1 | -1 = 1,
): Promise<Float32Array> {
  const values = await parameters.get(spec.name).read();
  const { a, b } = adapterNames(moduleOf(spec));
  if (!isAdapted(parameters, spec)) return values;
  const [A, B] = [await parameters.get(a).read(), await parameters.get(b).read()];
  const by = sign * parameters.base!.scale;
  const { K, N } = sizesOf(spec);
  const r = A.length / K;
  const row = new Float64Array(K);
  for (let n = 0; n < N; n++) {
    row.fill(0);
    for (let i = 0; i < r; i++) {
      const factor = by * B[n * r + i]!;
      for (let k = 0; k < K; k++) row[k]! += factor * A[i * K + k]!;
    }
    const [start, step] = spec.layout === "in_out" ? [n, N] : [n * K, 1];
    for (let k = 0; k < K; k++) values[start + k * step]! += row[k]!;
  }
  return values;
}

/** Writes the merged weights of adapted `parameters` over those that they stand on (`sign` -1: takes them out again). */
export async function mergeAdapters(
  specs: readonly ParameterSpec[],
  parameters: Parameters,
  sign: 1 | -1 = 1,
): Promise<void> {
  const { base } = parameters;
  if (!base || parameters.device.onPaper) return;
  const touched = new Set(parameters.names);
  for (const spec of specs) {
    const adapted = touched.has(adapterNames(moduleOf(spec)).a);
    if (adapted || touched.has(spec.name))
      base.parameters.get(spec.name).write(await mergedValues(parameters, spec, sign));
  }
}
