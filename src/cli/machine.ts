/** What numbers were measured on, in words. */
import { cpus } from "node:os";
import type { Device } from "../gpu/device.ts";
import { runtime } from "../host.ts";

/** "llvmpipe (LLVM 15), 2 × AMD EPYC, node 20.20.2" */
export function machineName(device: Device): string {
  const [cpu] = cpus();
  return `${device.name}, ${cpus().length} × ${cpu?.model ?? "unknown CPU"}, ${runtime()}`;
}
