/** What may be changed about a run of `vbon align` that does not fit, or has room to spare. */
import type { Device } from "../../gpu/device.ts";
import { hasHalves } from "../../ops/cast.ts";
import { fewerTrained, fitsInto } from "../plan/advice.ts";
import type { Io } from "../verb.ts";
import { estimate, type PlanFlags } from "./plan-paper.ts";

/** The largest micro-batch that fits into `limit` bytes, of powers of two times the one that is known to. */
export async function largestMicroBatch(
  device: Device,
  flags: PlanFlags,
  limit: number,
  io: Io,
): Promise<number> {
  const { minibatch } = flags;
  let known = flags.microBatch;
  while (known < minibatch) {
    const microBatch = Math.min(minibatch, 2 * known);
    if (!fitsInto(await estimate(device, { ...flags, microBatch }, io), limit)) break;
    known = microBatch;
  }
  return known;
}

/** Changes in the order of what they cost: nothing but time, then accuracy, then what is learned. */
export function candidates(flags: PlanFlags, device: Device): Partial<PlanFlags>[] {
  const { microBatch, minibatch, rows, gradientCheckpointing, averageLast, frozenPrecision, value } = flags;
  const halves = (n: number): number[] => (n > 1 ? [Math.ceil(n / 2), Math.ceil(n / 8), 1] : []);
  return [
    ...[...new Set(halves(Math.min(microBatch, minibatch)))].map((to) => ({ microBatch: to })),
    ...(gradientCheckpointing ? [] : [{ gradientCheckpointing: true }]),
    ...(rows > 1 ? [{ rows: Math.ceil(rows / 8) }] : []),
    ...(averageLast > 0 ? [{ averageLast: 0 }] : []),
    ...(frozenPrecision === "f32" && hasHalves(device) ? [{ frozenPrecision: "f16" } as const] : []),
    ...(value === "separate" ? [{ value: "shared" } as const] : []),
    ...fewerTrained(flags),
  ];
}
