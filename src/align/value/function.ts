/** The value function of PPO: a trunk of its own, or a head on the policy. */
import { valueHead, valueHeadSpecs } from "../../nn/heads.ts";
import { type LayerSettings, lastLayers } from "../../nn/last-layers.ts";
import type { Batch, LanguageModel, ScalarModel } from "../../nn/lm.ts";
import { adaptedParameters, type LoraSettings } from "../../nn/lora.ts";
import { createParameters, type Parameters } from "../../nn/parameters.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/** Predicts the return of each position. */
export interface ValueFunction {
  /** "separate": own trunk, started from a copy of a model. "shared": a head whose gradient reaches the policy. */
  readonly kind: "separate" | "shared";
  /** Where its weights live; the policy's own with "shared". */
  readonly parameters: Parameters;
  /**
   * Values [B·T] of every position.
   * @param policyHidden [B·T, C], the policy's hidden states of the same batch; only "shared" reads it
   */
  values(batch: Batch, policyHidden: Tensor | undefined): Tensor;
}

/** How a model is made trainable. */
export interface TrainableOptions {
  readonly seed: number;
  /** With a value head beside it. */
  readonly withHead: boolean;
  /** Adapters on the model's own weights, instead of a copy of them. */
  readonly lora?: LoraSettings | undefined;
  /** Only the last blocks are copied and trained, on the model's own weights. */
  readonly layers?: LayerSettings | undefined;
}

/**
 * Trainable copy of `model`'s weights or of its last blocks, or adapters on them, with a value head from `seed` if asked.
 * @throws ConfigError as {@link adaptedParameters} and {@link lastLayers}
 */
export async function trainableCopy(
  model: LanguageModel | ScalarModel,
  { seed, withHead, lora, layers }: TrainableOptions,
): Promise<Parameters> {
  const head = withHead ? valueHeadSpecs(model.config.nEmbd) : [];
  if (lora) return adaptedParameters(model, lora, { seed, whole: head });
  if (layers) return lastLayers(model, layers, { seed, beside: head });
  const specs = [...model.specs, ...head];
  const copy = createParameters(model.parameters.device, specs, { trainable: true });
  copy.initialise(seed, head);
  await copy.takeFrom(
    model.parameters,
    model.specs.map((s) => s.name),
  );
  return copy;
}

/**
 * A value function with a trunk of its own that starts as a copy of `model`'s: the reference, or a reward model over the
 * same tokens, which knows more of what is to be predicted (Ouyang et al. 2022, appendix C.4). With `lora` or `layers` its
 * trunk is the model's, with adapters, or last blocks, of its own.
 */
export async function separateValue(
  model: LanguageModel | ScalarModel,
  seed: number,
  how: Pick<TrainableOptions, "lora" | "layers"> = {},
): Promise<ValueFunction> {
  const parameters = await trainableCopy(model, { ...how, seed, withHead: true });
  const trunk = model.with(parameters);
  const C = model.config.nEmbd;
  return {
    kind: "separate",
    parameters,
    values: (batch) => valueHead(parameters, trunk.hidden(batch).reshape(-1, C)),
  };
}

/** A head on the policy, whose parameters must hold it (`trainableCopy(…, { withHead: true })`). */
export function sharedValue(policy: LanguageModel): ValueFunction {
  const { parameters } = policy;
  const values = (batch: Batch, hidden: Tensor | undefined): Tensor =>
    valueHead(parameters, hidden ?? policy.hidden(batch).reshape(-1, policy.config.nEmbd));
  return { kind: "shared", parameters, values };
}
