/**
 * `VBON_DEBUG`: any of the digits 1 to 4, on stderr. 1 = time of every run, 2 = the dispatches of every program,
 * 3 = the source of every shader, 4 = which kernel's output is the first with a NaN.
 */
import { env } from "../host.ts";

export type DebugLevel = 1 | 2 | 3 | 4;

/** Whether `VBON_DEBUG` asks for this. */
export function debugs(level: DebugLevel): boolean {
  return (env("VBON_DEBUG") ?? "").includes(String(level));
}
