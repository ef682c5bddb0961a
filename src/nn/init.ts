/** Initial values of parameters, from a seed and the parameter's name. */
import { createRandom } from "../tensor/random.ts";
import { type Shape, sizeOf } from "../tensor/tensor.ts";

/** "normal" has standard deviation 0.02; `uniform: b` is U(-b, b). */
export type Init = "normal" | "zeros" | "ones" | { readonly normal: number } | { readonly uniform: number };

/** How a linear map's weight is stored: [K, N] as GPT-2's Conv1D, or [N, K] as torch's Linear. */
export type WeightLayout = "in_out" | "out_in";

/** What a model says about one of its tensors. */
export interface ParameterSpec {
  /** As in Hugging Face checkpoints of the family. */
  readonly name: string;
  readonly shape: Shape;
  readonly init: Init;
  /** Whether weight decay applies to it. */
  readonly decay: boolean;
  /** Of the weight of a linear map from K to N: how it is stored. Adapters stand on these and on no others. */
  readonly layout?: WeightLayout;
  /** Of a block's tensor: the block's number, from 0. */
  readonly layer?: number;
  /** Of a table of learned positions. */
  readonly positions?: true;
}

/** A matrix of weights: decayed. */
export function weight(name: string, shape: Shape, init: Init = "normal"): ParameterSpec {
  return { name, shape, init, decay: true };
}

/** A vector that shifts, zero at first: not decayed. */
export function bias(name: string, size: number): ParameterSpec {
  return { name, shape: [size], init: "zeros", decay: false };
}

/** A vector that scales, one at first: not decayed. */
export function gain(name: string, size: number): ParameterSpec {
  return { name, shape: [size], init: "ones", decay: false };
}

/** Torch's default for Linear, weight and bias alike: U(-1/√fanIn, 1/√fanIn) (He et al. 2015 with a = √5). */
export function torchLinear(fanIn: number): Init {
  return { uniform: 1 / Math.sqrt(fanIn) };
}

/** The initial values of `spec`: the same for the same seed and name, whatever else the model has. */
export function initialValues({ name, shape, init }: ParameterSpec, seed: number): Float32Array {
  const values = new Float32Array(sizeOf(shape));
  if (init === "zeros") return values;
  if (init === "ones") return values.fill(1);
  const random = createRandom(seed, name);
  if (typeof init === "object" && "uniform" in init) {
    return values.map(() => (2 * random.float() - 1) * init.uniform);
  }
  const std = init === "normal" ? 0.02 : init.normal;
  return values.map(() => random.normal() * std);
}
