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

/** The values of several rings, with one copy and one wait. */
export function readRings(device: Device, rings: readonly Ring[]): Promise<Float32Array[]> {
  return readAll(
    device,
    rings.map((ring) => ring.values),
  );
}
