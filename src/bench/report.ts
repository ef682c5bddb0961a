/** What benchmarks print: the machine, and a line each. */
import { cpus } from "node:os";
import type { Device } from "../gpu/device.ts";
import { runtime } from "../host.ts";
import type { Ceilings, Rate } from "./ceiling.ts";
import type { Line } from "./measure.ts";

/** What the numbers were measured on, and when. */
export interface Machine {
  /** The adapter with its driver's version. */
  readonly adapter: string;
  readonly processor: string;
  readonly runtime: string;
  /** YYYY-MM-DD. */
  readonly date: string;
  readonly ceilings: Ceilings;
}

/** The machine with its measured ceilings. */
export function machineOf(device: Device, ceilings: Ceilings): Machine {
  const [first] = cpus();
  return {
    adapter: device.name,
    processor: `${first?.model ?? "unknown processor"}, ${cpus().length} threads`,
    runtime: runtime(),
    date: new Date().toISOString().slice(0, 10),
    ceilings,
  };
}

/** The lines above the table. */
export function heading({ adapter, processor, runtime: host, date, ceilings }: Machine): string {
  const both = ({ wall, perTwoCores }: Rate, unit: string): string =>
    `${short(wall)} ${unit}${perTwoCores ? ` (${short(perTwoCores)} for two cores' time)` : ""}`;
  return [
    `${adapter}; ${processor}; ${host}; ${date}`,
    `ceilings: ${both(ceilings.gflops, "GFLOP/s")} multiply-add, ${both(ceilings.gbs, "GB/s")} copy`,
    row(["", "median", "best", "processor", "at the median", "two cores", "share", "error"]),
  ].join("\n");
}

/** A line of the table. */
export function lineText({ name, ms, bestMs, cpuMs, rate, unit, perTwoCores, share, error }: Line): string {
  return row([
    name,
    `${ms.toFixed(3)} ms`,
    `${bestMs.toFixed(3)} ms`,
    cpuMs === undefined ? "" : `${cpuMs.toFixed(3)} ms`,
    rate === undefined ? "" : `${short(rate)} ${unit ?? ""}`,
    perTwoCores === undefined ? "" : short(perTwoCores),
    share === undefined ? "" : `${(100 * share).toFixed(0)} %`,
    error === 0 ? "0" : error.toExponential(1),
  ]);
}

const WIDTHS = [48, 13, 13, 13, 17, 10, 7, 9];

function row(cells: readonly string[]): string {
  return cells.map((cell, i) => (i === 0 ? cell.padEnd(WIDTHS[i]!) : cell.padStart(WIDTHS[i]!))).join("").trimEnd(); // prettier-ignore
}

const short = (n: number): string => (n >= 1000 ? n.toFixed(0) : n.toPrecision(3));
