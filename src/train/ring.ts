/** Small results of many steps, kept on the GPU until one readback takes them all. */
import type { Device } from "../gpu/device.ts";
import { persistent, readAll, type Tensor } from "../tensor/tensor.ts";

/** Slots for copies of tensors of one size. */
export interface Ring {
  /** Copies `from` into slot `slot`, after everything submitted so far. */
  keep(slot: number, from: Tensor): void;
  readonly values: Tensor;
  dispose(): void;
}

/** `slots` places for tensors of `width` floats. */
export function createRing(device: Device, slots: number, width: number, label: string): Ring {
  const values = persistent(device, [slots, width], "f32", label);
  return {
    values,
    keep(slot, from) {
      const [source, target] = [from.storage.place!, values.storage.place!];
      const encoder = device.gpu.createCommandEncoder({ label });
      encoder.copyBufferToBuffer(
        source.buffer,
        source.offset + from.offset,
        target.buffer,
        target.offset + slot * width * 4,
        width * 4,
      );
      device.gpu.queue.submit([encoder.finish()]);
    },
    dispose: () => device.destroyBuffer(values.storage.place!.buffer),
  };
}

/** A sum of numbers [1] that stay on the GPU until it is asked for. */
export interface Tally {
  /** Adds `x` as it is after everything submitted so far. Waits for the GPU only when there is no more room. */
  add(x: Tensor): Promise<void>;
  /** The sum since the last call, added up in float64 in the order of the calls. */
  take(): Promise<number>;
  dispose(): void;
}

/** @param slots numbers between two readbacks, at most */
export function createTally(device: Device, label: string, slots = 128): Tally {
  const ring = createRing(device, slots, 1, label);
  let [count, sum] = [0, 0];
  const flush = async (): Promise<void> => {
    const values = await ring.values.read();
    sum = values.subarray(0, count).reduce((total, x) => total + x, sum);
    count = 0;
  };
  return {
    async add(x) {
      if (count === slots) await flush();
      ring.keep(count++, x);
    },
    async take() {
      await flush();
      const total = sum;
      sum = 0;
      return total;
    },
    dispose: () => ring.dispose(),
  };
}

/** The values of several rings, with one copy and one wait. */
export function readRings(device: Device, rings: readonly Ring[]): Promise<Float32Array[]> {
  return readAll(
    device,
    rings.map((ring) => ring.values),
  );
}
