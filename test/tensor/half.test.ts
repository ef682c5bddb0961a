import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  bf16ToF32Bits,
  f16ToF32Bits,
  f32ToBf16Bits,
  f32ToF16Bits,
  narrow,
  widen,
} from "../../src/tensor/half.ts";
import { ShapeError } from "../../src/errors.ts";

const words = new Uint32Array(1);
const floats = new Float32Array(words.buffer);
const valueOf = (bits: number): number => {
  words[0] = bits;
  return floats[0] as number;
};
const bitsOf = (value: number): number => {
  floats[0] = value;
  return words[0] as number;
};

describe("binary16", () => {
  it("round trips all 65536 patterns", () => {
    const wrong = Array.from({ length: 65536 }, (_, h) => h).filter(
      (h) => f32ToF16Bits(f16ToF32Bits(h)) !== h,
    );
    expect(wrong).toEqual([]);
  });

  it("widens every finite pattern to the value of its definition", () => {
    const wrong: number[] = [];
    for (let h = 0; h < 0x7c00; h++) {
      const [exponent, mantissa] = [h >> 10, h & 1023];
      const value = exponent === 0 ? mantissa * 2 ** -24 : (1 + mantissa / 1024) * 2 ** (exponent - 15);
      if (valueOf(f16ToF32Bits(h)) !== value || valueOf(f16ToF32Bits(h | 0x8000)) !== -value) wrong.push(h);
    }
    expect(wrong).toEqual([]);
    expect(valueOf(f16ToF32Bits(0x7c00))).toBe(Infinity);
    expect(valueOf(f16ToF32Bits(0xfe00))).toBeNaN();
  });

  it("rounds every midpoint to even and its neighbours to the nearer side", () => {
    const wrong: number[] = [];
    for (let h = 0; h < 0x7bff; h++) {
      const middle = bitsOf((valueOf(f16ToF32Bits(h)) + valueOf(f16ToF32Bits(h + 1))) / 2);
      const even = h % 2 === 0 ? h : h + 1;
      const got = [middle - 1, middle, middle + 1].map(f32ToF16Bits);
      if (got[0] !== h || got[1] !== even || got[2] !== h + 1) wrong.push(h);
      if (f32ToF16Bits((middle | 0x80000000) >>> 0) !== (even | 0x8000)) wrong.push(-h);
    }
    expect(wrong).toEqual([]);
  });

  it("overflows at 65520 and keeps NaNs NaN", () => {
    expect(f32ToF16Bits(bitsOf(65519.996))).toBe(0x7bff);
    expect(f32ToF16Bits(bitsOf(65520))).toBe(0x7c00);
    expect(f32ToF16Bits(bitsOf(-1e30))).toBe(0xfc00);
    expect(f32ToF16Bits(0x7f800001)).toBe(0x7e00);
  });
});

describe("bfloat16", () => {
  it("round trips all 65536 patterns", () => {
    const all = Array.from({ length: 65536 }, (_, h) => h);
    expect(all.filter((h) => f32ToBf16Bits(bf16ToF32Bits(h)) !== h)).toEqual([]);
  });

  it("rounds to nearest even", () => {
    expect(f32ToBf16Bits(0x3f808000)).toBe(0x3f80);
    expect(f32ToBf16Bits(0x3f818000)).toBe(0x3f82);
    expect(f32ToBf16Bits(0x3f808001)).toBe(0x3f81);
    expect(f32ToBf16Bits(0x7f7fffff)).toBe(0x7f80);
    expect(f32ToBf16Bits(0xff800001)).toBe(0xffc0);
  });
});

it("arrays: narrowing errs by at most half a unit in the last place", () => {
  fc.assert(
    fc.property(fc.float32Array({ minLength: 1, noNaN: true, min: -60000, max: 60000 }), (values) => {
      for (const [format, relative] of [
        ["F16", 2 ** -11],
        ["BF16", 2 ** -8],
      ] as const) {
        const half = new Uint16Array(values.length);
        const back = new Float32Array(values.length);
        narrow(format, values, half);
        widen(format, half, back);
        const smallest = format === "F16" ? 2 ** -25 : 2 ** -134;
        const close = back.every((v, i) => {
          const x = values[i] as number;
          return Math.abs(v - x) <= Math.max(smallest, Math.abs(x) * relative);
        });
        expect(close, `${format} of ${values.join(" ")}`).toBe(true);
      }
    }),
  );
});

it("refuses arrays of different lengths", () => {
  expect(() => widen("F16", new Uint16Array(3), new Float32Array(2))).toThrow(ShapeError);
});
