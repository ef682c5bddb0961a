/**
 * Programs: recorded once, planned, replayed. While a function records, ops append kernel calls on virtual
 * storages; the plan decides which buffers they share; a run only encodes and submits, so that the steady
 * state creates no buffer, no bind group and no tensor.
 */
import { DeviceError, KernelError } from "../errors.ts";
import { type Bound, bytesOf, type Call, type Dispatch, type Grid } from "./call.ts";
import { debugs } from "./debug-level.ts";
import { callTable, createScan, logRun, type Scan } from "./debug.ts";
import type { Device } from "./device.ts";
import { type Kernel, packParams, specialise } from "./kernel.ts";
import { formatBytes, REMEDY, STORAGE_USAGE } from "./memory.ts";
import { type Plan, planMemory } from "./plan.ts";
import { prepareReadback } from "./readback.ts";
import { fixedStorage, type Storage } from "./storage.ts";

interface Encoded {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly workgroups: Grid;
}

/** Bytes of the buffers that a program binds beside parameters. */
export interface ProgramMemory {
  readonly inputs: number;
  readonly outputs: number;
  /** The uniform parameters of its calls. */
  readonly params: number;
  /** Shared with the device's other programs. */
  readonly scratch: number;
}

let current: Recording | undefined;

/** The calls of a program while it is being recorded. */
export class Recording {
  readonly calls: Call[] = [];
  readonly kept: Set<Storage> = new Set();
  readonly owned: Storage[] = [];
  readonly device: Device;
  readonly label: string;

  constructor(device: Device, label: string) {
    this.device = device;
    this.label = label;
  }

  /** A zeroed storage that lives as long as the program: an input, or state it carries from run to run. */
  own(bytes: number, label: string): Storage {
    const storage = fixedStorage(this.device, bytes, `${this.label}: ${label}`, "program");
    this.owned.push(storage);
    return storage;
  }
}

/**
 * The program that is being recorded.
 * @throws KernelError outside `record`
 */
export function recording(): Recording {
  if (!current) throw new KernelError("no program is being recorded: call ops inside record(device, label, () => …)");
  return current;
}

/**
 * Appends a kernel call to the program being recorded.
 * @throws KernelError when bindings or params do not match the WGSL by name
 */
export function dispatch(kernel: Kernel, entry: string, what: Dispatch): void {
  const spec = specialise(kernel, entry, what.constants);
  const extra = Object.keys(what.bindings).find((name) => !spec.resources.some((r) => r.name === name));
  if (extra) throw new KernelError(`${spec.label}: does not bind "${extra}"; it binds ${spec.resources.map((r) => r.name).join(", ")}`);
  const views = spec.resources.map((resource): Bound => {
    const { name } = resource;
    const view = what.bindings[name];
    if (!view) throw new KernelError(`${spec.label}: binding "${name}" is missing`);
    return { ...resource, view };
  });
  if (what.workgroups.some((n) => n === 0)) return;
  const { workgroups, flops = 0 } = what;
  recording().calls.push({ spec, views, params: packParams(spec, what.params ?? {}), workgroups, flops });
}

/** What a planned program consists of. */
interface Parts {
  readonly encoded: readonly Encoded[];
  /** Buffers that are its own, and scratch buffers that it shares. */
  readonly owned: readonly GPUBuffer[];
  readonly scratch: readonly GPUBuffer[];
  readonly memory: ProgramMemory;
}

/** A planned program: run it as often as you like. */
export class Program<R = unknown> {
  readonly device: Device;
  readonly label: string;
  readonly calls: readonly Call[];
  /** What the recorded function returned: the tensors to write before a run and to read after it. */
  readonly result: R;
  readonly memory: ProgramMemory;
  readonly #parts: Parts;
  readonly #scan: Scan | undefined;
  readonly #timed: boolean = debugs(1);
  #disposed = false;

  constructor(recorded: Recording, result: R, parts: Parts, scan?: Scan) {
    this.device = recorded.device;
    this.label = recorded.label;
    this.calls = recorded.calls;
    this.result = result;
    this.memory = parts.memory;
    this.#parts = parts;
    this.#scan = scan;
  }

  /** Bytes of the buffers this program binds beside parameters: scratch, inputs, outputs. */
  get bytes(): number {
    const { inputs, outputs, params, scratch } = this.memory;
    return inputs + outputs + params + scratch;
  }

  /** Its calls as a table: kernel, constants, workgroups, FLOPs, bytes. */
  describe(): string {
    return callTable(this.label, this.calls, `memory: ${formatBytes(this.bytes)}`);
  }

  /**
   * Submits the program, `times` in a row. Returns at once; reads wait for it.
   * @throws KernelError after `dispose`
   */
  run(times = 1): void {
    if (this.#disposed) throw new KernelError(`${this.label}: run after dispose; record it again`);
    const { gpu, counters } = this.device;
    const { encoded } = this.#parts;
    const encoder = gpu.createCommandEncoder({ label: this.label });
    const pass = encoder.beginComputePass({ label: this.label });
    this.#scan?.before(pass);
    for (let i = 0; i < times; i++) {
      for (const [at, { pipeline, group, workgroups }] of encoded.entries()) {
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, group);
        pass.dispatchWorkgroups(workgroups[0], workgroups[1], workgroups[2]);
        this.#scan?.after(pass, at);
      }
    }
    pass.end();
    gpu.queue.submit([encoder.finish()]);
    counters.submits++;
    counters.dispatches += times * encoded.length;
    this.#scan?.submitted();
    if (this.#timed) logRun(this.device, this.label, times * encoded.length);
  }

  /** Gives the program's own buffers back (inputs, outputs, parameters of its calls), and its share of the scratch. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const buffer of this.#parts.owned) this.device.destroyBuffer(buffer);
    this.#scan?.dispose();
    this.device.scratch.release(this.#parts.scratch);
  }
}

/**
 * Records `build`, plans its memory, compiles its kernels side by side.
 * @param keep the storages in `build`'s result that must survive the run
 * @throws KernelError at once when called while another program is being recorded
 */
export function recordProgram<R>(
  device: Device,
  label: string,
  build: () => R,
  keep: (result: R) => Iterable<Storage>,
): Promise<Program<R>> {
  if (current) throw new KernelError(`record("${label}"): already recording "${current.label}"; programs do not nest`);
  return finish(new Recording(device, label), build, keep);
}

async function finish<R>(recorded: Recording, build: () => R, keep: (result: R) => Iterable<Storage>): Promise<Program<R>> {
  const { device, owned } = recorded;
  try {
    const result = listen(recorded, build);
    for (const storage of keep(result)) recorded.kept.add(storage);
    const pipelines = await Promise.all(recorded.calls.map((call) => device.pipeline(call.spec)));
    const parts = await placed(device, () => assemble(recorded, planMemory(recorded), pipelines));
    const scan = debugs(4) ? await createScan(device, recorded.label, recorded.calls) : undefined;
    const program = new Program(recorded, result, parts, scan);
    if (debugs(2)) console.error(program.describe());
    return program;
  } catch (error) {
    for (const { place } of owned) device.destroyBuffer(place!.buffer);
    throw error;
  }
}

/** Allocates; what the GPU cannot give is an error here, not at some later read. */
async function placed(device: Device, allocate: () => Parts): Promise<Parts> {
  device.gpu.pushErrorScope("out-of-memory");
  let parts: Parts;
  let refused: Promise<GPUError | null>;
  try {
    parts = allocate();
  } finally {
    refused = device.gpu.popErrorScope();
  }
  const error = await refused;
  if (error) throw new DeviceError(device.explain(error));
  return parts;
}

/** Calls `build` while ops append to `recorded`. */
function listen<R>(recorded: Recording, build: () => R): R {
  current = recorded;
  try {
    const result = build();
    if (!(result instanceof Promise)) return result;
    result.catch(() => undefined);
    throw new KernelError(`record("${recorded.label}"): the function is async; ops are recorded synchronously, so await before record()`);
  } finally {
    current = undefined;
  }
}

/** Gives every storage its place, in one go: nothing is allocated unless all of it fits. */
function assemble(recorded: Recording, plan: Plan, pipelines: readonly GPUComputePipeline[]): Parts {
  const { device, label, calls } = recorded;
  checkBindings(device, calls);
  const params = packAll(device, calls);
  const sizes = plan.slots.map((slot) => slot.bytes);
  const sum = (storages: readonly Storage[]): number => storages.reduce((bytes, s) => bytes + s.bytes, 0);
  const outputs = sum(plan.kept);
  prepareReadback(device);
  device.memory.reserve(outputs + params.bytes.byteLength + device.scratch.missing(sizes), `"${label}"`);
  const owned = recorded.owned.map((s) => s.place!.buffer);
  for (const storage of plan.kept) {
    const buffer = device.createBuffer(storage.bytes, STORAGE_USAGE, `${label}: ${storage.label}`, "program");
    storage.place = { buffer, offset: 0 };
    owned.push(buffer);
  }
  const scratch = device.scratch.take(sizes);
  plan.slots.forEach(({ tenants }, i) => {
    for (const storage of tenants) Object.assign(storage, { place: { buffer: scratch[i]!, offset: 0 }, shared: true });
  });
  const uniforms = uploadParams(device, label, params.bytes);
  if (uniforms) owned.push(uniforms);
  const encoded = calls.map((call, i) => encode(device, call, pipelines[i]!, uniforms, params.offsets[i]!));
  const memory = { inputs: sum(recorded.owned), outputs, params: uniforms?.size ?? 0, scratch: sizes.reduce((a, b) => a + b, 0) };
  return { encoded, owned, scratch, memory };
}

/** @throws DeviceError when a call binds more bytes than one binding holds here */
function checkBindings({ limits }: Device, calls: readonly Call[]): void {
  const most = limits.maxStorageBufferBindingSize;
  for (const { spec, views } of calls) {
    for (const { name, view } of views) {
      const bytes = bytesOf(view);
      if (bytes <= most) continue;
      throw new DeviceError(
        `${spec.label}: "${name}" (${view.storage.label}) has ${formatBytes(bytes)}; one binding holds at most ` +
          `${formatBytes(most)} on this adapter. ${REMEDY}`,
      );
    }
  }
}

/** All calls' parameters side by side, each at an aligned offset. */
function packAll(device: Device, calls: readonly Call[]): { bytes: Uint8Array<ArrayBuffer>; offsets: number[] } {
  const step = Math.max(16, device.limits.minUniformBufferOffsetAlignment);
  const offsets: number[] = [];
  let end = 0;
  for (const { params } of calls) {
    offsets.push(end);
    if (params) end += Math.ceil(params.byteLength / step) * step;
  }
  const bytes = new Uint8Array(end);
  calls.forEach(({ params }, i) => params && bytes.set(new Uint8Array(params), offsets[i]!));
  return { bytes, offsets };
}

function uploadParams(device: Device, label: string, bytes: Uint8Array<ArrayBuffer>): GPUBuffer | undefined {
  if (bytes.byteLength === 0) return undefined;
  const buffer = device.createBuffer(bytes.byteLength, 0x0040 | 0x0008, `${label}: params`, "program");
  device.gpu.queue.writeBuffer(buffer, 0, bytes);
  return buffer;
}

function encode(device: Device, call: Call, pipeline: GPUComputePipeline, params: GPUBuffer | undefined, at: number): Encoded {
  const entries: GPUBindGroupEntry[] = call.views.map(({ binding, view }) => {
    const { buffer, offset } = view.storage.place!;
    return { binding, resource: { buffer, offset: offset + (view.offset ?? 0), size: bytesOf(view) } };
  });
  if (call.spec.params && params) {
    entries.push({ binding: call.spec.params.binding, resource: { buffer: params, offset: at, size: call.params!.byteLength } });
  }
  device.counters.bindGroups++;
  const group = device.gpu.createBindGroup({ label: call.spec.label, layout: pipeline.getBindGroupLayout(0), entries });
  return { pipeline, group, workgroups: call.workgroups };
}
