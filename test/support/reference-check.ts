/** A model with random weights beside a float64 function of the same weights: outputs, and gradients by differences. */
import { expect } from "vitest";
import type { Parameters } from "../../src/nn/parameters.ts";
import { createRandom } from "../../src/tensor/random.ts";

/** Weights of a size at which every part of a model matters: matrices of 0.3, gains around 1, biases around 0. */
export function randomise(parameters: Parameters, seed: number): Map<string, Float64Array> {
  const weights = new Map<string, Float64Array>();
  for (const { name, shape, init } of parameters.specs) {
    const random = createRandom(seed, name);
    const count = shape.reduce((a, b) => a * b, 1);
    const middle = init === "ones" ? 1 : 0;
    const values = Float32Array.from({ length: count }, () => middle + 0.3 * random.normal());
    parameters.get(name).write(values);
    weights.set(name, Float64Array.from(values));
  }
  return weights;
}

/**
 * Compares each tensor's gradient with the central difference of `loss` along one random direction.
 * The difference may be 1e-4 of the gradient's norm times the direction's, as goldens allow for a whole gradient.
 */
export async function checkGradients(
  parameters: Parameters,
  weights: ReadonlyMap<string, Float64Array>,
  loss: (weights: ReadonlyMap<string, Float64Array>) => number,
): Promise<void> {
  for (const [name, values] of weights) {
    const random = createRandom(9, `direction of ${name}`);
    const direction = Float64Array.from(values, () => random.normal());
    const at = (h: number): number =>
      loss(new Map([...weights, [name, values.map((x, i) => x + h * direction[i]!)]]));
    const step = 1e-4 / Math.hypot(...direction);
    const want = (at(step) - at(-step)) / (2 * step);
    const gradient = await parameters.get(name).grad!.read();
    const got = gradient.reduce((s, g, i) => s + g * direction[i]!, 0);
    const limit = Math.max(1e-6, 1e-4 * Math.hypot(...gradient)) * Math.hypot(...direction);
    expect(Math.abs(got - want), `gradient of ${name}: got ${got}, want ${want}`).toBeLessThan(limit);
  }
}
