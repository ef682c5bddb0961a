/** Forms of the attention kernels: each tiles the same three kernels in its own way; the op knows none of them. */
import type { Device } from "../gpu/device.ts";
import { type Kernel, loadKernel, using } from "../gpu/kernel.ts";

const shared = await loadKernel("attention-form");

/** `kernel`, joined by what the kernels of all forms share. */
export const attentionKernel = (kernel: Kernel): Kernel => using(kernel, shared);

/** The kernels: y and lse; the gradient of the queries; those of keys and values. */
export type AttentionEntry = "forward" | "query" | "keys";

/** How a kernel is started. */
export interface Launch {
  /** Queries (keys) a workgroup. */
  readonly rows: number;
  /** Beside CAUSAL and D4. */
  readonly constants: Readonly<Record<string, number>>;
}

/** A way to compute attention: entry points `<entry>_<name>` of its kernel. */
export interface AttentionForm {
  /** What `attrs.variant` calls it. */
  readonly name: string;
  readonly kernel: Kernel;
  /** The kind of adapter it is made for. */
  readonly madeFor: "any" | "software" | "gpu";
  /** Whether the device has what its kernels need. */
  runs(device: Device): boolean;
  /** Whether it can do heads of dimension D, on a device where it runs. */
  fits(D: number, device: Device): boolean;
  launch(entry: AttentionEntry, size: { readonly T: number; readonly D: number }, device: Device): Launch;
}
