/** From the GPU to the host: several slices with one copy, one wait and one reused staging buffer. */
import type { View } from "./call.ts";
import type { Device } from "./device.ts";

const staging = new WeakMap<Device, GPUBuffer>();
const COPY_DST_MAP_READ = 0x0008 | 0x0001;

/**
 * Copies views back, after everything submitted so far.
 * @throws DeviceError when the GPU reported an error since the last look
 */
export async function readStorage(device: Device, views: readonly View[]): Promise<ArrayBuffer[]> {
  device.check();
  const sizes = views.map((view) => view.bytes ?? view.storage.bytes);
  const starts = sizes.map((_, i) => sizes.slice(0, i).reduce((sum, n) => sum + Math.ceil(n / 8) * 8, 0));
  const total = Math.max(8, (starts.at(-1) ?? 0) + Math.ceil((sizes.at(-1) ?? 0) / 8) * 8);
  const target = take(device, total);
  const encoder = device.gpu.createCommandEncoder({ label: "readback" });
  views.forEach((view, i) => {
    const { buffer, offset } = view.storage.place!;
    encoder.copyBufferToBuffer(buffer, offset + (view.offset ?? 0), target, starts[i]!, sizes[i]!);
  });
  device.gpu.queue.submit([encoder.finish()]);
  await device.drain();
  await target.mapAsync(0x0001, 0, total).catch(() => undefined);
  device.check();
  const mapped = target.getMappedRange(0, total);
  const out = sizes.map((n, i) => mapped.slice(starts[i]!, starts[i]! + n));
  target.unmap();
  give(device, target);
  return out;
}

/** The staging buffer is taken while in use, so that two reads at once do not meet in it. */
function take(device: Device, bytes: number): GPUBuffer {
  const kept = staging.get(device);
  if (kept) staging.delete(device);
  if (kept && kept.size >= bytes) return kept;
  if (kept) device.destroyBuffer(kept);
  return device.createBuffer(Math.max(bytes, 65536), COPY_DST_MAP_READ, "readback");
}

function give(device: Device, buffer: GPUBuffer): void {
  if (staging.has(device)) device.destroyBuffer(buffer);
  else staging.set(device, buffer);
}
