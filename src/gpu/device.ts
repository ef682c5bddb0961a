/** The GPU: one adapter, one device, its limits and features, and one place where its errors surface. */
import { DeviceError, KernelError, messageOf } from "../errors.ts";
import {
  gpu as openGpu,
  hasBuiltinGpu,
  memoryBytes,
  onlyChecks,
  sleepSlice,
  yieldToEvents,
} from "../host.ts";
import { findAdapters, firstDevice } from "./adapter.ts";
import { debugs } from "./debug-level.ts";
import { askForLanes, oldMatrixDialect } from "./dialect.ts";
import { immediateForm, type Specialisation } from "./kernel.ts";
import { type BufferKind, formatBytes, Memory, REMEDY, STORAGE_USAGE } from "./memory.ts";
import { Scratch } from "./scratch.ts";
import {
  type Adapter,
  type Lanes,
  lanesOf,
  MATRIX_FEATURE,
  matrixDialect,
  type MatrixFacts,
  matrixShapes,
  probeTiers,
  TIERS,
  type Tier,
  type TierName,
} from "./tiers.ts";
import { adapterKey, loadTable, type TuneTable, type Tuning } from "./tune.ts";

/** How to open a device. */
export interface DeviceOptions {
  /** Keep Dawn's bounds checks of every index, where they can be left out (tests keep them). */
  readonly validation?: boolean;
  readonly powerPreference?: "low-power" | "high-performance";
  /** Let kernels' parameters travel with their dispatches where the adapter can; false: always in uniform buffers. */
  readonly immediates?: boolean;
  /** "default": only what every WebGPU adapter has, to prove that kernels fit. Otherwise all that this one has. */
  readonly limits?: "default";
  /** Most bytes that one binding may hold, where that should be less than the adapter allows (tests of large tables). */
  readonly bindingBytes?: number;
  /** Most bytes of GPU memory to use; by default the machine's memory on a software adapter, no limit on others. */
  readonly memoryLimit?: number;
  /**
   * Compile for another kind of adapter than this one: its subgroup size (0 = none), software or not, its subgroup
   * matrices. What is compiled must not be run. Tests use it to check every kernel on the null backend.
   */
  readonly pretend?: {
    readonly subgroupSize: number;
    readonly software: boolean;
    readonly matrix?: MatrixFacts;
  };
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

/** A check of a tier's kernels against the plain ones. */
export interface SelfTest {
  readonly tier: TierName;
  /** What is computed, for messages: "matmul 40x36x20". */
  readonly what: string;
  /** Small: it runs when a GPU is opened. Throws what is wrong. */
  readonly run: (device: Device) => Promise<void>;
}

const selfTests: SelfTest[] = [];
/** What self-tests found in this process, by adapter, tier and test. */
const verdicts = new Map<string, string>();

/** Adds a check that {@link Device.selfTest} makes; the file of a kernel calls it for its own. */
export function addSelfTest(test: SelfTest): void {
  selfTests.push(test);
}

/** What was found before a device could try anything. */
export interface Found {
  readonly info: GPUAdapterInfo;
  readonly software: boolean;
  readonly lanes: Lanes;
  readonly matrix: MatrixFacts | undefined;
}

/** Others measured a fifth more speed with two than with none, and half the speed with ten (docs/performance.md). */
const STEPS_AHEAD = 2;

/** An open GPU device. Close it with {@link Device.close}; the process also exits by itself. */
export class Device {
  readonly gpu: GPUDevice;
  /** What it was made of; a copy on paper is made of the same. */
  readonly found: Found;
  readonly options: DeviceOptions;
  /** Nothing is computed or stored on it (paper.ts): there is no use in writing to it. */
  readonly onPaper: boolean = false;
  readonly info: GPUAdapterInfo;
  readonly limits: GPUSupportedLimits;
  /** Most bytes that one binding holds: what is larger has to be bound in parts. */
  readonly bindingBytes: number;
  /** A software adapter runs shaders on the CPU and wants other kernels than a GPU. */
  readonly software: boolean;
  /** Waiting for a promise of the GPU takes a core, which the shaders need: {@link Device.drain} before a map. */
  readonly spins: boolean;
  /** Which kinds of kernels it can run; {@link Device.has} asks. */
  readonly tiers: Map<TierName, Tier>;
  readonly counters: Counters = {
    buffers: 0,
    bindGroups: 0,
    pipelines: 0,
    submits: 0,
    dispatches: 0,
    tensors: 0,
  };
  /** All buffers that are alive. A program adds its own when it is recorded, so that the peak is known before the first run. */
  readonly memory: Memory;
  readonly scratch: Scratch = new Scratch(
    (bytes) => this.createBuffer(bytes, STORAGE_USAGE, "scratch", "scratch"),
    (buffer) => this.destroyBuffer(buffer),
  );
  /** Work to be done before the next read is answered: scans of a debugging run. */
  readonly beforeRead: (() => Promise<void>)[] = [];
  /** What was found fastest here; {@link Device.tuned} asks. */
  tuning: TuneTable = {};
  readonly #lanes: Lanes;
  readonly #matrix: MatrixFacts | undefined;
  readonly #immediateBytes: number;
  readonly #pipelines = new Map<Specialisation, Promise<GPUComputePipeline>>();
  /** When the steps that are under way will be done. */
  readonly #steps: Promise<void>[] = [];
  readonly #errors: string[] = [];
  #lost: string | undefined;
  #closed = false;

  constructor(device: GPUDevice, found: Found, options: DeviceOptions = {}) {
    this.gpu = device;
    this.found = found;
    this.options = options;
    this.info = found.info;
    this.limits = device.limits;
    const { maxStorageBufferBindingSize } = device.limits;
    this.bindingBytes = Math.min(options.bindingBytes ?? Infinity, maxStorageBufferBindingSize);
    this.software = options.pretend?.software ?? found.software;
    this.spins = found.software && !hasBuiltinGpu();
    this.#lanes = found.lanes;
    this.#matrix = found.matrix;
    this.tiers = probeTiers(device.features, found.lanes, found.matrix);
    this.#immediateBytes = options.immediates === false ? 0 : (immediateBytes(device) ?? 0);
    this.memory = new Memory(options.memoryLimit ?? (found.software ? memoryBytes() : Infinity));
    device.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      this.#errors.push(this.explain(event.error));
    });
    void device.lost.then((lost) => {
      this.#lost = `the device was lost (${lost.reason}): ${lost.message} Open a new one and resume from the last checkpoint.`;
    });
  }

  /** Lanes of a subgroup, the same number for every kernel; 0 where there is none or the tier failed its self-test. */
  get subgroupSize(): number {
    return this.has("subgroups") ? this.#lanes.size : 0;
  }

  /** Subgroup matrices, where there are any and they passed. */
  get matrix(): MatrixFacts | undefined {
    return this.has("matrix") ? this.#matrix : undefined;
  }

  /** The variant and tunables that were found fastest for a class of shapes of an op; undefined: the op's own choice. */
  tuned(op: string, shapes: string): Tuning | undefined {
    return this.tuning[op]?.[shapes];
  }

  /** What tables of tunings call this adapter. */
  get tuningKey(): string {
    return adapterKey(this.info, this.#lanes.size, this.software);
  }

  /** Whether kernels of a tier may be used: it is there and has not failed. */
  has(tier: TierName): boolean {
    const { state } = this.tiers.get(tier)!;
    return state === "unchecked" || state === "passed";
  }

  /** Bytes of all buffers that are alive. */
  get bytesAllocated(): number {
    return this.memory.total;
  }

  /** Whether this kernel's parameters travel with its dispatches (`var<immediate>`): where the adapter has room for them. */
  takesImmediates({ params }: Specialisation): boolean {
    return params !== undefined && params.size <= this.#immediateBytes;
  }

  /** Every pipeline that was asked for. */
  get specialisations(): readonly Specialisation[] {
    return [...this.#pipelines.keys()];
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
    const [first, ...more] = this.#errors.splice(0);
    if (this.#lost) throw new DeviceError(`device ${this.name}: ${this.#lost}`);
    if (first === undefined) return;
    const rest = more.length > 0 ? ` (and ${more.length} more that may follow from it)` : "";
    throw new DeviceError(`device ${this.name}: ${first}${rest}`);
  }

  /** A message for an error that WebGPU reported. */
  explain(error: GPUError): string {
    if (error.constructor.name !== "GPUOutOfMemoryError") return error.message;
    return `out of memory: ${this.memory} were asked for. ${REMEDY} (${error.message})`;
  }

  /**
   * A new buffer, counted.
   * @throws DeviceError when `bytes` is more than one buffer may hold here, or than the memory limit leaves
   */
  createBuffer(bytes: number, usage: number, label: string, kind: BufferKind): GPUBuffer {
    const { maxBufferSize } = this.limits;
    if (bytes > maxBufferSize) {
      throw new DeviceError(
        `device: ${label} needs a buffer of ${formatBytes(bytes)} (${bytes} bytes); this adapter allows ` +
          `${formatBytes(maxBufferSize)}. ${REMEDY}`,
      );
    }
    this.memory.reserve(bytes, label);
    this.counters.buffers++;
    const buffer = this.gpu.createBuffer({ size: bytes, usage, label });
    this.memory.add(buffer, kind);
    return buffer;
  }

  /** Gives a buffer's memory back; the GPU may still be using it. */
  destroyBuffer(buffer: GPUBuffer): void {
    if (this.memory.remove(buffer)) buffer.destroy();
  }

  /**
   * The pipeline of a specialisation, compiled once.
   * @throws KernelError with the compiler's message and the line it is about
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
    const code = this.#spell(this.takesImmediates(spec) ? immediateForm(spec) : spec.code);
    if (debugs(3)) console.error(`// ${spec.key}\n${code}`);
    this.gpu.pushErrorScope("validation");
    const module = this.gpu.createShaderModule({ code, label: spec.label });
    const invalid = this.gpu.popErrorScope();
    const { messages } = await module.getCompilationInfo();
    const wrong = messages.filter((m) => m.type === "error");
    const lines = code.split("\n");
    const shown = wrong.map((m) => `line ${m.lineNum}: ${m.message}\n    ${lines[m.lineNum - 1] ?? ""}`);
    const otherwise = (await invalid)?.message;
    if (shown.length === 0 && otherwise) shown.push(otherwise);
    if (shown.length > 0) throw new KernelError(`${spec.key} does not compile:\n  ${shown.join("\n  ")}`);
    try {
      const compute = { module, entryPoint: spec.entry };
      return await this.gpu.createComputePipelineAsync({ label: spec.label, layout: "auto", compute });
    } catch (error) {
      throw new KernelError(`${spec.key} does not fit ${this.name}: ${messageOf(error)}`);
    }
  }

  /** A kernel as this device's compiler wants it. */
  #spell(code: string): string {
    const old = this.#matrix?.dialect === "flags" ? oldMatrixDialect(code) : code;
    return this.#lanes.asked ? askForLanes(old, this.#lanes.size) : old;
  }

  /**
   * Tries each tier's kernels on small inputs against the plain ones, once an adapter and process. A tier that
   * fails is not used by what is recorded afterwards. {@link openDevice} calls it on GPUs.
   * @param tiers those to try; by default all that this kind of adapter uses (`tile` is for GPUs)
   */
  async selfTest(tiers: readonly TierName[] = this.software ? ["subgroups", "f16"] : TIERS): Promise<void> {
    for (const test of selfTests) {
      if (!tiers.includes(test.tier) || this.tiers.get(test.tier)!.state === "absent") continue;
      const key = [this.name, this.info.description, this.#lanes.size, test.tier, test.what].join("|");
      const wrong = verdicts.get(key) ?? (await this.#try(test));
      verdicts.set(key, wrong);
      const { state, why } = this.tiers.get(test.tier)!;
      if (wrong) this.tiers.set(test.tier, { state: "failed", why: `${test.what}: ${wrong}` });
      else if (state === "unchecked") this.tiers.set(test.tier, { state: "passed", why });
    }
  }

  async #try(test: SelfTest): Promise<string> {
    try {
      await test.run(this);
      return "";
    } catch (error) {
      return messageOf(error);
    }
  }

  /** Whether the device is gone for good. */
  get lost(): boolean {
    return this.#lost !== undefined;
  }

  /**
   * Waits until the queue is empty. Where Dawn runs a software adapter in this process it sleeps in slices: a
   * pending promise would keep the main thread spinning on a core that the shaders need.
   */
  async drain(): Promise<void> {
    const done = this.gpu.queue.onSubmittedWorkDone();
    let idle = false;
    const settled = done.then(
      () => (idle = true),
      () => (idle = true), // a lost device: the next check says so
    );
    if (!this.spins) return void (await settled);
    for (let slice = 0.05; !idle; slice = Math.min(1, slice * 1.5)) {
      sleepSlice(slice);
      await yieldToEvents();
    }
  }

  /**
   * Called once a step by loops that read nothing: lets the host be two steps ahead of a GPU, so that it never waits for
   * work, and its queue never grows; none ahead of a software adapter, which runs on the host's own cores.
   */
  async pace(): Promise<void> {
    if (this.software) return this.drain();
    const lost = (): void => undefined; // the next check says so
    this.#steps.push(this.gpu.queue.onSubmittedWorkDone().then(lost, lost));
    if (this.#steps.length > STEPS_AHEAD) await this.#steps.shift();
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
  const power = options.powerPreference ?? "high-performance";
  const { software, candidates } = await findAdapters(power, options.validation === true);
  const [adapter, gpu] = await firstDevice(candidates, options.limits);
  const language = (await openGpu()).wgslLanguageFeatures;
  const immediates = options.immediates !== false && language.has("immediate_address_space");
  const found = { info: adapter.info, software, ...(await factsOf(adapter as Adapter, gpu, options)) };
  const device = new Device(gpu, found, { ...options, immediates });
  if (!options.pretend && !onlyChecks()) device.tuning = await loadTable(device.tuningKey);
  if (software || options.pretend || onlyChecks()) return device;
  await device.selfTest();
  return device.lost ? openDevice(options) : device; // what took it down has failed, and is not tried again
}

/** Lanes and matrices: the adapter's, or pretended ones (on GPUs, lanes that have to be asked for). */
async function factsOf(
  adapter: Adapter,
  gpu: GPUDevice,
  { pretend }: DeviceOptions,
): Promise<Pick<Found, "lanes" | "matrix">> {
  if (pretend) {
    const { subgroupSize: size, software, matrix } = pretend;
    return { lanes: { size, asked: size > 0 && !software, why: `${size} lanes, pretended` }, matrix };
  }
  const dialect = adapter.features.has(MATRIX_FEATURE) ? await matrixDialect(gpu) : undefined;
  return { lanes: lanesOf(adapter), matrix: dialect && { dialect, shapes: matrixShapes(adapter) } };
}

/** Bytes of parameters that a dispatch can carry; the limit is younger than the types know. */
const immediateBytes = ({ limits }: GPUDevice): number | undefined =>
  (limits as { maxImmediateSize?: number }).maxImmediateSize;
