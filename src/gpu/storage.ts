/** Places in GPU memory. */
import type { Device } from "./device.ts";
import { type BufferKind, STORAGE_USAGE } from "./memory.ts";

let serial = 0;

/**
 * A run of bytes that kernels bind. It is `fixed` when a buffer of its own backs it (parameters, inputs,
 * state) and virtual until a Program's plan gives it a place otherwise.
 */
export interface Storage {
  readonly id: number;
  readonly bytes: number;
  readonly label: string;
  /** The buffer and the offset in bytes, once known. */
  place: { readonly buffer: GPUBuffer; readonly offset: number } | undefined;
  /** Set when the place is scratch memory, which other tensors and programs use too: reading it makes no sense. */
  shared?: true;
}

const { ceil } = Math;
/** Kernels bind vec4 arrays: every storage is a whole number of them. */
const pad16 = (bytes: number): number => Math.max(16, ceil(bytes / 16) * 16);

/** A storage that the program being recorded will place. */
export function virtualStorage(bytes: number, label: string): Storage {
  return { id: serial++, bytes: pad16(bytes), label, place: undefined };
}

/** A storage with a zeroed buffer of its own. */
export function fixedStorage(
  device: Device,
  bytes: number,
  label: string,
  kind: BufferKind = "persistent",
): Storage {
  const storage = virtualStorage(bytes, label);
  storage.place = { buffer: device.createBuffer(storage.bytes, STORAGE_USAGE, label, kind), offset: 0 };
  return storage;
}

/** Bytes that a slice of an {@link arena} takes: each starts at a multiple of 256. */
export const sliceBytes = (bytes: number): number => ceil(bytes / 256) * 256;

/**
 * One buffer cut into slices, so that one kernel can walk over all of them (AdamW, gradient norm).
 * @param sizes bytes of each slice; every slice starts at a multiple of 256 bytes
 */
export function arena(
  device: Device,
  sizes: readonly number[],
  label: string,
): { whole: Storage; slices: Storage[] } {
  const offsets: number[] = [];
  let end = 0;
  for (const bytes of sizes) {
    offsets.push(end);
    end += sliceBytes(bytes);
  }
  const whole = fixedStorage(device, end, label);
  const slices = sizes.map((bytes, i) => {
    const slice = virtualStorage(bytes, `${label}[${i}]`);
    slice.place = { buffer: whole.place!.buffer, offset: offsets[i]! };
    return slice;
  });
  return { whole, slices };
}
