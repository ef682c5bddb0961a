/** Several maps of one input at once: queries, keys and values; a gate and its up. */
import { concat } from "../ops/layout.ts";
import { virtualStorage } from "../gpu/storage.ts";
import { Tensor, WIDTH } from "../tensor/tensor.ts";
import type { WeightLayout } from "./init.ts";
import { linear } from "./linear.ts";
import type { Precision } from "./lm.ts";
import { withAdapters } from "./lora.ts";
import type { Parameters } from "./parameters.ts";

/** How maps compute, and how their weights are stored; several maps at once want "out_in", the default. */
export interface LinearsOptions {
  readonly precision?: Precision | undefined;
  readonly layout?: WeightLayout;
  /** [..., N], added to the result; of one map only. */
  readonly residual?: Tensor | undefined;
}

/**
 * x W₁ᵀ + b₁, x W₂ᵀ + b₂, … side by side: one matmul where the weights lie side by side in memory ({@link joined}),
 * else one each and a copy. The checkpoint keeps its separate tensors either way. Where low-rank adapters stand on some of
 * the maps, their parts are added.
 * @param x [..., K]
 * @param names of maps with `<name>.weight` [N, K] and, all or none of them, `<name>.bias` [N]
 * @returns [..., N₁ + N₂ + …]
 */
export function linears(
  x: Tensor,
  parameters: Parameters,
  names: readonly string[],
  options: LinearsOptions = {},
): Tensor {
  return withAdapters(plainLinears(x, parameters, names, options), x, parameters, names, options.precision);
}

function plainLinears(
  x: Tensor,
  parameters: Parameters,
  names: readonly string[],
  { precision, layout = "out_in", residual }: LinearsOptions,
): Tensor {
  const biased = parameters.has(`${names[0]}.bias`);
  const weight = joined(names.map((name) => parameters.get(`${name}.weight`)));
  const bias = biased ? joined(names.map((name) => parameters.get(`${name}.bias`))) : undefined;
  if (weight && (bias || !biased)) return linear(x, weight, bias, layout, precision, residual);
  const one = (name: string): Tensor => {
    const shift = biased ? parameters.get(`${name}.bias`) : undefined;
    return linear(x, parameters.get(`${name}.weight`), shift, layout, precision);
  };
  return concat(names.map(one), -1);
}

/**
 * Parameters that follow each other in memory, as one tensor over the same memory: their rows one after the other.
 * Its gradient is the joined gradient. Parameters created together lie in the order of their specification, each at a
 * multiple of 256 bytes: so neighbours join where every size but the last is a multiple of 64 floats.
 * @param tensors of equal shapes but for the first dimension
 * @returns undefined where they do not lie side by side, or are trained only in part
 */
export function joined(tensors: readonly Tensor[]): Tensor | undefined {
  const whole = sideBySide(tensors);
  const grads = tensors.flatMap(({ grad }) => (grad ? [grad] : []));
  if (!whole || grads.length === 0) return whole;
  if (grads.length === tensors.length) whole.grad = sideBySide(grads);
  return whole.grad ? whole : undefined;
}

function sideBySide(tensors: readonly Tensor[]): Tensor | undefined {
  const [{ device, shape, dtype, storage }] = tensors as [Tensor];
  const start = storage.place!;
  let end = start.offset;
  for (const {
    size,
    storage: { place },
  } of tensors) {
    if (place!.buffer !== start.buffer || place!.offset !== end) return undefined;
    end += size * WIDTH[dtype];
  }
  const rows = tensors.reduce((sum, t) => sum + t.dim(0), 0);
  const whole = virtualStorage(end - start.offset, `${storage.label} and ${tensors.length - 1} more`);
  whole.place = start;
  return new Tensor(device, shape.with(0, rows), dtype, whole);
}
