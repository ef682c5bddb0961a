/**
 * A device on paper: what is recorded on it is planned and counted as on the device that it is a copy of, but nothing is
 * allocated, compiled or computed. How much memory a run takes is so asked of the run itself, before anything is loaded.
 */
import { Device } from "./device.ts";
import { type BufferKind } from "./memory.ts";
import type { Specialisation } from "./kernel.ts";

/** Bytes by what they are for. */
export type Purposes = Readonly<Record<string, number>>;

/** Counts buffers by purpose, and remembers the moment when most was alive. */
export class PaperDevice extends Device {
  override readonly onPaper: boolean = true;
  readonly #purposeOf: (label: string, kind: BufferKind) => string;
  readonly #purposes = new Map<GPUBuffer, string>();
  readonly #now: Record<string, number> = {};
  #peak: { readonly bytes: number; readonly purposes: Purposes } = { bytes: 0, purposes: {} };

  /** @param purposeOf what a buffer is for, by its label and kind */
  constructor(device: Device, purposeOf: (label: string, kind: BufferKind) => string) {
    super(paperGpu(device.gpu), device.found, { ...device.options, memoryLimit: Infinity });
    for (const [name, tier] of device.tiers) this.tiers.set(name, tier);
    this.tuning = device.tuning;
    this.#purposeOf = purposeOf;
  }

  /** The most that was alive at once, and what for. */
  get peak(): { readonly bytes: number; readonly purposes: Purposes } {
    return this.#peak;
  }

  override createBuffer(bytes: number, usage: number, label: string, kind: BufferKind): GPUBuffer {
    const buffer = super.createBuffer(bytes, usage, label, kind);
    const purpose = this.#purposeOf(label, kind);
    this.#purposes.set(buffer, purpose);
    this.#now[purpose] = (this.#now[purpose] ?? 0) + bytes;
    const total = this.bytesAllocated;
    if (total > this.#peak.bytes) this.#peak = { bytes: total, purposes: { ...this.#now } };
    return buffer;
  }

  override destroyBuffer(buffer: GPUBuffer): void {
    super.destroyBuffer(buffer);
    const purpose = this.#purposes.get(buffer);
    if (purpose !== undefined) this.#now[purpose]! -= buffer.size;
    this.#purposes.delete(buffer);
  }

  override pipeline(_spec: Specialisation): Promise<GPUComputePipeline> {
    return Promise.resolve(silent() as GPUComputePipeline);
  }
}

/** An object each of whose methods does nothing and gives such an object. */
function silent(): object {
  const itself: object = new Proxy(() => itself, { get: (_, key) => (key === "then" ? undefined : itself) });
  return itself;
}

/** Limits and features of `gpu`, and buffers that are sizes; what is read from them is zero. */
function paperGpu({ limits, features }: GPUDevice): GPUDevice {
  const nothing = silent();
  const buffer = ({ size, usage, label = "" }: GPUBufferDescriptor): object => ({
    size,
    usage,
    label,
    destroy: () => undefined,
    mapAsync: () => Promise.resolve(),
    getMappedRange: (_offset: number, bytes: number) => new ArrayBuffer(bytes),
    unmap: () => undefined,
  });
  return {
    limits,
    features,
    lost: new Promise(() => undefined),
    queue: {
      writeBuffer: () => undefined,
      submit: () => undefined,
      onSubmittedWorkDone: () => Promise.resolve(),
    },
    addEventListener: () => undefined,
    pushErrorScope: () => undefined,
    popErrorScope: () => Promise.resolve(null),
    createBuffer: buffer,
    createBindGroup: () => nothing,
    createCommandEncoder: () => nothing,
    destroy: () => undefined,
  } as unknown as GPUDevice;
}
