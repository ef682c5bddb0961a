/** The GPU: one adapter, one device, its limits and features, and one place where its errors surface. */
import { DeviceError } from "../errors.ts";
import { env, gpu as openGpu, hasBuiltinGpu, sleepSlice, yieldToEvents } from "../host.ts";
import type { Specialisation } from "./kernel.ts";

/** How to open a device. */
export interface DeviceOptions {
  /** Keep bounds checks on software adapters too (tests do); hardware adapters always keep them. */
  readonly validation?: boolean;
  readonly powerPreference?: "low-power" | "high-performance";
}

/** What a program or a test may want to count: a replayed program must leave all of these unchanged. */
export interface Counters {
  buffers: number;
  bindGroups: number;
  pipelines: number;
  submits: number;
  dispatches: number;
  tensors: number;
}

const WANTED_FEATURES = ["subgroups", "shader-f16", "timestamp-query", "subgroup-size-control"] as const;

/** An open GPU device. Close it with {@link Device.close}; the process also exits by itself. */
export class Device {
  readonly gpu: GPUDevice;
  readonly info: GPUAdapterInfo;
  readonly limits: GPUSupportedLimits;
  /** A software adapter runs shaders on the CPU and wants other kernels than a GPU. */
  readonly software: boolean;
  /** Lanes of a subgroup, where that is one fixed number; else 0 and no subgroup kernel is used. */
  readonly subgroupSize: number;
  readonly counters: Counters = { buffers: 0, bindGroups: 0, pipelines: 0, submits: 0, dispatches: 0, tensors: 0 };
  /** Bytes of all buffers that are alive. */
  bytesAllocated = 0;
  /** Scratch buffers that programs share: only one program runs at a time. */
  readonly scratch: GPUBuffer[] = [];
  readonly #pipelines = new Map<Specialisation, Promise<GPUComputePipeline>>();
  readonly #errors: string[] = [];
  #closed = false;

  constructor(device: GPUDevice, adapter: GPUAdapter, software: boolean) {
    this.gpu = device;
    this.info = adapter.info;
    this.limits = device.limits;
    this.software = software;
    const { subgroupMinSize: min = 0, subgroupMaxSize: max = 0 } = adapter.info;
    this.subgroupSize = device.features.has("subgroups") && min === max && [4, 8, 16, 32, 64].includes(min) ? min : 0;
    device.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      this.#errors.push(event.error.message);
    });
    void device.lost.then((lost) => {
      if (!this.#closed) this.#errors.push(`the device was lost (${lost.reason}): ${lost.message}`);
    });
  }

  /** "lavapipe …" or "NVIDIA H200 …": what to write beside a measurement. */
  get name(): string {
    const { vendor, architecture, description, device } = this.info;
    return description || [vendor, architecture, device].filter(Boolean).join(" ") || "unknown adapter";
  }

  /**
   * Throws what went wrong on the GPU since the last look; every read calls it, so a failed dispatch never
   * becomes silent zeros.
   * @throws DeviceError
   */
  check(): void {
    if (this.#closed) throw new DeviceError("device: closed; open a new one with openDevice()");
    if (this.#errors.length === 0) return;
    const [first, ...more] = this.#errors.splice(0);
    const rest = more.length > 0 ? ` (and ${more.length} more)` : "";
    throw new DeviceError(`device ${this.name}: ${first}${rest}`);
  }

  /**
   * A new buffer, counted.
   * @throws DeviceError when `bytes` is more than one buffer may hold here
   */
  createBuffer(bytes: number, usage: number, label: string): GPUBuffer {
    if (bytes > this.limits.maxBufferSize) {
      throw new DeviceError(
        `device: ${label} needs a buffer of ${bytes} bytes; this adapter allows ${this.limits.maxBufferSize}. ` +
          "Use a smaller batch or a shorter length.",
      );
    }
    this.counters.buffers++;
    this.bytesAllocated += bytes;
    return this.gpu.createBuffer({ size: bytes, usage, label });
  }

  /** Gives a buffer's memory back; the GPU may still be using it. */
  destroyBuffer(buffer: GPUBuffer): void {
    this.bytesAllocated -= buffer.size;
    buffer.destroy();
  }

  /**
   * The pipeline of a specialisation, compiled once.
   * @throws DeviceError with the compiler's message
   */
  pipeline(spec: Specialisation): Promise<GPUComputePipeline> {
    let found = this.#pipelines.get(spec);
    if (!found) {
      found = this.#compile(spec);
      this.#pipelines.set(spec, found);
    }
    return found;
  }

  async #compile(spec: Specialisation): Promise<GPUComputePipeline> {
    this.counters.pipelines++;
    if (Number(env("VBON_DEBUG") ?? 0) >= 3) console.error(`// ${spec.key}\n${spec.code}`);
    const module = this.gpu.createShaderModule({ code: spec.code, label: spec.label });
    const { messages } = await module.getCompilationInfo();
    const wrong = messages.filter((m) => m.type === "error");
    if (wrong.length > 0) {
      const lines = spec.code.split("\n");
      const shown = wrong.map((m) => `line ${m.lineNum}: ${m.message}\n    ${lines[m.lineNum - 1] ?? ""}`);
      this.#errors.length = 0;
      throw new DeviceError(`${spec.key} does not compile:\n  ${shown.join("\n  ")}`);
    }
    const compute = { module, entryPoint: spec.entry };
    return this.gpu.createComputePipelineAsync({ label: spec.label, layout: "auto", compute });
  }

  /**
   * Waits until the queue is empty. On a software adapter it sleeps in slices: a pending promise would keep
   * the main thread spinning on a core that the shaders need.
   */
  async drain(): Promise<void> {
    const done = this.gpu.queue.onSubmittedWorkDone();
    if (!this.software) return void (await done);
    let idle = false;
    void done.then(
      () => (idle = true),
      () => (idle = true),
    );
    for (let slice = 0.05; !idle; slice = Math.min(1, slice * 1.5)) {
      sleepSlice(slice);
      await yieldToEvents();
    }
  }

  /** Finishes the queue and closes the device; every buffer goes with it. */
  async close(): Promise<void> {
    if (this.#closed) return;
    await this.drain();
    this.#closed = true;
    this.gpu.destroy();
  }
}

/**
 * Opens the best adapter with every limit it has and the features our kernels can use.
 * @throws DeviceError when there is no adapter, with what to install
 */
export async function openDevice(options: DeviceOptions = {}): Promise<Device> {
  const power = { powerPreference: options.powerPreference ?? "high-performance" } as const;
  let adapter = await (await openGpu()).requestAdapter(power);
  if (!adapter) throw new DeviceError(NO_ADAPTER);
  const software = adapter.info.isFallbackAdapter === true;
  if (software && !options.validation && !hasBuiltinGpu()) {
    // Mesa checks every access anyway; Dawn's own clamps cost a tenth to a third there (kernels.md 2.0).
    adapter = (await (await openGpu(["enable-dawn-features=disable_robustness"])).requestAdapter(power)) ?? adapter;
  }
  const device = await adapter.requestDevice({
    label: "vbon",
    requiredLimits: allLimits(adapter.limits),
    requiredFeatures: WANTED_FEATURES.filter((f) => adapter.features.has(f)) as GPUFeatureName[],
  });
  return new Device(device, adapter, software);
}

const NO_ADAPTER =
  "device: no WebGPU adapter was found. On Linux install a Vulkan driver: the GPU maker's, or Mesa's software one " +
  "(mesa-vulkan-drivers 23 or newer and libvulkan1); `npm run demo` does that by itself. `vbon doctor` says more.";

function allLimits(limits: GPUSupportedLimits): Record<string, number> {
  const wanted: Record<string, number> = {};
  for (const name of Object.getOwnPropertyNames(Object.getPrototypeOf(limits) as object)) {
    const value = (limits as unknown as Record<string, unknown>)[name];
    if (typeof value === "number") wanted[name] = value;
  }
  return wanted;
}
