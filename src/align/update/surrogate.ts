/**
 * The two clipped losses of PPO, a token at a time in float64, with their derivatives: what a fused kernel is checked
 * against. Masked means are the caller's. Source: Schulman et al., "Proximal policy optimization", 2017, Eq. 7 and 9.
 */

/** A loss and its derivative. */
export interface LossAndGradient {
  loss: number;
  /** With respect to the new log-probability, or to the value. */
  gradient: number;
  /** Is the clipped branch the strictly larger one? Its mean is clipFrac. */
  clipped: boolean;
}

/** max(-A rho, -A clip(rho, 1 - c, 1 + c)), rho = exp(newLogprob - oldLogprob). */
export function clippedSurrogate(
  newLogprob: number,
  oldLogprob: number,
  advantage: number,
  clipRange: number,
): LossAndGradient {
  const ratio = Math.exp(newLogprob - oldLogprob);
  const plain = -advantage * ratio;
  const bounded = -advantage * clamp(ratio, 1 - clipRange, 1 + clipRange);
  const clipped = bounded > plain;
  return { loss: clipped ? bounded : plain, gradient: clipped ? 0 : plain, clipped };
}

/** 1/2 max((V - R)^2, (clip(V, V_old - c, V_old + c) - R)^2): the maximum, so that clipping never hides an error. */
export function clippedValueLoss(
  value: number,
  oldValue: number,
  target: number,
  clipRangeValue: number,
): LossAndGradient {
  const bounded = clamp(value, oldValue - clipRangeValue, oldValue + clipRangeValue);
  const clipped = (bounded - target) ** 2 > (value - target) ** 2;
  const error = clipped ? bounded - target : value - target;
  return { loss: error ** 2 / 2, gradient: clipped ? 0 : error, clipped };
}

function clamp(x: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, x));
}
