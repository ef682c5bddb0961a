/** What `VBON_DEBUG` prints (see debug-level.ts): programs as tables, times of runs, and where NaNs begin. */
import { type Bound, bytesOf, type Call } from "./call.ts";
import type { Device } from "./device.ts";
import { dispatchEncoded, encodeCalls } from "./encode.ts";
import { loadKernel, packParams, specialise } from "./kernel.ts";
import { readStorage } from "./readback.ts";
import { boundBytes, shapeOf } from "./shape.ts";
import { fixedStorage, type Storage } from "./storage.ts";

/** One call of a program, for tables and profiles. */
export interface CallRow {
  readonly kernel: string;
  /** The constants it is compiled with: its variant. */
  readonly variant: string;
  readonly workgroups: string;
  /** What it works on: "M=512 N=512 K=64". */
  readonly shape: string;
  /** Floating-point operations; 0 where the op does not say. */
  readonly flops: number;
  /** Bytes of everything it binds. */
  readonly bytes: number;
}

/** The calls of a program, in order. */
export function callRows(calls: readonly Call[]): CallRow[] {
  return calls.map((call) => ({
    kernel: call.spec.label,
    variant: call.spec.key.slice(call.spec.label.length).replace(/^\(|\)$/g, ""),
    workgroups: call.workgroups.join("x"),
    shape: shapeOf(call),
    flops: call.flops,
    bytes: boundBytes(call),
  }));
}

/** The calls of a program as a table, with totals. */
export function callTable(label: string, calls: readonly Call[], note: string): string {
  const rows = callRows(calls);
  const cells = rows.map((r, i) => [
    `${i}`,
    r.kernel,
    r.workgroups,
    thousands(r.flops),
    thousands(r.bytes),
    r.variant,
  ]);
  const table = [["", "kernel", "workgroups", "kFLOP", "kB", "variant"], ...cells];
  const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => row[column]!.length)));
  const lines = table.map((row) =>
    row
      .map((cell, i) => (i === 1 || i === 5 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join("  ")
      .trimEnd(),
  );
  const sum = (key: "flops" | "bytes"): string => thousands(rows.reduce((total, row) => total + row[key], 0));
  return [
    `${label}: ${rows.length} dispatches, ${sum("flops")} kFLOP, ${sum("bytes")} kB bound; ${note}`,
    ...lines,
  ].join("\n");
}

const thousands = (n: number): string => (n / 1000).toFixed(1);

/** Says how long after its submission a run was done; runs before it in the queue count. */
export function logRun(device: Device, label: string, dispatches: number): void {
  const start = performance.now();
  void device.gpu.queue.onSubmittedWorkDone().then(() => {
    const ms = (performance.now() - start).toFixed(1);
    console.error(`vbon: ${label}: ${dispatches} dispatches, done ${ms} ms after submit`);
  });
}

/** Looks for NaNs while a program runs. */
export interface Scan {
  /** Scans what the program reads but does not write. */
  before(pass: GPUComputePassEncoder): void;
  /** Scans what call `at` has written. */
  after(pass: GPUComputePassEncoder, at: number): void;
  /** Asks for a look at the findings before the next read. */
  submitted(): void;
  dispose(): void;
}

/** A place to be scanned, after call `at` (-1: before the first). */
interface Probe {
  readonly at: number;
  readonly bound: Bound;
  readonly elements: number;
  readonly what: string;
}

const NONE = 0xffffffff;
const SCANNERS = 256;

/** Prepares the scan of a program whose storages have their places. The first finding goes to stderr. */
export async function createScan(device: Device, label: string, calls: readonly Call[]): Promise<Scan> {
  const probes = probesOf(calls);
  const finds = fixedStorage(device, probes.length * 4, `${label}: NaN scan`, "program");
  const clear = (): void =>
    device.gpu.queue.writeBuffer(finds.place!.buffer, 0, new Uint32Array(finds.bytes / 4).fill(NONE));
  const spec = specialise(await loadKernel("debug"), "first_nan");
  const pipeline = await device.pipeline(spec);
  const looks = probes.map(({ bound, elements }, slot): Call => {
    const views = [
      { ...bound, binding: 0 },
      { ...bound, binding: 1, view: { storage: finds } },
    ];
    const workgroups = [Math.min(SCANNERS, Math.ceil(elements / 64)), 1, 1] as const;
    const params = packParams(spec, { n: elements, slot, half: bound.floats === 16 ? 1 : 0 });
    return { spec, views, params, workgroups, flops: 0 };
  });
  const pipelines = looks.map(() => pipeline);
  const { encoded, uniforms } = encodeCalls(device, `${label}: NaN scan`, looks, pipelines);
  const scan = (pass: GPUComputePassEncoder, at: number): void => {
    probes.forEach((probe, slot) => {
      if (probe.at === at) dispatchEncoded(pass, encoded[slot]!);
    });
  };
  let told = false;
  let asked = false;
  const look = async (): Promise<void> => {
    asked = false;
    if (told) return;
    const [bytes] = await readStorage(device, [{ storage: finds }]);
    const found = new Uint32Array(bytes!);
    const slot = probes.findIndex((_, i) => found[i] !== NONE);
    if (slot < 0) return;
    told = true;
    console.error(
      `vbon: NaN in "${label}": ${probes[slot]!.what}: element ${found[slot]} of ${probes[slot]!.elements} is the first`,
    );
  };
  clear();
  return {
    before: (pass) => scan(pass, -1),
    after: scan,
    submitted() {
      if (!told && !asked) device.beforeRead.push(look);
      asked = true;
    },
    dispose() {
      told = true;
      device.destroyBuffer(finds.place!.buffer);
      if (uniforms) device.destroyBuffer(uniforms);
    },
  };
}

/** Inputs before the first call; every output after the last call that writes it (a concat takes several). */
function probesOf(calls: readonly Call[]): Probe[] {
  const touched = new Set<Storage>();
  const inputs: Probe[] = [];
  const outputs = new Map<string, Probe>();
  calls.forEach(({ views, spec }, at) => {
    const name = `call ${at} of ${calls.length}, ${spec.key}`;
    for (const bound of views.filter((b) => b.floats > 0)) {
      const { storage, elements = (8 * bytesOf(bound.view)) / bound.floats, offset = 0 } = bound.view;
      const probe = { at, bound, elements };
      if (bound.writable)
        outputs.set(`${storage.id} ${offset}`, {
          ...probe,
          what: `${name}, writes "${bound.name}" (${storage.label})`,
        });
      else if (!touched.has(storage))
        inputs.push({ ...probe, at: -1, what: `${name}, is given "${bound.name}" (${storage.label})` });
    }
    for (const { view } of views) touched.add(view.storage);
  });
  return [...inputs, ...[...outputs.values()].toSorted((a, b) => a.at - b.at)];
}
