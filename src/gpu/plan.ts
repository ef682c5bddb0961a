/**
 * Memory by liveness: two storages share a buffer when one is dead before the other is born. Whole buffers
 * are shared, never parts: one dispatch may not bind a buffer both read-only and writable.
 */
import { KernelError } from "../errors.ts";
import type { Call } from "./call.ts";
import type { Storage } from "./storage.ts";

/** A storage, and the first and the last call that binds it. */
export interface Life {
  readonly storage: Storage;
  readonly first: number;
  last: number;
}

/** A shared buffer to be: as large as the largest of its tenants. */
export interface Slot {
  readonly bytes: number;
  readonly tenants: readonly Storage[];
}

/** Where a program's storages go. */
export interface Plan {
  /** Outputs: each gets a buffer of its own. */
  readonly kept: readonly Storage[];
  /** Everything else, largest slot first. */
  readonly slots: readonly Slot[];
}

interface Recorded {
  readonly calls: readonly Call[];
  readonly kept: ReadonlySet<Storage>;
  readonly label: string;
}

/**
 * Plans the memory of every storage of a program that has no place yet. Allocates nothing.
 * @throws KernelError when a storage is read before anything has written it, or belongs to another program's scratch
 */
export function planMemory(recorded: Recorded): Plan {
  const lives = lifetimes(recorded);
  const kept = lives.filter((l) => recorded.kept.has(l.storage)).map((l) => l.storage);
  return { kept, slots: assignSlots(lives.filter((l) => !recorded.kept.has(l.storage))) };
}

/** First and last call of every storage that has no place yet, in order of birth. */
function lifetimes({ calls, label, kept }: Recorded): Life[] {
  const lives = new Map<Storage, Life>();
  calls.forEach(({ views, spec }, at) => {
    for (const { view, writable } of views) {
      const { storage } = view;
      if (storage.shared) throw new KernelError(`${label}: ${spec.label} binds ${strayed(storage)}`);
      if (storage.place) continue;
      const life = lives.get(storage);
      if (life) life.last = at;
      else if (writable) lives.set(storage, { storage, first: at, last: at });
      else
        throw new KernelError(
          `${label}: ${spec.label} reads "${storage.label}", which no earlier call of this program writes`,
        );
    }
  });
  for (const storage of kept) {
    if (storage.shared) throw new KernelError(`${label}: returns ${strayed(storage)}`);
    if (storage.place || lives.has(storage)) continue;
    throw new KernelError(`${label}: returns "${storage.label}", which no call of this program writes`);
  }
  return [...lives.values()];
}

/** Why a storage in scratch memory cannot be used outside its program, and what to do. */
export function strayed({ label }: Storage): string {
  return `"${label}", whose memory was only lent to it while its program ran: return it from the function that record() calls`;
}

/**
 * Greedy by size (Pisarchyk and Lee 2020, "Efficient memory management for deep neural net inference", section 4.2): the
 * largest storages choose first, so that no slot ever grows; each takes the smallest slot whose tenants are all dead or
 * unborn while it lives.
 */
export function assignSlots(lives: readonly Life[]): Slot[] {
  const slots: { bytes: number; tenants: Life[] }[] = [];
  const bySize = lives.toSorted((a, b) => b.storage.bytes - a.storage.bytes || a.first - b.first);
  for (const life of bySize) {
    const free = slots.findLast(({ tenants }) =>
      tenants.every((t) => t.last < life.first || life.last < t.first),
    );
    if (free) free.tenants.push(life);
    else slots.push({ bytes: life.storage.bytes, tenants: [life] });
  }
  return slots.map(({ bytes, tenants }) => ({ bytes, tenants: tenants.map(({ storage }) => storage) }));
}
