/** The one-sample Kolmogorov distribution at finite size, which scipy's `asymp` method uses (`kstwo`). */

type Matrix = Float64Array;

/**
 * P(D_n >= d) for n samples of a continuous distribution, absolute error about 1e-14.
 * Source: Marsaglia, Tsang, Wang, "Evaluating Kolmogorov's distribution", J. Stat. Software 8(18), 2003: with
 * k = ceil(n d) and h = k - n d, P(D_n < d) = n!/n^n (H^n)_{kk} for a (2k-1) x (2k-1) matrix H.
 */
export function kolmogorovSurvival(d: number, n: number): number {
  if (d <= 0) return 1;
  if (d >= 1) return 0;
  const k = Math.floor(n * d) + 1;
  const size = 2 * k - 1;
  const { matrix, exponent } = power(transition(k, k - n * d), size, n);
  let value = matrix[(k - 1) * size + k - 1] ?? 0;
  let scale = exponent;
  for (let i = 1; i <= n; i++) {
    value *= i / n;
    if (value > 0 && value < 1e-140) {
      value *= 1e140;
      scale -= 140;
    }
  }
  return Math.min(1, Math.max(0, 1 - value * 10 ** scale));
}

/** H of the paper, rows concatenated: 1/(i-j+1)! below, with powers of h off the first column and last row. */
function transition(k: number, h: number): Matrix {
  const size = 2 * k - 1;
  const inverseFactorial = [1];
  for (let i = 1; i <= size; i++) inverseFactorial.push((inverseFactorial[i - 1] ?? 0) / i);
  const matrix = new Float64Array(size * size);
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < size; j++) {
      const order = i - j + 1;
      if (order < 0) continue;
      const corner = i === size - 1 && j === 0 && h > 0.5 ? (2 * h - 1) ** size : 0;
      const cut = (j === 0 ? h ** (i + 1) : 0) + (i === size - 1 ? h ** (size - j) : 0);
      matrix[i * size + j] = (1 - cut + corner) * (inverseFactorial[order] ?? 0);
    }
  }
  return matrix;
}

/** matrix^n times 10^-exponent, by squaring; rescaled so that no entry overflows. */
function power(matrix: Matrix, size: number, n: number): { matrix: Matrix; exponent: number } {
  if (n === 1) return { matrix, exponent: 0 };
  const half = power(matrix, size, Math.floor(n / 2));
  let result = multiply(half.matrix, half.matrix, size);
  let exponent = 2 * half.exponent;
  if (n % 2 === 1) result = multiply(matrix, result, size);
  if ((result[(size >> 1) * size + (size >> 1)] ?? 0) > 1e140) {
    result = result.map((x) => x * 1e-140);
    exponent += 140;
  }
  return { matrix: result, exponent };
}

function multiply(a: Matrix, b: Matrix, size: number): Matrix {
  const out = new Float64Array(size * size);
  for (let i = 0; i < size; i++) {
    for (let k = 0; k < size; k++) {
      const x = a[i * size + k] ?? 0;
      for (let j = 0; j < size; j++)
        out[i * size + j] = (out[i * size + j] ?? 0) + x * (b[k * size + j] ?? 0);
    }
  }
  return out;
}
