/** A plan as its reader sees it. */
import { z } from "zod";
import type { Device } from "../../gpu/device.ts";
import { formatBytes } from "../../gpu/memory.ts";
import { type Change, changeText, fitsInto } from "./advice.ts";
import type { Planned } from "./paper.ts";

/** `--memory`: what there is, where the adapter does not say, or to ask about another. */
export const memoryField: z.ZodOptional<z.ZodNumber> = z.number().positive().optional().meta({
  description:
    "GPU memory to fit into, in GiB (default: the machine's for a software adapter; GPUs do not say)",
  hint: "GIB",
});

/** Bytes to fit into. */
export const limitOf = (device: Device, gib: number | undefined): number =>
  gib === undefined ? device.memory.limit : gib * 2 ** 30;

/** Something planned, held against what there is. */
export interface Plan {
  /** "vbon align --method vbon, 124439808 parameters, …" */
  readonly headline: string;
  readonly planned: Planned;
  /** Bytes; Infinity where the adapter does not say. */
  readonly limit: number;
  /** Lines of what else could be said. */
  readonly remarks: readonly string[];
  readonly help: readonly Change[];
}

/** Under `--json`. */
export function planRecord({ planned, limit, help }: Plan): Readonly<Record<string, unknown>> {
  const { parts, total, refused } = planned;
  return {
    parts,
    total,
    limit: Number.isFinite(limit) ? limit : undefined,
    fits: fitsInto(planned, limit),
    refused,
    help,
  };
}

/** A line for each purpose, and whether it fits. */
export function planText({ headline, planned, limit, remarks, help }: Plan, device: Device): string {
  const known = Object.entries(planned.parts).filter(([, bytes]) => bytes > 0);
  const width = Math.max(8, ...known.map(([name]) => name.length));
  const line = (name: string, bytes: number): string =>
    `${name.padEnd(width)}  ${formatBytes(bytes).padStart(11)}`;
  return [
    `${headline}, on ${device.name}`,
    ...known.map(([name, bytes]) => line(name, bytes)),
    line("in all", planned.total),
    verdict(planned, limit),
    ...remarks,
    ...help.map(changeText),
  ].join("\n");
}

function verdict(planned: Planned, limit: number): string {
  const { refused, total } = planned;
  if (refused !== undefined) return `does not fit this adapter: ${refused}`;
  if (!Number.isFinite(limit))
    return "this adapter does not say how much memory it has; --memory GIB compares with that";
  return fitsInto(planned, limit)
    ? `fits: ${formatBytes(limit)} are there`
    : `does not fit: ${formatBytes(total)} are needed, the limit is ${formatBytes(limit)}`;
}
