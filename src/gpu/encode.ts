/** Encoding: a recorded and planned program gets its buffers, its uniform parameters and its bind groups. */
import { DeviceError } from "../errors.ts";
import { bytesOf, type Call, type Grid } from "./call.ts";
import type { Device } from "./device.ts";
import { formatBytes, REMEDY, STORAGE_USAGE } from "./memory.ts";
import type { Plan } from "./plan.ts";
import { prepareReadback } from "./readback.ts";
import type { Recording } from "./recording.ts";
import type { Storage } from "./storage.ts";

/** A call, ready to go into a pass. */
export interface Encoded {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  /** Parameters that travel with the dispatch; undefined where they lie in a uniform buffer, or there are none. */
  readonly immediates: ArrayBuffer | undefined;
  readonly workgroups: Grid;
}

/** Puts a call into `pass`. */
export function dispatchEncoded(
  pass: GPUComputePassEncoder,
  { pipeline, group, immediates, workgroups }: Encoded,
): void {
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, group);
  if (immediates) pass.setImmediates(0, immediates);
  pass.dispatchWorkgroups(workgroups[0], workgroups[1], workgroups[2]);
}

/** Bytes of the buffers that a program binds beside parameters. */
export interface ProgramMemory {
  readonly inputs: number;
  readonly outputs: number;
  /** The uniform parameters of its calls; 0 where they travel with the dispatches. */
  readonly params: number;
  /** Shared with the device's other programs. */
  readonly scratch: number;
}

/** What a planned program consists of. */
export interface Parts {
  readonly encoded: readonly Encoded[];
  /** Buffers that are its own, and scratch buffers that it shares. */
  readonly owned: readonly GPUBuffer[];
  readonly scratch: readonly GPUBuffer[];
  readonly memory: ProgramMemory;
}

/** Gives every storage its place, in one go: nothing is allocated unless all of it fits. */
export function assemble(recorded: Recording, plan: Plan, pipelines: readonly GPUComputePipeline[]): Parts {
  const { device, label, calls } = recorded;
  checkBindings(device, calls);
  const sizes = plan.slots.map((slot) => slot.bytes);
  const sum = (storages: readonly Storage[]): number => storages.reduce((bytes, s) => bytes + s.bytes, 0);
  const outputs = sum(plan.kept);
  prepareReadback(device);
  const params = uniformsOf(device, calls);
  device.memory.reserve(outputs + params.bytes + device.scratch.missing(sizes), `"${label}"`);
  const owned = recorded.owned.map((s) => s.place!.buffer);
  for (const storage of plan.kept) {
    const buffer = device.createBuffer(storage.bytes, STORAGE_USAGE, `${label}: ${storage.label}`, "program");
    storage.place = { buffer, offset: 0 };
    owned.push(buffer);
  }
  const scratch = device.scratch.take(sizes);
  plan.slots.forEach(({ tenants }, i) => {
    for (const storage of tenants)
      Object.assign(storage, { place: { buffer: scratch[i]!, offset: 0 }, shared: true });
  });
  const { encoded, uniforms } = encodeCalls(device, label, calls, pipelines);
  if (uniforms) owned.push(uniforms);
  const memory = {
    inputs: sum(recorded.owned),
    outputs,
    params: uniforms?.size ?? 0,
    scratch: sizes.reduce((a, b) => a + b, 0),
  };
  return { encoded, owned, scratch, memory };
}

/** @throws DeviceError when a call binds more bytes than one binding holds here */
function checkBindings({ bindingBytes: most }: Device, calls: readonly Call[]): void {
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

/** Where the calls' parameters go in a uniform buffer: side by side, each at an aligned offset; -1 = immediates, or none. */
function uniformsOf(device: Device, calls: readonly Call[]): { bytes: number; offsets: number[] } {
  const step = Math.max(16, device.limits.minUniformBufferOffsetAlignment);
  let bytes = 0;
  const offsets = calls.map(({ params, spec }) => {
    if (!params || device.takesImmediates(spec)) return -1;
    const at = bytes;
    bytes += Math.ceil(params.byteLength / step) * step;
    return at;
  });
  return { bytes, offsets };
}

/**
 * Makes the bind groups of calls whose storages have their places.
 * @param pipelines one a call
 * @returns the calls, and the buffer of their uniform parameters, which the caller owns
 */
export function encodeCalls(
  device: Device,
  label: string,
  calls: readonly Call[],
  pipelines: readonly GPUComputePipeline[],
): { encoded: Encoded[]; uniforms: GPUBuffer | undefined } {
  const { bytes, offsets } = uniformsOf(device, calls);
  const uniforms =
    bytes > 0 ? device.createBuffer(bytes, UNIFORM_COPY_DST, `${label}: params`, "program") : undefined;
  const packed = new Uint8Array(bytes);
  calls.forEach(({ params }, i) => offsets[i]! >= 0 && packed.set(new Uint8Array(params!), offsets[i]!));
  if (uniforms) device.gpu.queue.writeBuffer(uniforms, 0, packed);
  const encoded = calls.map((call, i) => encode(device, call, pipelines[i]!, uniforms, offsets[i]!));
  return { encoded, uniforms };
}

const UNIFORM_COPY_DST = 0x0040 | 0x0008;

function encode(
  device: Device,
  { spec, views, params, workgroups }: Call,
  pipeline: GPUComputePipeline,
  uniforms: GPUBuffer | undefined,
  at: number,
): Encoded {
  const entries: GPUBindGroupEntry[] = views.map(({ binding, view }) => {
    const { buffer, offset } = view.storage.place!;
    return { binding, resource: { buffer, offset: offset + (view.offset ?? 0), size: bytesOf(view) } };
  });
  if (uniforms && at >= 0) {
    const resource = { buffer: uniforms, offset: at, size: params!.byteLength };
    entries.push({ binding: spec.params!.binding, resource });
  }
  device.counters.bindGroups++;
  const layout = pipeline.getBindGroupLayout(0);
  const group = device.gpu.createBindGroup({ label: spec.label, layout, entries });
  return {
    pipeline,
    group,
    immediates: at < 0 ? params?.slice(0, spec.params!.size) : undefined,
    workgroups,
  };
}
