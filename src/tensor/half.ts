/**
 * 16-bit floats on the CPU, bit for bit: IEEE 754 binary16 (F16) and bfloat16 (BF16), to and from binary32.
 * All functions work on bit patterns: a NaN's payload would not survive a trip through a JavaScript number.
 */
import { ShapeError } from "../errors.ts";

/** The binary32 pattern of the binary16 pattern `bits`; exact, NaN payloads included. */
export function f16ToF32Bits(bits: number): number {
  const sign = (bits & 0x8000) << 16;
  const exponent = (bits >>> 10) & 0x1f;
  const mantissa = bits & 0x3ff;
  if (exponent === 0x1f) return (sign | 0x7f800000 | (mantissa << 13)) >>> 0;
  if (exponent !== 0) return (sign | ((exponent + 112) << 23) | (mantissa << 13)) >>> 0;
  if (mantissa === 0) return sign >>> 0;
  // Subnormal: move the leading 1 to bit 10, where a normal number has its hidden bit.
  const shift = Math.clz32(mantissa) - 21;
  return (sign | ((113 - shift) << 23) | (((mantissa << shift) & 0x3ff) << 13)) >>> 0;
}

/** The binary16 pattern nearest to the binary32 pattern `bits`, ties to even; beyond 65504 + half a step: infinity. */
export function f32ToF16Bits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7c00 | nanPayload((bits >>> 13) & 0x3ff, 0x200);
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  // 0x38800000 is 2^-14, the smallest normal binary16: rebias the exponent, then drop 13 bits of mantissa.
  if (magnitude >= 0x38800000) return sign | dropBits(magnitude - 0x38000000, 13);
  if (magnitude < 0x33000000) return sign; // under half of the smallest subnormal, 2^-25
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  return sign | dropBits(mantissa, 126 - (magnitude >>> 23));
}

/** The binary32 pattern of the bfloat16 pattern `bits`; exact. */
export function bf16ToF32Bits(bits: number): number {
  return (bits << 16) >>> 0;
}

/** The bfloat16 pattern nearest to the binary32 pattern `bits`, ties to even. */
export function f32ToBf16Bits(bits: number): number {
  const magnitude = bits & 0x7fffffff;
  const sign = (bits >>> 16) & 0x8000;
  if (magnitude > 0x7f800000) return sign | 0x7f80 | nanPayload((bits >>> 16) & 0x7f, 0x40);
  return sign | dropBits(magnitude, 16);
}

/** Widens `from` (16-bit patterns) into `to`. Throws ShapeError when the lengths differ. */
export function widen(format: "F16" | "BF16", from: Uint16Array, to: Float32Array): void {
  checkLengths(from.length, to.length);
  const bits = new Uint32Array(to.buffer, to.byteOffset, to.length);
  const convert = format === "F16" ? f16ToF32Bits : bf16ToF32Bits;
  for (let i = 0; i < from.length; i++) bits[i] = convert(from[i] as number);
}

/** Rounds `from` into 16-bit patterns in `to`. Throws ShapeError when the lengths differ. */
export function narrow(format: "F16" | "BF16", from: Float32Array, to: Uint16Array): void {
  checkLengths(from.length, to.length);
  const bits = new Uint32Array(from.buffer, from.byteOffset, from.length);
  const convert = format === "F16" ? f32ToF16Bits : f32ToBf16Bits;
  for (let i = 0; i < bits.length; i++) to[i] = convert(bits[i] as number);
}

/** `value / 2^count`, rounded to the nearest integer, ties to even. A carry into the exponent is the right answer. */
function dropBits(value: number, count: number): number {
  const kept = value >>> count;
  const rest = value & ((1 << count) - 1);
  const half = 1 << (count - 1);
  return rest > half || (rest === half && (kept & 1) === 1) ? kept + 1 : kept;
}

/** A NaN whose payload would be cut to zero would read as infinity: it becomes the quiet NaN. */
function nanPayload(payload: number, quiet: number): number {
  return payload === 0 ? quiet : payload;
}

function checkLengths(from: number, to: number): void {
  if (from !== to) throw new ShapeError(`half: ${from} values do not fit an array of ${to}`);
}
