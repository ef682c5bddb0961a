/** What the commands of one process share: a sweep opens its reference and its rewards once, not once a run. */
import type { Device } from "../gpu/device.ts";

const devices = new WeakMap<Device, Map<string, Promise<unknown> | undefined>>();

/** Says that what the commands on `device` open under these names (folders, SPECs) is opened once and stays open. */
export function share(device: Device, names: readonly string[]): void {
  const known = devices.get(device) ?? new Map<string, Promise<unknown> | undefined>();
  for (const name of names.flatMap((n) => [n, inHalves(n)])) if (!known.has(name)) known.set(name, undefined);
  devices.set(device, known);
}

/** What a model is called whose weights are held in f16. */
export const inHalves = (name: string): string => `${name} in f16`;

/** Whether `name` stays open when a command ends. */
export const isShared = (device: Device, name: string): boolean => devices.get(device)?.has(name) ?? false;

/** What `open` gives: the first time that `name` is asked for, or each time where it is not shared. */
export function shared<T>(device: Device, name: string, open: () => Promise<T>): Promise<T> {
  const known = devices.get(device);
  if (!known?.has(name)) return open();
  const opened = (known.get(name) as Promise<T> | undefined) ?? open();
  known.set(name, opened);
  return opened;
}
