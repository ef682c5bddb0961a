/**
 * The Best-of-N distribution in closed form, one scalar a sequence, float64. Names: `logF` = log P(score' < score) under
 * the reference, `logProbRef` = log-probability of the response under the reference (nats, response tokens only), n real.
 *
 * Amini, Vieira, Ash, Cotterell, "Variational Best-of-N Alignment", ICLR 2025:
 *   Eq. 4, 11   pi_bon = (F + pi_ref)^n - F^n
 *   Eq. 8       L  = (n - 1) log F                        (- KL(policy || reference))
 *   Eq. 14d     L + log n is tighter and still below J
 *   Eq. 16      L1 = gamma E[log F] - alpha H - beta_1 KL, for analysis only
 */

import { ConfigError } from "../../errors.ts";

export { bonKlBound, bonWinRate } from "../../evaluate/bon-curve.ts";

/** e^-37 is under half a unit in the last place of 1: corrections below it do not show in a double. */
const NEGLIGIBLE = -37;

/**
 * R = log pi_bon - log pi_ref, the exact vBoN reward (Eq. 4, 5). `logF` in [-Infinity, 0], `logProbRef` <= 0.
 * n = 1 gives 0; F = 0 gives (n - 1) log pi_ref. Relative error about 2e-15, for any n >= 1 and any length of response.
 * @throws ConfigError for n < 1 or not finite, or an argument that is not a log-probability.
 */
export function bonLogRatio(n: number, logF: number, logProbRef: number): number {
  checkArguments(n, logF, logProbRef);
  if (n === 1) return 0;
  if (logF === -Infinity) return (n - 1) * logProbRef;
  const logPower = logPowerDifference(n, logF, logProbRef);
  return logPower === undefined ? Math.log(n) + (n - 1) * logF : logPower - logProbRef;
}

/** log pi_bon of a response (Eq. 4). Same arguments, accuracy and errors as {@link bonLogRatio}. */
export function logPiBon(n: number, logF: number, logProbRef: number): number {
  checkArguments(n, logF, logProbRef);
  if (n === 1) return logProbRef;
  if (logF === -Infinity) return n * logProbRef;
  return logPowerDifference(n, logF, logProbRef) ?? Math.log(n) + (n - 1) * logF + logProbRef;
}

/**
 * log[(F + p)^n - F^n] = n log(F + p) + log(1 - e^-w), w = n log(1 + p/F), for F > 0; undefined where w is so small that
 * the leading term n F^(n-1) p is all a double can hold (the naive difference is 0 from p <= e^-40 on).
 */
function logPowerDifference(n: number, logF: number, logProbRef: number): number | undefined {
  const u = logProbRef - logF;
  const growth = u <= 0 ? Math.log1p(Math.exp(u)) : u + Math.log1p(Math.exp(-u));
  const w = n * growth;
  if (Math.log(w) < NEGLIGIBLE) return undefined;
  const logRemainder = w > Math.LN2 ? Math.log1p(-Math.exp(-w)) : Math.log(-Math.expm1(-w));
  return n * logSumExp(logF, logProbRef) + logRemainder;
}

/**
 * R with the response put in the pool of M cached scores (alignment.md 1.4, "pooled"): kL = `below`, kR = `atMost`.
 *   log[((kR + 1)/(M + 1))^n - (kL/(M + 1))^n] - log[(kR - kL + 1)/(M + 1)]
 * Needs no log pi_ref, is exact for ties, and averages e^R to exactly 1 over the M + 1 ranks of an untied pool.
 * @throws ConfigError for n < 1, or counts that do not satisfy 0 <= below <= atMost <= size.
 */
export function pooledLogRatio(n: number, below: number, atMost: number, size: number): number {
  checkN(n);
  if (!(below >= 0 && below <= atMost && atMost <= size)) {
    throw new ConfigError(`pooledLogRatio: counts ${below} <= ${atMost} <= ${size} do not hold`);
  }
  const logAtMost = Math.log((atMost + 1) / (size + 1));
  const logShare = Math.log((atMost - below + 1) / (size + 1));
  const lost = (below / (atMost + 1)) ** n;
  return n * logAtMost + Math.log1p(-lost) - logShare;
}

/** Integrand of L (Eq. 8) without the KL term: (n - 1) log F; 0 when n = 1, also where F = 0. */
export function lowerBoundReward(n: number, logF: number): number {
  checkN(n);
  return n === 1 ? 0 : (n - 1) * logF;
}

/** Integrand of the non-strict bound without the KL term: (n - 1) log(F + pi_ref). L <= Lle <= J, finite everywhere. */
export function lowerBoundLeReward(n: number, logF: number, logProbRef: number): number {
  checkArguments(n, logF, logProbRef);
  return n === 1 ? 0 : (n - 1) * logSumExp(logF, logProbRef);
}

/**
 * Integrand of L1 (Eq. 16) without its -log pi_theta: gamma log F + beta_1 log pi_ref, with gamma = n(n-1)/2 and
 * beta_1 = n(n+1)/2. Hopelessly loose: an analysis quantity, not an objective.
 */
export function looseBoundIntegrand(n: number, logF: number, logProbRef: number): number {
  checkArguments(n, logF, logProbRef);
  const tilt = n === 1 ? 0 : ((n * (n - 1)) / 2) * logF;
  return tilt + ((n * (n + 1)) / 2) * logProbRef;
}

/**
 * n = 1/beta + 1: L / (n - 1) is the KL-regularised objective with reward log F and this beta (Eq. 8). Real, never
 * truncated: int(1/beta) turns beta = 1/99 into 99.
 * @throws ConfigError unless beta > 0.
 */
export function nFromBeta(beta: number): number {
  if (!(beta > 0)) throw new ConfigError(`nFromBeta: beta is ${beta}; expected a number above 0`);
  return 1 / beta + 1;
}

/** beta = 1/(n - 1), Infinity at n = 1. @throws ConfigError for n < 1. */
export function betaFromN(n: number): number {
  checkN(n);
  return 1 / (n - 1);
}

/** log(e^a + e^b); -Infinity stands for probability 0. */
export function logSumExp(a: number, b: number): number {
  const high = Math.max(a, b);
  return high === -Infinity ? high : high + Math.log1p(Math.exp(Math.min(a, b) - high));
}

function checkArguments(n: number, logF: number, logProbRef: number): void {
  checkN(n);
  if (!(logF <= 0)) throw new ConfigError(`Best-of-N: log F is ${logF}; expected a number in [-Infinity, 0]`);
  if (!(logProbRef <= 0 && logProbRef > -Infinity)) {
    throw new ConfigError(
      `Best-of-N: log pi_ref is ${logProbRef}; expected a finite log-probability, at most 0`,
    );
  }
}

function checkN(n: number): void {
  if (!(n >= 1 && n < Infinity))
    throw new ConfigError(`Best-of-N: n is ${n}; expected a real number of at least 1`);
}

/**
 * c_n = (n - 1) (1 + 1/2 + … + 1/(n - 1)): the mean of log (pi_bon / pi_ref) of the best of n minus that of the worst, on
 * continuous scores: log (pi_bon / pi_ref) = log n + (n - 1) log U with U uniform, and E[log U_max] - E[log U_min] over n
 * draws is that sum. c_1 = 0, c_2 = 1, c_8 = 18.15. Source: Gui et al. 2024, arXiv 2406.00832, whose beta_n is 1/(2 c_n).
 * @throws ConfigError when n is no whole number of at least 1
 */
export function bonMargin(n: number): number {
  if (!(Number.isInteger(n) && n >= 1))
    throw new ConfigError(`bonMargin: n is ${n}; expected a whole number of at least 1`);
  let harmonic = 0;
  for (let k = 1; k < n; k++) harmonic += 1 / k;
  return (n - 1) * harmonic;
}
