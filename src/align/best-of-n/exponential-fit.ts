/**
 * A smooth stand-in for the empirical log CDF: log F(r) = -a exp(-b r), which is exactly the log of a Gumbel CDF with scale
 * 1/b and location log(a)/b (Amini et al. 2025, footnote 17). Off by default: it saves few samples and breaks the
 * invariance under monotone transforms of the score. alignment.md 1.5.
 *
 * The released code fits raw scores from the start (1, 1[, 1]) and may return that start, or F above 1, without an error.
 * Here scores are standardised, a and b are kept positive by fitting their logs, and a bad fit is rejected.
 */

import { levenbergMarquardt } from "ml-levenberg-marquardt";

/** A fitted log CDF, or why there is none. */
export interface ExponentialFit {
  /** False: use the empirical CDF instead. */
  readonly accepted: boolean;
  /** Why it was rejected; empty when accepted. */
  readonly reason: string;
  /** log F(r) = -a exp(-b r), in units of the scores. `a` overflows to Infinity for scores far from 0; `logF` does not. */
  readonly a: number;
  readonly b: number;
  /** Root mean square residual of log F over the points, nats. */
  readonly rmse: number;
  logF(score: number): number;
}

/** The form of the sentiment script, -a exp(-b r) - c: F tends to e^-c, which is above 1 for the c < 0 it usually gets. */
export interface OffsetFit {
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly rmse: number;
  /** Why the fit is not a log CDF; empty when it is one. */
  readonly reason: string;
}

/** Above this residual (nats) the scores do not look like a Gumbel sample. */
const WORST_RMSE = 0.3;

interface Points {
  /** Standardised scores, ascending. */
  z: Float64Array;
  /** log(k/(M + 1)), k = 1..M. */
  y: Float64Array;
  mean: number;
  sd: number;
}

/**
 * Fits -a exp(-b r), a, b > 0, to the points (s_k, log(k/(M + 1))), k = 1..M, by least squares.
 * `sorted` is ascending; scores of -Infinity (unfinished samples) keep their rank and are left out.
 */
export function fitExponential(sorted: Float64Array): ExponentialFit {
  const points = standardise(sorted);
  if (!points) return rejected("fewer than two different scores");
  const start = doubleLogLine(points);
  const [logA = NaN, logB = NaN] = leastSquares(points, model2, jacobian2, start);
  const rmse = residual(points, model2([logA, logB]));
  const logF = (score: number): number => model2([logA, logB])((score - points.mean) / points.sd);
  const { a, b } = unstandardised(logA, logB, points);
  const reason = !Number.isFinite(b)
    ? "the rate is not finite"
    : rmse <= WORST_RMSE
      ? ""
      : `residual ${rmse.toPrecision(3)} nats is above ${WORST_RMSE}`;
  return { accepted: reason === "", reason, a, b, rmse, logF };
}

/**
 * Fits the three-parameter form, for analysis only: no caller uses it as a CDF.
 * `reason` says when it is none: F > 1 at some cached score or in the limit, or no fit.
 */
export function fitExponentialOffset(sorted: Float64Array): OffsetFit {
  const points = standardise(sorted);
  if (!points) return { a: NaN, b: NaN, c: NaN, rmse: Infinity, reason: "fewer than two different scores" };
  const start = [...doubleLogLine(points), 0];
  const [logA = NaN, logB = NaN, c = NaN] = leastSquares(points, model3, jacobian3, start);
  const rmse = residual(points, model3([logA, logB, c]));
  const reason = !Number.isFinite(rmse)
    ? "the fit is not finite"
    : c < 0
      ? `F > 1: log F tends to ${-c}`
      : "";
  return { ...unstandardised(logA, logB, points), c, rmse, reason };
}

type Parameters = readonly number[];

const model2 =
  ([logA = NaN, logB = NaN]: Parameters) =>
  (z: number): number =>
    -Math.exp(logA - Math.exp(logB) * z);

/** d/d(log a) = y and d/d(log b) = -b z y, since y = -exp(log a - b z). */
const jacobian2 = (parameters: Parameters): ((z: number) => number[]) => {
  const [, logB = NaN] = parameters;
  const y = model2(parameters);
  return (z) => [y(z), -Math.exp(logB) * z * y(z)];
};

const model3 = (parameters: Parameters): ((z: number) => number) => {
  const [, , c = NaN] = parameters;
  const y = model2(parameters);
  return (z) => y(z) - c;
};

const jacobian3 = (parameters: Parameters): ((z: number) => number[]) => {
  const partials = jacobian2(parameters);
  return (z) => [...partials(z), -1];
};

function leastSquares(
  { z, y }: Points,
  model: (parameters: number[]) => (z: number) => number,
  jacobianFunction: (parameters: number[]) => (z: number) => number[],
  initialValues: readonly number[],
): number[] {
  const options = { initialValues, jacobianFunction, maxIterations: 60, errorTolerance: 1e-20 };
  return levenbergMarquardt({ x: z, y }, model, options).parameterValues;
}

/** The line log(-log F) = log a - b z through all points: exact for Gumbel quantiles, a good start elsewhere. */
function doubleLogLine({ z, y }: Points): [logA: number, logB: number] {
  const v = y.map((logF) => Math.log(-logF));
  const mean = (values: Float64Array): number => values.reduce((sum, x) => sum + x, 0) / values.length;
  const [meanZ, meanV] = [mean(z), mean(v)];
  const covariance = z.reduce((sum, x, i) => sum + (x - meanZ) * ((v[i] ?? 0) - meanV), 0);
  const variance = z.reduce((sum, x) => sum + (x - meanZ) ** 2, 0);
  const b = -covariance / variance;
  return [meanV + b * meanZ, Math.log(b)];
}

function standardise(sorted: Float64Array): Points | undefined {
  const first = sorted.findIndex((score) => score > -Infinity);
  const scores = first < 0 ? sorted.slice(0, 0) : sorted.slice(first);
  const mean = scores.reduce((sum, x) => sum + x, 0) / scores.length;
  const sd = Math.sqrt(scores.reduce((sum, x) => sum + (x - mean) ** 2, 0) / scores.length);
  if (scores[0] === scores.at(-1)) return undefined;
  const y = scores.map((_, i) => Math.log((first + i + 1) / (sorted.length + 1)));
  return { z: scores.map((x) => (x - mean) / sd), y, mean, sd };
}

function residual({ z, y }: Points, model: (z: number) => number): number {
  const squares = z.reduce((sum, x, i) => sum + ((y[i] ?? 0) - model(x)) ** 2, 0);
  return Math.sqrt(squares / z.length);
}

function unstandardised(logA: number, logB: number, { mean, sd }: Points): { a: number; b: number } {
  const b = Math.exp(logB) / sd;
  return { a: Math.exp(logA + b * mean), b };
}

function rejected(reason: string): ExponentialFit {
  return { accepted: false, reason, a: NaN, b: NaN, rmse: Infinity, logF: () => NaN };
}
