/** The clipped losses of PPO on the GPU (Schulman et al., "Proximal policy optimization", 2017, Eq. 7 and 9). */
import { maximum, minimum, mul, scale, sub } from "../../ops/binary.ts";
import { sum } from "../../ops/reduce.ts";
import { clip } from "../../ops/select.ts";
import { exp, neg, square } from "../../ops/unary.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/**
 * sum_t w_t max(-A_t rho_t, -A_t clip(rho_t, 1 - c, 1 + c)), rho = exp(newLogprobs - oldLogprobs).
 * @param newLogprobs [R], the only input with a gradient
 * @param weights [R]: 1 / (number of real tokens of the minibatch), 0 on padding
 * @returns [1]
 */
export function policyLoss(
  newLogprobs: Tensor,
  oldLogprobs: Tensor,
  advantages: Tensor,
  weights: Tensor,
  clipRange: number,
): Tensor {
  const ratio = exp(sub(newLogprobs, oldLogprobs));
  const gain = minimum(mul(advantages, ratio), mul(advantages, clip(ratio, 1 - clipRange, 1 + clipRange)));
  return sum(mul(weights, neg(gain)));
}

/**
 * 1/2 sum_t w_t max((V_t - R_t)^2, (clip(V_t, V_old - c, V_old + c) - R_t)^2): the maximum, so that clipping
 * never hides an error.
 * @param values [R], the only input with a gradient
 * @returns [1]
 */
export function valueLoss(
  values: Tensor,
  oldValues: Tensor,
  returns: Tensor,
  weights: Tensor,
  clipRangeValue: number,
): Tensor {
  const step = clip(sub(values, oldValues), -clipRangeValue, clipRangeValue);
  const bounded = sub(step, sub(returns, oldValues));
  return scale(sum(mul(weights, maximum(square(sub(values, returns)), square(bounded)))), 0.5);
}
