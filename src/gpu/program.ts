/**
 * Programs: recorded once, planned, replayed. While a function records, ops append kernel calls on virtual
 * storages; the plan decides which buffers they share; a run only encodes and submits, so that the steady
 * state creates no buffer, no bind group and no tensor.
 */
import { KernelError } from "../errors.ts";
import type { Call, Dispatch, Grid } from "./call.ts";
import type { Device } from "./device.ts";
import { type Kernel, packParams, specialise } from "./kernel.ts";
import { planMemory } from "./plan.ts";
import { fixedStorage, type Storage } from "./storage.ts";

interface Encoded {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly workgroups: Grid;
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
    const storage = fixedStorage(this.device, bytes, `${this.label}: ${label}`);
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
  const views = spec.resources.map(({ name, binding, writable }) => {
    const view = what.bindings[name];
    if (!view) throw new KernelError(`${spec.label}: binding "${name}" is missing`);
    return { binding, writable, view };
  });
  if (what.workgroups.some((n) => n === 0)) return;
  const { workgroups, flops = 0 } = what;
  recording().calls.push({ spec, views, params: packParams(spec, what.params ?? {}), workgroups, flops });
}

/** A planned program: run it as often as you like. */
export class Program<R = unknown> {
  readonly device: Device;
  readonly label: string;
  readonly calls: readonly Call[];
  /** What the recorded function returned: the tensors to write before a run and to read after it. */
  readonly result: R;
  /** Bytes of the buffers this program binds beside parameters: scratch, inputs, outputs. */
  readonly bytes: number;
  readonly #encoded: readonly Encoded[];
  readonly #owned: readonly GPUBuffer[];

  constructor(recorded: Recording, result: R, encoded: readonly Encoded[], owned: readonly GPUBuffer[], bytes: number) {
    this.device = recorded.device;
    this.label = recorded.label;
    this.calls = recorded.calls;
    this.result = result;
    this.bytes = bytes;
    this.#encoded = encoded;
    this.#owned = owned;
  }

  /** Submits the program, `times` in a row. Returns at once; reads wait for it. */
  run(times = 1): void {
    const { gpu, counters } = this.device;
    const encoder = gpu.createCommandEncoder({ label: this.label });
    const pass = encoder.beginComputePass({ label: this.label });
    for (let i = 0; i < times; i++) {
      for (const { pipeline, group, workgroups } of this.#encoded) {
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, group);
        pass.dispatchWorkgroups(workgroups[0], workgroups[1], workgroups[2]);
      }
    }
    pass.end();
    gpu.queue.submit([encoder.finish()]);
    counters.submits++;
    counters.dispatches += times * this.#encoded.length;
  }

  /** Gives the program's own buffers back (inputs, outputs, parameters of its calls), not the shared scratch. */
  dispose(): void {
    for (const buffer of this.#owned) this.device.destroyBuffer(buffer);
  }
}

/**
 * Records `build`, plans its memory, compiles its kernels side by side.
 * @param keep the storages in `build`'s result that must survive the run
 */
export async function recordProgram<R>(
  device: Device,
  label: string,
  build: () => R,
  keep: (result: R) => Iterable<Storage>,
): Promise<Program<R>> {
  if (current) throw new KernelError(`record("${label}"): already recording "${current.label}"; programs do not nest`);
  const recorded = new Recording(device, label);
  current = recorded;
  let result: R;
  try {
    result = build();
  } finally {
    current = undefined;
  }
  for (const storage of keep(result)) recorded.kept.add(storage);
  const pipelines = await Promise.all(recorded.calls.map((call) => device.pipeline(call.spec)));
  const { bytes, owned } = planMemory(device, recorded);
  const params = placeParams(device, recorded);
  const encoded = recorded.calls.map((call, i) => encode(device, call, pipelines[i]!, params.buffer, params.offsets[i]!));
  const ownedBytes = recorded.owned.reduce((sum, s) => sum + s.bytes, 0);
  const buffers = [...owned, ...recorded.owned.map((s) => s.place!.buffer), ...(params.buffer ? [params.buffer] : [])];
  return new Program(recorded, result, encoded, buffers, bytes + ownedBytes);
}

/** All calls' parameters in one uniform buffer, each at an aligned offset. */
function placeParams(device: Device, { calls, label }: Recording): { buffer: GPUBuffer | undefined; offsets: number[] } {
  const step = Math.max(16, device.limits.minUniformBufferOffsetAlignment);
  const offsets: number[] = [];
  let end = 0;
  for (const { params } of calls) {
    offsets.push(end);
    if (params) end += Math.ceil(params.byteLength / step) * step;
  }
  if (end === 0) return { buffer: undefined, offsets };
  const bytes = new Uint8Array(end);
  calls.forEach(({ params }, i) => params && bytes.set(new Uint8Array(params), offsets[i]!));
  const buffer = device.createBuffer(end, 0x0040 | 0x0008, `${label}: params`);
  device.gpu.queue.writeBuffer(buffer, 0, bytes);
  return { buffer, offsets };
}

function encode(device: Device, call: Call, pipeline: GPUComputePipeline, params: GPUBuffer | undefined, at: number): Encoded {
  const entries: GPUBindGroupEntry[] = call.views.map(({ binding, view }) => {
    const { buffer, offset } = view.storage.place!;
    const from = view.offset ?? 0;
    return { binding, resource: { buffer, offset: offset + from, size: view.bytes ?? view.storage.bytes - from } };
  });
  if (call.spec.params && params) {
    entries.push({ binding: call.spec.params.binding, resource: { buffer: params, offset: at, size: call.params!.byteLength } });
  }
  device.counters.bindGroups++;
  const group = device.gpu.createBindGroup({ label: call.spec.label, layout: pipeline.getBindGroupLayout(0), entries });
  return { pipeline, group, workgroups: call.workgroups };
}
