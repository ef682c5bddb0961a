/** Goldens: JSON under test/fixtures, where the strings "Infinity", "-Infinity" and "NaN" stand for numbers. */

import { readFileSync } from "node:fs";
import { expect } from "vitest";

/** A fixture as `T`, with non-finite numbers restored. */
export function golden<T>(name: string): T {
  const text = readFileSync(new URL(`../fixtures/${name}`, import.meta.url), "utf8");
  return JSON.parse(text, (_, value: unknown) =>
    value === "Infinity" || value === "-Infinity" || value === "NaN" ? Number(value) : value,
  ) as T;
}

/** Asserts |got - want| <= relative * max(1, |want|), or equality where `want` is not finite. */
export function expectClose(got: number, want: number, relative: number, what = "value"): void {
  if (!Number.isFinite(want)) return expect(got, what).toBe(want);
  const tolerance = relative * Math.max(1, Math.abs(want));
  const message = `${what}: got ${got}, want ${want}, error ${Math.abs(got - want)}, tolerance ${tolerance}`;
  expect(Math.abs(got - want) <= tolerance, message).toBe(true);
}

/** {@link expectClose} element by element, lengths included. */
export function expectAllClose(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  relative: number,
  what = "list",
): void {
  expect(got.length, `${what}: length`).toBe(want.length);
  for (let i = 0; i < want.length; i++) expectClose(got[i] ?? NaN, want[i] ?? NaN, relative, `${what}[${i}]`);
}
