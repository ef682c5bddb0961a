/** Layers by name, as torch's modules have them: their rows of the parameter table, and what they compute. */
import { bias, gain, type Init, type ParameterSpec, weight, type WeightLayout } from "../src/nn/init.ts";
import { linears } from "../src/nn/joined.ts";
import { COMPUTING, type Computing } from "../src/nn/lm.ts";
import { type Mlp, mlp } from "../src/nn/mlp.ts";
import type { Parameters } from "../src/nn/parameters.ts";
import { layerNorm } from "../src/ops/norm.ts";
import type { Tensor } from "../src/tensor/tensor.ts";

/** A LayerNorm: `<name>.weight` and `<name>.bias`, [C]. */
export function normSpecs(name: string, C: number): ParameterSpec[] {
  return [gain(`${name}.weight`, C), bias(`${name}.bias`, C)];
}

/** A Linear from K to N: `<name>.weight` [N, K] and, unless told otherwise, `<name>.bias` [N]. */
export function linearSpecs(
  name: string,
  [N, K]: readonly [number, number],
  init: Init,
  withBias = true,
): ParameterSpec[] {
  const map = { ...weight(`${name}.weight`, [N, K], init), layout: "out_in" } as const;
  return [map, ...(withBias ? [bias(`${name}.bias`, N)] : [])];
}

/** The rows of `count` blocks, named `<prefix>.0` and so on. */
export function blockSpecs(
  prefix: string,
  count: number,
  block: (name: string) => ParameterSpec[],
): ParameterSpec[] {
  return Array.from({ length: count }, (_, layer) =>
    block(`${prefix}.${layer}`).map((spec) => ({ ...spec, layer })),
  ).flat();
}

/** What {@link normSpecs} names, of x [..., C]. */
export type NormLayer = (x: Tensor, name: string) => Tensor;

/** LayerNorms over `parameters`. */
export function norms(parameters: Parameters, eps: number): NormLayer {
  return (x, name) => layerNorm(x, parameters.get(`${name}.weight`), parameters.get(`${name}.bias`), { eps });
}

/** Linears by name, as {@link linearSpecs} lists them. */
export interface LinearLayers {
  /** Of x [..., K]; of several names their outputs side by side. */
  dense(x: Tensor, ...names: string[]): Tensor;
  /** `residual` plus one of x [..., K]. */
  onto(residual: Tensor, x: Tensor, name: string): Tensor;
  /** `residual` plus the map `down` of the activated map `up` of x [..., C]. */
  mlp(residual: Tensor, x: Tensor, maps: Pick<Mlp, "up" | "down" | "kind">): Tensor;
}

/** Linears over `parameters`, with or without biases as those have them; f32 unless told otherwise, as heads are. */
export function linearLayers(
  parameters: Parameters,
  { precision }: Computing = COMPUTING,
  layout: WeightLayout = "out_in",
): LinearLayers {
  const how = { precision, layout };
  return {
    dense: (x, ...names) => linears(x, parameters, names, how),
    onto: (residual, x, name) => linears(x, parameters, [name], { ...how, residual }),
    mlp: (residual, x, maps) => mlp(x, residual, parameters, { ...maps, ...how }),
  };
}
