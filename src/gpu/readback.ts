/** From the GPU to the host: several slices with one copy, one wait and one reused staging buffer. */
import { DeviceError, KernelError, messageOf } from "../errors.ts";
import { bytesOf, type View } from "./call.ts";
import type { Device } from "./device.ts";
import { strayed } from "./plan.ts";

const staging = new WeakMap<Device, GPUBuffer>();
const COPY_DST_MAP_READ = 0x0008 | 0x0001;
const MAP_READ = 0x0001;
/** The staging buffer's first size; it grows when more is read at once. */
const SMALLEST = 65536;

/** Makes the staging buffer before the first read, so that memory is known when programs are recorded. */
export function prepareReadback(device: Device): void {
  if (!staging.has(device)) give(device, take(device, SMALLEST));
}

/**
 * Copies views back, after everything submitted so far.
 * @throws DeviceError when the GPU reported an error since the last look
 */
export async function readStorage(device: Device, views: readonly View[]): Promise<ArrayBuffer[]> {
  for (const work of device.beforeRead.splice(0)) await work();
  device.check();
  const stray = views.find(({ storage }) => storage.shared || !storage.place);
  if (stray) throw new KernelError(`read: ${strayed(stray.storage)}`);
  const sizes = views.map(bytesOf);
  let total = 0;
  const starts = sizes.map((bytes) => (total += Math.ceil(bytes / 8) * 8) - Math.ceil(bytes / 8) * 8);
  const target = take(device, total);
  const encoder = device.gpu.createCommandEncoder({ label: "readback" });
  views.forEach(({ storage, offset = 0 }, i) => {
    const { buffer, offset: start } = storage.place!;
    encoder.copyBufferToBuffer(buffer, start + offset, target, starts[i]!, sizes[i]!);
  });
  device.gpu.queue.submit([encoder.finish()]);
  try {
    const mapped = await map(device, target, Math.max(8, total));
    const out = sizes.map((bytes, i) => mapped.slice(starts[i]!, starts[i]! + bytes));
    target.unmap();
    give(device, target);
    return out;
  } catch (error) {
    device.destroyBuffer(target);
    throw error;
  }
}

async function map(device: Device, target: GPUBuffer, bytes: number): Promise<ArrayBuffer> {
  if (device.spins) await device.drain();
  const failure = await target.mapAsync(MAP_READ, 0, bytes).then(() => undefined, messageOf);
  device.check();
  if (failure === undefined) return target.getMappedRange(0, bytes);
  // A lost device is often the reason, and may be announced a moment after the refusal.
  await Promise.race([device.gpu.lost, new Promise((resolve) => setTimeout(resolve, 200))]);
  device.check();
  throw new DeviceError(`device ${device.name}: results could not be read back: ${failure}`);
}

/** The staging buffer is taken while in use, so that two reads at once do not meet in it. */
function take(device: Device, bytes: number): GPUBuffer {
  const kept = staging.get(device);
  staging.delete(device);
  if (kept && kept.size >= bytes) return kept;
  if (kept) device.destroyBuffer(kept);
  return device.createBuffer(Math.max(bytes, SMALLEST), COPY_DST_MAP_READ, "readback", "readback");
}

function give(device: Device, buffer: GPUBuffer): void {
  if (staging.has(device)) device.destroyBuffer(buffer);
  else staging.set(device, buffer);
}
