/**
 * Counter-based random numbers: every draw is a pure function of (seed, stream, position), so a resumed run continues
 * bit for bit, and a sample does not depend on what else was drawn or on the batch it was drawn in.
 * Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (Philox4x32-10).
 */

import { ConfigError } from "../errors.ts";
import { hashText } from "./hash.ts";

/** Four unsigned 32-bit words. */
export type Words4 = readonly [number, number, number, number];

const ROUNDS = 10;
const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;

/** Philox4x32-10: four random 32-bit words from a 128-bit counter and a 64-bit key (words unsigned, least first). */
export function philox4x32(counter: Words4, key: readonly [number, number]): Words4 {
  const block = new Uint32Array(4);
  philoxInto(block, ...counter, ...key);
  return [block[0]!, block[1]!, block[2]!, block[3]!];
}

/** The same into `block`: models have hundreds of millions of weights, and an array for each took most of the time. */
function philoxInto(
  block: Uint32Array,
  c0: number,
  c1: number,
  c2: number,
  c3: number,
  k0: number,
  k1: number,
): void {
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, c0);
    const high1 = multiplyHigh(MULTIPLIER_1, c2);
    const low0 = Math.imul(MULTIPLIER_0, c0);
    const low1 = Math.imul(MULTIPLIER_1, c2);
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1 >>> 0;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0 >>> 0;
    k0 = (k0 + WEYL_0) >>> 0;
    k1 = (k1 + WEYL_1) >>> 0;
  }
  block[0] = c0;
  block[1] = c1;
  block[2] = c2;
  block[3] = c3;
}

/** A stream of random numbers; `position` (32-bit draws so far) is its whole state and may be set. */
export interface Random {
  /** Number of 32-bit words drawn; set it to continue from a checkpoint. */
  position: number;
  /** The next word, 0 <= x < 2^32. One draw. */
  uint32(): number;
  /** Uniform in [0, 1) with 53 random bits. Two draws. */
  float(): number;
  /** Standard normal (Box-Muller, cosine branch only, so that no spare is left outside `position`). Four draws. */
  normal(): number;
  /** Uniform integer in [0, n), unbiased by rejection; 1 <= n <= 2^32. */
  integer(n: number): number;
  /** Fisher-Yates in place; returns the same array. */
  shuffle<T>(array: T[]): T[];
  /** A random order of 0 .. n-1. */
  permutation(n: number): number[];
}

/**
 * The stream named `stream` of `seed`, from `position` on. Streams of one seed are independent.
 * @throws ConfigError for a seed, numeric stream or position that is not a non-negative safe integer.
 */
export function createRandom(seed: number, stream: number | string, position = 0): Random {
  const [key0, key1] = words64("seed", seed);
  const [name0, name1] = typeof stream === "string" ? namedStream(stream) : words64("stream", stream);
  const block = new Uint32Array(4);
  let blockIndex = -1;
  let at = wholeNumber("position", position);

  function uint32(): number {
    const index = Math.floor(at / 4);
    if (index !== blockIndex) {
      philoxInto(block, index >>> 0, Math.floor(index / 2 ** 32), name0, name1, key0, key1);
      blockIndex = index;
    }
    return block[at++ % 4]!;
  }
  const draws = drawsFrom(uint32);
  return {
    get position(): number {
      return at;
    },
    set position(value: number) {
      at = wholeNumber("position", value);
    },
    uint32,
    ...draws,
  };
}

function drawsFrom(uint32: () => number): Omit<Random, "position" | "uint32"> {
  const float = (): number => ((uint32() >>> 5) * 2 ** 26 + (uint32() >>> 6)) / 2 ** 53;
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - float())) * Math.cos(2 * Math.PI * float());
  const integer = (n: number): number => boundedInteger(uint32, n);
  const shuffle = <T>(array: T[]): T[] => {
    for (let i = array.length - 1; i > 0; i--) {
      const j = integer(i + 1);
      [array[i], array[j]] = [array[j] as T, array[i] as T];
    }
    return array;
  };
  const permutation = (n: number): number[] => shuffle(Array.from({ length: n }, (_, i) => i));
  return { float, normal, integer, shuffle, permutation };
}

function boundedInteger(uint32: () => number, n: number): number {
  if (!Number.isInteger(n) || n < 1 || n > 2 ** 32) {
    throw new ConfigError(`random.integer: n is ${n}; expected an integer from 1 to 2^32`);
  }
  const limit = 2 ** 32 - (2 ** 32 % n);
  for (;;) {
    const word = uint32();
    if (word < limit) return word % n;
  }
}

/** High word of a 64-bit product, from 16-bit halves: a double holds only 53 bits. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const carry = (middle & 0xffff) + aLow * bHigh;
  return (aHigh * bHigh + ((middle / 65536) >>> 0) + ((carry / 65536) >>> 0)) >>> 0;
}

function words64(what: string, value: number): [number, number] {
  const whole = wholeNumber(what, value);
  return [whole >>> 0, Math.floor(whole / 2 ** 32)];
}

function wholeNumber(what: string, value: number): number {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new ConfigError(`createRandom: ${what} is ${value}; expected a non-negative integer below 2^53`);
  }
  return value;
}

/** The top bit keeps named streams apart from numbered ones, whose high word is below 2^21. */
function namedStream(name: string): [number, number] {
  const [high, low] = hashText(name);
  return [low, (high | 0x80000000) >>> 0];
}
