/** Tensors in parts: rows from .. to - 1 as a tensor of their own over the same memory, and how to choose the parts. */
import type { Device } from "../gpu/device.ts";
import { sizeOf, Tensor } from "../tensor/tensor.ts";

/** Rows or columns `from` to `to - 1`. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/** A part that starts at a multiple of so many elements may be bound on every adapter (256 bytes). */
const ALIGNED = 64;

/** Rows of x [R, ...] as a tensor over the same memory, cut off from the gradient. */
export function rowsIn(x: Tensor, { from, to }: Span): Tensor {
  const [, ...rest] = x.shape;
  const width = sizeOf(rest);
  return new Tensor(x.device, [to - from, ...rest], x.dtype, x.storage, x.offset + from * width * 4);
}

/** 0 .. n - 1 in parts of `most` (the last may be shorter). */
export function spansOf(n: number, most: number): Span[] {
  return Array.from({ length: Math.ceil(n / most) }, (_, i) => ({
    from: i * most,
    to: Math.min(n, (i + 1) * most),
  }));
}

/** The fewest parts of about equal length, each but the last a multiple of `unit`, none above `most` (itself one). */
export function evenSpans(n: number, most: number, unit: number): Span[] {
  const parts = Math.ceil(n / most);
  return spansOf(n, Math.ceil(n / parts / unit) * unit);
}

/** The least number of rows of `width` elements whose end may be bound: part boundaries are multiples of it. */
export function rowUnit(width: number): number {
  let unit = ALIGNED;
  while (unit > 1 && ((unit / 2) * width) % ALIGNED === 0) unit /= 2;
  return unit;
}

/** The most rows of `width` elements, a multiple of their {@link rowUnit}, that one binding holds on this device. */
export function rowsInBinding(device: Device, width: number): number {
  const unit = rowUnit(width);
  const rows = Math.floor(device.limits.maxStorageBufferBindingSize / (4 * width));
  return Math.max(unit, Math.floor(rows / unit) * unit);
}
