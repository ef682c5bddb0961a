/** Encoding: a recorded and planned program gets its buffers, its uniform parameters and its bind groups. */
import { DeviceError } from "../errors.ts";
import { bytesOf, type Call, type Grid } from "./call.ts";
import type { Device } from "./device.ts";
import { formatBytes, REMEDY, STORAGE_USAGE } from "./memory.ts";
import type { Plan } from "./plan.ts";
import { prepareReadback } from "./readback.ts";
import type { Recording } from "./recording.ts";
import type { Storage } from "./storage.ts";

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
    for (const storage of tenants)
      Object.assign(storage, { place: { buffer: scratch[i]!, offset: 0 }, shared: true });
  });
  const uniforms = uploadParams(device, label, params.bytes);
  if (uniforms) owned.push(uniforms);
  const encoded = calls.map((call, i) => encode(device, call, pipelines[i]!, uniforms, params.offsets[i]!));
  const memory = {
    inputs: sum(recorded.owned),
    outputs,
    params: uniforms?.size ?? 0,
    scratch: sizes.reduce((a, b) => a + b, 0),
  };
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
function packAll(
  device: Device,
  calls: readonly Call[],
): { bytes: Uint8Array<ArrayBuffer>; offsets: number[] } {
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

function encode(
  device: Device,
  call: Call,
  pipeline: GPUComputePipeline,
  params: GPUBuffer | undefined,
  at: number,
): Encoded {
  const entries: GPUBindGroupEntry[] = call.views.map(({ binding, view }) => {
    const { buffer, offset } = view.storage.place!;
    return { binding, resource: { buffer, offset: offset + (view.offset ?? 0), size: bytesOf(view) } };
  });
  if (call.spec.params && params) {
    entries.push({
      binding: call.spec.params.binding,
      resource: { buffer: params, offset: at, size: call.params!.byteLength },
    });
  }
  device.counters.bindGroups++;
  const group = device.gpu.createBindGroup({
    label: call.spec.label,
    layout: pipeline.getBindGroupLayout(0),
    entries,
  });
  return { pipeline, group, workgroups: call.workgroups };
}
