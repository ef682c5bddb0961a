/** Which methods own the trade-off between reward and KL: the front of pooled runs and each method's share of it. */

import { ConfigError } from "../errors.ts";

/** One run: `kl` is better small (nats), `value` (win rate or reward) is better large. */
export interface ParetoPoint {
  kl: number;
  value: number;
}

/**
 * Indices, ascending, of the points that no other dominates: none has kl <= and value >= with one of them strict.
 * Identical points do not dominate each other. alignment.md 3.1.
 * @throws ConfigError for a coordinate that is not finite.
 */
export function paretoFront(points: readonly ParetoPoint[]): number[] {
  const bad = points.findIndex(({ kl, value }) => !Number.isFinite(kl) || !Number.isFinite(value));
  if (bad >= 0)
    throw new ConfigError(
      `paretoFront: point ${bad} is (${points[bad]?.kl}, ${points[bad]?.value}); expected finite numbers`,
    );
  return points.flatMap((point, i) => (points.some((other) => dominates(other, point)) ? [] : [i]));
}

/** Fraction of the pooled front that each method holds, methods in order of first appearance; they sum to 1. */
export function paretoShare(points: readonly (ParetoPoint & { method: string })[]): Map<string, number> {
  const front = paretoFront(points);
  const share = new Map(points.map(({ method }) => [method, 0]));
  for (const i of front) {
    const method = points[i]?.method ?? "";
    share.set(method, (share.get(method) ?? 0) + 1 / front.length);
  }
  return share;
}

function dominates(a: ParetoPoint, b: ParetoPoint): boolean {
  return a.kl <= b.kl && a.value >= b.value && (a.kl < b.kl || a.value > b.value);
}
