/** The value function of PPO: a trunk of its own, or a head on the policy. */
import type { Batch, LanguageModel, ScalarModel } from "../nn/lm.ts";
import { valueHead, valueHeadSpecs } from "../nn/heads.ts";
import { createParameters, type Parameters } from "../nn/parameters.ts";
import type { Tensor } from "../tensor/tensor.ts";

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

/** Trainable copy of `model`'s weights, with a value head from `seed` if asked. */
export function trainableCopy(
  model: LanguageModel | ScalarModel,
  { seed, withHead }: { seed: number; withHead: boolean },
): Parameters {
  const specs = withHead ? [...model.specs, ...valueHeadSpecs(model.config.nEmbd)] : model.specs;
  const copy = createParameters(model.parameters.device, specs, { trainable: true, seed });
  copy.copyFrom(
    model.parameters,
    model.specs.map((s) => s.name),
  );
  return copy;
}

/**
 * A value function with a trunk of its own that starts as a copy of `model`'s: the reference, or a reward model over the
 * same tokens, which knows more of what is to be predicted (Ouyang et al. 2022, appendix C.4).
 */
export function separateValue(model: LanguageModel | ScalarModel, seed: number): ValueFunction {
  const parameters = trainableCopy(model, { seed, withHead: true });
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
