/**
 * Memory by liveness: two storages share a buffer when one is dead before the other is born. Whole buffers
 * are shared, never parts: one dispatch may not bind a buffer both read-only and writable.
 */
import { KernelError } from "../errors.ts";
import type { Call } from "./call.ts";
import type { Device } from "./device.ts";
import { STORAGE_USAGE, type Storage } from "./storage.ts";

interface Life {
  readonly storage: Storage;
  readonly first: number;
  last: number;
}

/** A buffer to be: as large as the largest of its tenants. */
interface Slot {
  bytes: number;
  readonly tenants: Storage[];
}

interface Recorded {
  readonly calls: readonly Call[];
  readonly kept: ReadonlySet<Storage>;
  readonly label: string;
}

/**
 * Places every virtual storage of a program: kept ones (outputs) in buffers of their own, the others in
 * scratch buffers that the device's programs share.
 * @returns bytes bound by this program, and the buffers that it owns
 * @throws KernelError when a storage is read before anything has written it
 */
export function planMemory(device: Device, recorded: Recorded): { bytes: number; owned: GPUBuffer[] } {
  const lives = lifetimes(recorded);
  const owned: GPUBuffer[] = [];
  let bytes = 0;
  for (const { storage } of lives.filter((l) => recorded.kept.has(l.storage))) {
    const buffer = device.createBuffer(storage.bytes, STORAGE_USAGE, `${recorded.label}: ${storage.label}`);
    storage.place = { buffer, offset: 0 };
    owned.push(buffer);
    bytes += storage.bytes;
  }
  const slots = assignSlots(lives.filter((l) => !recorded.kept.has(l.storage)));
  placeSlots(device, slots);
  return { bytes: slots.reduce((sum, slot) => sum + slot.bytes, bytes), owned };
}

/** First and last call of every storage that has no place yet, in order of birth. */
function lifetimes({ calls, label }: Recorded): Life[] {
  const lives = new Map<Storage, Life>();
  calls.forEach(({ views, spec }, at) => {
    for (const { view, writable } of views) {
      if (view.storage.place) continue;
      const life = lives.get(view.storage);
      if (life) life.last = at;
      else if (writable) lives.set(view.storage, { storage: view.storage, first: at, last: at });
      else throw new KernelError(`${label}: ${spec.label} reads "${view.storage.label}", which no earlier call of this program writes`);
    }
  });
  return [...lives.values()];
}

/** Greedy best fit: the smallest free slot that is large enough, else the largest free one, grown. */
function assignSlots(lives: readonly Life[]): Slot[] {
  const slots: Slot[] = [];
  const free: Slot[] = [];
  const busy: { slot: Slot; until: number }[] = [];
  for (const { storage, first, last } of lives) {
    for (let i = busy.length - 1; i >= 0; i--) {
      if (busy[i]!.until < first) free.push(...busy.splice(i, 1).map((b) => b.slot));
    }
    free.sort((a, b) => a.bytes - b.bytes);
    const fit = free.findIndex((slot) => slot.bytes >= storage.bytes);
    const slot = fit >= 0 ? free.splice(fit, 1)[0]! : (free.pop() ?? newSlot(slots));
    slot.bytes = Math.max(slot.bytes, storage.bytes);
    slot.tenants.push(storage);
    busy.push({ slot, until: last });
  }
  return slots;
}

function newSlot(slots: Slot[]): Slot {
  const slot = { bytes: 0, tenants: [] };
  slots.push(slot);
  return slot;
}

/** Largest slot first, each in the smallest unused scratch buffer that holds it, else in a new one. */
function placeSlots(device: Device, slots: readonly Slot[]): void {
  const unused = [...device.scratch].sort((a, b) => a.size - b.size);
  for (const slot of slots.toSorted((a, b) => b.bytes - a.bytes)) {
    const fit = unused.findIndex((buffer) => buffer.size >= slot.bytes);
    const buffer = fit >= 0 ? unused.splice(fit, 1)[0]! : newScratch(device, slot.bytes);
    for (const storage of slot.tenants) storage.place = { buffer, offset: 0 };
  }
}

function newScratch(device: Device, bytes: number): GPUBuffer {
  const buffer = device.createBuffer(bytes, STORAGE_USAGE, "scratch");
  device.scratch.push(buffer);
  return buffer;
}
