/** Recording: while a function runs, ops append kernel calls on virtual storages to the current program. */
import { KernelError } from "../errors.ts";
import type { Bound, Call, Dispatch } from "./call.ts";
import type { Device } from "./device.ts";
import { type Kernel, packParams, specialise } from "./kernel.ts";
import { fixedStorage, type Storage } from "./storage.ts";

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
  if (!current)
    throw new KernelError("no program is being recorded: call ops inside record(device, label, () => …)");
  return current;
}

/**
 * Appends a kernel call to the program being recorded.
 * @throws KernelError when bindings or params do not match the WGSL by name
 */
export function dispatch(kernel: Kernel, entry: string, what: Dispatch): void {
  const spec = specialise(kernel, entry, what.constants);
  const extra = Object.keys(what.bindings).find((name) => !spec.resources.some((r) => r.name === name));
  if (extra)
    throw new KernelError(
      `${spec.label}: does not bind "${extra}"; it binds ${spec.resources.map((r) => r.name).join(", ")}`,
    );
  const views = spec.resources.map((resource): Bound => {
    const { name } = resource;
    const view = what.bindings[name];
    if (!view) throw new KernelError(`${spec.label}: binding "${name}" is missing`);
    if ((view.half ?? false) !== (resource.floats === 16))
      throw new KernelError(
        `${spec.label}: "${name}" is ${view.half ? "f16" : "not f16"}, the kernel expects ${resource.floats === 16 ? "f16" : "4-byte elements"}; cast it first`,
      );
    return { ...resource, view };
  });
  if (what.workgroups.some((n) => n === 0)) return;
  const { workgroups, flops = 0, shape } = what;
  const params = packParams(spec, what.params ?? {});
  recording().calls.push({ spec, views, params, workgroups, flops, ...(shape !== undefined && { shape }) });
}

/**
 * Refuses a second recording while one is under way.
 * @throws KernelError
 */
export function refuseNested(label: string): void {
  if (!current) return;
  throw new KernelError(`record("${label}"): already recording "${current.label}"; programs do not nest`);
}

/**
 * Calls `build` while ops append to `recorded`.
 * @throws KernelError when `build` is async
 */
export function listen<R>(recorded: Recording, build: () => R): R {
  current = recorded;
  try {
    const result = build();
    if (!(result instanceof Promise)) return result;
    result.catch(() => undefined);
    throw new KernelError(
      `record("${recorded.label}"): the function is async; ops are recorded synchronously, so await before record()`,
    );
  } finally {
    current = undefined;
  }
}
