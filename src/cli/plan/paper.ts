/** A run on paper: prepared as its command prepares it, on a device that allocates nothing. */
import { DeviceError } from "../../errors.ts";
import type { Device } from "../../gpu/device.ts";
import type { BufferKind } from "../../gpu/memory.ts";
import { PaperDevice, type Purposes } from "../../gpu/paper.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/** What memory is for, in the order in which it is shown. */
export const PURPOSES = [
  "weights that are trained",
  "gradients",
  "moments of AdamW",
  "frozen weights",
  "weights of the reference",
  "weights of the reward",
  "copies of weights",
  "cache of keys and values",
  "activations and scratch",
  "inputs, outputs and state",
] as const;

export type Purpose = (typeof PURPOSES)[number];

/** What a run would take. */
export interface Planned {
  /** Bytes at the worst moment, by what they are for; in the order of {@link PURPOSES}. */
  readonly parts: Purposes;
  readonly total: number;
  /** Why it cannot run however much memory there is: one buffer or binding is too large. `total` is then only so far. */
  readonly refused: string | undefined;
}

/**
 * What `prepare` takes, on paper, of a device that stays as it is.
 * @param prepare does what the run does before its first step; it may say whose weights it opens next, "frozen weights" by default
 * @throws what `prepare` throws, but for DeviceErrors, which are an answer
 */
export async function onPaper(
  device: Device,
  prepare: (paper: Device, opening: (whose: Purpose) => void) => Promise<void>,
): Promise<Planned> {
  let opening: Purpose = "frozen weights";
  const paper = new PaperDevice(device, (label, kind) => purposeOf(label, kind, opening));
  const refused = await refusalOf(() => prepare(paper, (whose) => (opening = whose)));
  const parts = Object.fromEntries(PURPOSES.map((name) => [name, paper.peak.purposes[name] ?? 0]));
  return { parts, total: paper.peak.bytes, refused };
}

/** Hashes, checkpoints and the saved model read a piece of a tensor at a time: the largest is enough. */
export async function readLargest(tensors: Iterable<Tensor>): Promise<void> {
  const [largest] = [...tensors].toSorted((a, b) => b.size - a.size);
  await largest!.pieces().next();
}

function purposeOf(label: string, kind: BufferKind, opening: Purpose): Purpose {
  if (kind === "scratch") return "activations and scratch";
  if (kind !== "persistent") return "inputs, outputs and state";
  if (label === "parameters") return "weights that are trained";
  if (label.startsWith("frozen parameters")) return opening;
  if (label === "frozen copy") return "copies of weights";
  if (label === "gradients") return "gradients";
  if (label === "adamw m" || label === "adamw v") return "moments of AdamW";
  if (/^(keys|values) of layer /.test(label)) return "cache of keys and values";
  return "inputs, outputs and state";
}

/** @returns the message where something exceeds what one buffer or binding may hold */
async function refusalOf(work: () => Promise<void>): Promise<string | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    if (error instanceof DeviceError) return error.message;
    throw error;
  }
}
