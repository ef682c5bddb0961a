/** Time of work on the GPU, by the wall and by the processor. */
import type { Device } from "../gpu/device.ts";
import { cpuTime } from "../host.ts";

/** Milliseconds. */
export interface Timing {
  readonly wall: number;
  /** Processor time of all threads, where those run the shaders; 0 on hardware, whose work they do not see. */
  readonly cpu: number;
}

/** Submits and waits until all is done. */
export async function timePortion(device: Device, submit: () => void | Promise<void>): Promise<Timing> {
  const [start, used] = [performance.now(), cpuTime()];
  await submit();
  await device.drain();
  return { wall: performance.now() - start, cpu: device.software ? cpuTime() - used : 0 };
}

/** A GPU that was idle takes so long to raise its clocks, milliseconds. */
const WARM = 300;

/** Keeps a GPU busy until its clocks have risen; on a software adapter, nothing. */
export async function warmUp(device: Device, submit: () => void | Promise<void>): Promise<void> {
  if (device.software) return;
  for (const end = performance.now() + WARM; performance.now() < end;) await timePortion(device, submit);
}

/** The middle of some numbers, the mean of the two middle ones where there is none. */
export function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const half = sorted.length / 2;
  return (sorted[Math.ceil(half) - 1]! + sorted[Math.floor(half)]!) / 2;
}
