/** What a program is made of: kernel calls on views of storages. */
import type { Constants, Specialisation } from "./kernel.ts";
import type { Storage } from "./storage.ts";

/** A storage as a kernel sees it: whole, or a slice that starts `offset` bytes in. */
export interface View {
  readonly storage: Storage;
  readonly offset?: number;
  readonly bytes?: number;
  /** Elements that mean something; the rest of the last vec4 may hold anything. All of them by default. */
  readonly elements?: number;
  /** The elements are f16: only a kernel that sees them so may bind it. */
  readonly half?: boolean;
}

/** Bytes that a view binds. */
export const bytesOf = ({ storage, offset = 0, bytes = storage.bytes - offset }: View): number => bytes;

/** Workgroups along x, y, z. */
export type Grid = readonly [number, number, number];

/** What a dispatch needs beside the kernel; bindings and params go by their names in the WGSL. */
export interface Dispatch {
  readonly bindings: Readonly<Record<string, View>>;
  readonly params?: Readonly<Record<string, number>>;
  readonly constants?: Constants;
  readonly workgroups: Grid;
  /** Floating-point operations, for reports. */
  readonly flops?: number;
  /** What is worked on, for reports; by default the sizes among the parameters. */
  readonly shape?: string;
}

/** A view in the place where a kernel wants it. */
export interface Bound {
  readonly name: string;
  readonly binding: number;
  readonly writable: boolean;
  /** Bits of the floats that the kernel sees there; 0 = integers. */
  readonly floats: 0 | 16 | 32;
  readonly view: View;
}

/** A recorded kernel call. */
export interface Call {
  readonly spec: Specialisation;
  readonly views: readonly Bound[];
  readonly params: ArrayBuffer | undefined;
  readonly workgroups: Grid;
  readonly flops: number;
  readonly shape?: string;
}

/** The most workgroups along one dimension that every adapter takes. */
const MAX_GROUPS = 65535;

/** A grid of at least `groups` workgroups, folded to two dimensions where one is too short. */
export function grid(groups: number): Grid {
  if (groups <= MAX_GROUPS) return [groups, 1, 1];
  const rows = Math.ceil(groups / MAX_GROUPS);
  return [Math.ceil(groups / rows), rows, 1];
}
