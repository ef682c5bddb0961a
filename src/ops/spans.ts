/** Tensors in parts: rows from .. to - 1 as a tensor of their own over the same memory, and how to choose the parts. */
import { sizeOf, Tensor, WIDTH } from "../tensor/tensor.ts";

/** Rows or columns `from` to `to - 1`. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/** A part that starts at a multiple of so many bytes may be bound on every adapter. */
const ALIGNED = 256;

const widthOf = ({ shape, dtype }: Tensor): number => sizeOf(shape.slice(1)) * WIDTH[dtype];

/** Rows of x [R, ...] as a tensor over the same memory, cut off from the gradient. */
export function rowsIn(x: Tensor, { from, to }: Span): Tensor {
  const shape = [to - from, ...x.shape.slice(1)];
  return new Tensor(x.device, shape, x.dtype, x.storage, x.offset + from * widthOf(x));
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

/** Parts of x begin at multiples of so many rows. */
export function rowUnit(x: Tensor): number {
  let unit = ALIGNED;
  while (unit > 1 && ((unit / 2) * widthOf(x)) % ALIGNED === 0) unit /= 2;
  return unit;
}

/** The most rows of x, a multiple of {@link rowUnit}, that one binding holds on this device. */
export function rowsInBinding(x: Tensor): number {
  const unit = rowUnit(x);
  const rows = Math.floor(x.device.bindingBytes / widthOf(x));
  return Math.max(unit, Math.floor(rows / unit) * unit);
}
