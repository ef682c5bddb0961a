/** Forms of the attention kernels: each tiles the same three kernels in its own way; the op knows none of them. */
import type { Device } from "../gpu/device.ts";
import { type Constants, type Kernel, loadKernel, using } from "../gpu/kernel.ts";
import { call } from "../tensor/op.ts";
import type { Tensor } from "../tensor/tensor.ts";

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
  readonly constants: Constants;
}

/** A way to compute attention: entry points `<entry>_<name>` of its kernel. */
export interface AttentionForm {
  /** What `attrs.variant` calls it. */
  readonly name: string;
  readonly kernel: Kernel;
  /** The kind of adapter it is made for; one that rounds (`asked`) serves mixed precision alone. */
  readonly madeFor: "any" | "software" | "gpu" | "asked";
  /** Whether the device has what its kernels need. */
  runs(device: Device): boolean;
  /** Whether a kernel of it does well with heads of dimension D, on a device where it runs. */
  fits(entry: AttentionEntry, D: number, device: Device): boolean;
  launch(entry: AttentionEntry, size: { readonly T: number; readonly D: number }, device: Device): Launch;
}

/** What a call computes: B batches of T tokens, H query heads and G key heads of D numbers. */
export interface AttentionSizes {
  readonly B: number;
  readonly T: number;
  readonly H: number;
  readonly G: number;
  readonly D: number;
}

const FLOPS: Readonly<Record<AttentionEntry, number>> = { forward: 4, query: 6, keys: 8 };

/** Records one of a form's kernels, over [rows of T, heads, batch]. */
export function recordAttention(
  { kernel, name }: Pick<AttentionForm, "kernel" | "name">,
  entry: AttentionEntry,
  bindings: Readonly<Record<string, Tensor>>,
  { B, T, H, G, D }: AttentionSizes,
  { rows, constants, causal, scale }: Launch & { readonly causal: boolean; readonly scale?: number },
): void {
  call(kernel, `${entry}_${name}`, {
    bindings,
    params: { B, T, H, G, scale: scale ?? 1 / Math.sqrt(D), queries: H / G },
    constants: { ...constants, D4: D / 4, CAUSAL: causal ? 1 : 0 },
    workgroups: [Math.ceil(T / rows), entry === "keys" ? G : H, B],
    flops: FLOPS[entry] * B * H * T * T * D * (causal ? 0.5 : 1),
  });
}
