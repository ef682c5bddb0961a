/** What an optimizer works on: all trained values in one buffer, all gradients in another, cut into blocks. */
import type { View } from "../gpu/call.ts";
import type { Device } from "../gpu/device.ts";
import type { Storage } from "../gpu/storage.ts";
import { persistent, type Shape, sizeOf, type Tensor } from "../tensor/tensor.ts";

/** One trained tensor in the arena. */
export interface Slot {
  readonly name: string;
  readonly shape: Shape;
  /** Bytes from the start of the arena, a multiple of 256; the same for values, gradients and moments. */
  readonly offset: number;
  /** Whether weight decay applies to it. */
  readonly decay: boolean;
}

/** The trained tensors of a model, side by side. */
export interface TrainedArena {
  readonly values: Storage;
  readonly grads: Storage;
  readonly slots: readonly Slot[];
}

/** A part of the arena that one binding can hold, and the blocks in it. */
export interface Window {
  readonly offset: number;
  readonly bytes: number;
  /** Its first block's row in the table, and how many follow. */
  readonly first: number;
  readonly count: number;
}

/** The arena in blocks of one workgroup each: rows of the table are [first vec4 in the window, elements, decay, 0]. */
export interface Blocks {
  readonly windows: readonly Window[];
  readonly table: readonly (readonly [number, number, number, number])[];
}

/** Elements a workgroup handles: 16 vec4s a thread. */
const BLOCK = 4096;

/**
 * Cuts slots into blocks, and the blocks into windows of at most `maxBytes`. Blocks never cross slots, so that
 * what lies between two tensors (padding, garbage in the last lanes) is never read.
 */
export function blocksOf(slots: readonly Slot[], maxBytes: number): Blocks {
  const windows: { offset: number; bytes: number; first: number; count: number }[] = [];
  const table: [number, number, number, number][] = [];
  for (const { shape, offset, decay } of slots) {
    const size = sizeOf(shape);
    for (let done = 0; done < size; done += BLOCK) {
      const at = offset + done * 4;
      const elements = Math.min(BLOCK, size - done);
      const end = at + Math.ceil(elements / 4) * 16;
      let window = windows.at(-1);
      if (!window || end - window.offset > maxBytes) {
        window = { offset: at, bytes: 0, first: table.length, count: 0 };
        windows.push(window);
      }
      window.bytes = end - window.offset;
      window.count++;
      table.push([(at - window.offset) / 16, elements, decay ? 1 : 0, 0]);
    }
  }
  return { windows, table };
}

/** The table on the GPU. */
export function uploadTable(device: Device, { table }: Blocks): Tensor {
  const tensor = persistent(device, [Math.max(1, table.length), 4], "u32", "blocks");
  if (table.length > 0) tensor.write(table.flat());
  return tensor;
}

/** The bytes of `window` in one of the arena's buffers. */
export function windowOf(storage: Storage, { offset, bytes }: Window): View {
  return { storage, offset, bytes };
}
