/** What the JavaScript peers share: inputs, the check of a product, Dawn. */

/** @returns a float of (-1, 1) that is the same every time, by a linear congruential generator */
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
}

const seedOf = (name) => [...name].reduce((h, c) => Math.imul(h, 31) + c.charCodeAt(0), 7);

/** Roughly normal values. */
export function normals(name, size) {
  const next = generator(seedOf(name));
  return Float32Array.from({ length: size }, () => next() + next() + next());
}

/** Random token ids. */
export function randomIds(size, vocabulary) {
  const next = generator(5);
  return Int32Array.from({ length: size }, () => Math.floor(((next() + 1) / 2) * vocabulary));
}

/**
 * Compares 200 entries with float64.
 * @returns the largest error, relative to the largest value
 * @throws Error when it is too large
 */
export function checkMatmul(got, x, y, [M, N, K], mode) {
  let [error, largest] = [0, 1e-30];
  for (let i = 0; i < 200; i++) {
    const [m, n] = [(i * 7919) % M, (i * 104729) % N];
    let sum = 0;
    for (let k = 0; k < K; k++)
      sum += x[mode === "tn" ? k * M + m : m * K + k] * y[mode === "nt" ? n * K + k : k * N + n];
    error = Math.max(error, Math.abs(got[m * N + n] - sum));
    largest = Math.max(largest, Math.abs(sum));
  }
  if (!(error / largest < 1e-4))
    throw new Error(`matmul ${mode} ${M}x${N}x${K}: relative error ${error / largest}`);
  return error / largest;
}

let held; // Dawn dies with the object from create()

/** Dawn's entry to WebGPU, with its globals in place. */
export async function dawn() {
  const { create, globals } = await import("webgpu");
  for (const [key, value] of Object.entries(globals))
    if (!(key in globalThis))
      Object.defineProperty(globalThis, key, { value, configurable: true, writable: true });
  held = create([]);
  return held;
}
