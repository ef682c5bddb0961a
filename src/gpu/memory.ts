/** How much GPU memory is in use, and for what: known when programs are recorded, before anything runs. */
import { DeviceError } from "../errors.ts";

/** What a buffer is for. Scratch is shared by all programs of a device. */
export type BufferKind = "persistent" | "program" | "scratch" | "readback";

/** GPUBufferUsage flags of every storage buffer: bound, copied from and to. */
export const STORAGE_USAGE: number = 0x0080 | 0x0004 | 0x0008;

const WORDS: Readonly<Record<BufferKind, string>> = {
  persistent: "parameters and state",
  program: "inputs and outputs",
  scratch: "scratch",
  readback: "readback",
};

/** The ledger of a device's buffers. */
export class Memory {
  readonly bytes: Record<BufferKind, number> = { persistent: 0, program: 0, scratch: 0, readback: 0 };
  /** The most that may be in use, in bytes; Infinity where nobody knows. */
  readonly limit: number;
  /** The most that {@link Memory.total} was, in bytes; to measure a stretch of work, set it to the total before. */
  peak = 0;
  readonly #kinds = new Map<GPUBuffer, BufferKind>();

  constructor(limit: number) {
    this.limit = limit;
  }

  /** Bytes of all buffers that are alive. */
  get total(): number {
    return Object.values(this.bytes).reduce((a, b) => a + b, 0);
  }

  /**
   * Refuses what does not fit any more.
   * @throws DeviceError with what is asked for, what is in use, and what to do
   */
  reserve(bytes: number, label: string): void {
    if (this.total + bytes <= this.limit) return;
    throw new DeviceError(
      `device: too little memory for ${label}: it needs ${formatBytes(bytes)} more, ${this} are in use, and the limit is ` +
        `${formatBytes(this.limit)}. ${REMEDY}`,
    );
  }

  /** Enters a buffer. */
  add(buffer: GPUBuffer, kind: BufferKind): void {
    this.#kinds.set(buffer, kind);
    this.bytes[kind] += buffer.size;
    this.peak = Math.max(this.peak, this.total);
  }

  /** Strikes a buffer out. False where it was not (or no longer) in the ledger. */
  remove(buffer: GPUBuffer): boolean {
    const kind = this.#kinds.get(buffer);
    if (kind) this.bytes[kind] -= buffer.size;
    return this.#kinds.delete(buffer);
  }

  /** "1.50 GiB (parameters and state 1.20 GiB, scratch 0.30 GiB)" */
  toString(): string {
    const used = (Object.keys(WORDS) as BufferKind[]).filter((kind) => this.bytes[kind] > 0);
    const parts = used.map((kind) => `${WORDS[kind]} ${formatBytes(this.bytes[kind])}`);
    return parts.length > 0 ? `${formatBytes(this.total)} (${parts.join(", ")})` : formatBytes(0);
  }
}

/** What helps when memory is short. */
export const REMEDY =
  "Use a smaller batch, a shorter length or a smaller model, or close other programs that use the GPU.";

/** 1536 -> "1.50 KiB" */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return unit === 0 || !Number.isFinite(value) ? `${value} B` : `${value.toFixed(2)} ${units[unit]}`;
}
