/**
 * The last blocks of a model to train, on the rest of it: what lies below them stays frozen and is shared with whatever
 * else uses it. The released code of vBoN, after trlx's `num_layers_unfrozen`, shares more than that, the reference's own
 * table of positions, and so lets its reference drift; here what is trained is a copy, and the model stays as it is.
 */
import { ConfigError } from "../errors.ts";
import type { ParameterSpec } from "./init.ts";
import type { Trunk } from "./lm.ts";
import { createParameters, type Parameters } from "./parameters.ts";

/** How much of a model is trained. */
export interface LayerSettings {
  /** Blocks, counted from the last; what follows them (norm, untied LM head, classifier) is trained as well. */
  readonly count: number;
  /** The table of learned positions too, as the released code does; its gradient passes through all blocks. */
  readonly positions?: boolean | undefined;
}

/**
 * The tensors of `model` that are trained.
 * @throws ConfigError when it has fewer blocks, or no table of positions where that is asked for
 */
export function lastLayerSpecs(
  { specs, config }: Pick<Trunk, "specs" | "config">,
  { count, positions = false }: LayerSettings,
): ParameterSpec[] {
  if (!Number.isInteger(count) || count < 1 || count > config.nLayer)
    throw new ConfigError(
      `trainable layers: ${count} of a ${config.family} model with ${config.nLayer}; expected a whole number from 1 to ${config.nLayer}`,
    );
  // A table lists tensors in the order of the forward pass.
  const first = specs.findIndex(({ layer }) => layer === config.nLayer - count);
  const table = specs.filter((spec) => spec.positions);
  if (positions && table.length === 0)
    throw new ConfigError(
      `trainable layers: a ${config.family} model has no table of positions to train; leave --train-positions out`,
    );
  return [...(positions ? table : []), ...specs.slice(first)];
}

/**
 * A trained copy of the last blocks of `model`, on its other weights, which stay as they are and are shared:
 * `model.with(…)` computes with both.
 * @param beside further tensors to train, such as a value head, filled from `seed`
 * @throws ConfigError as {@link lastLayerSpecs}
 */
export async function lastLayers(
  model: Trunk,
  settings: LayerSettings,
  { seed, beside = [] }: { readonly seed: number; readonly beside?: readonly ParameterSpec[] },
): Promise<Parameters> {
  const { parameters } = model;
  const own = lastLayerSpecs(model, settings);
  const trained = createParameters(parameters.device, [...own, ...beside], {
    trainable: true,
    base: { parameters, scale: 1 },
  });
  trained.initialise(seed, beside);
  await trained.takeFrom(
    parameters,
    own.map(({ name }) => name),
  );
  return trained;
}
