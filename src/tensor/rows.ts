/**
 * How kernels that reduce along the last dimension share rows out: a subgroup a row, or a thread a row where
 * there are no subgroups and where a software adapter meets short rows.
 */
import type { Grid } from "../gpu/call.ts";
import { grid } from "../gpu/call.ts";
import type { Device } from "../gpu/device.ts";
import { type Constants, type Kernel, loadKernel, using } from "../gpu/kernel.ts";
import { cores } from "../host.ts";

const shared = await loadKernel("rows");

/** Loads `shaders/<name>.wgsl` with what row kernels share: sums and maxima over a row's lanes. */
export const loadRowKernel = async (name: string): Promise<Kernel> => using(await loadKernel(name), shared);

/** Threads of a workgroup of a row kernel, at most. */
const THREADS = 64;
/** Workgroups that keep a software adapter's cores busy, which gives each of them as many. */
const BUSY = 2 * cores();
/** The longest row that one thread takes faster than a subgroup does, on a software adapter (1.1 to 1.5 times, lavapipe). */
const SHORT = 512;

/** What a row kernel is called with. */
export interface RowCall {
  /**
   * `L` lanes a row, `LOG` its binary logarithm, `SUBGROUPS` 1 if L > 1; `E` the element type (vec4f where rows
   * are whole vec4s, else f32), `W` floats in an E, `VEC` 1 if W = 4; `THREADS` of a workgroup.
   */
  readonly constants: Constants;
  /** `rows`; `width` elements E a row; `trips` = ceil(width / L), the same for every lane. */
  readonly params: { readonly rows: number; readonly width: number; readonly trips: number };
  readonly workgroups: Grid;
}

/** The ways to share rows out on this device, for an op's `variants`. */
export const rowVariants = (device: Device): readonly string[] =>
  device.subgroupSize > 0 ? ["plain", "subgroup"] : ["plain"];

/**
 * Shares `rows` rows of `columns` floats out. The lanes of a row depend on the device and on `columns` alone, so
 * that a row's result does not depend on how many rows there are.
 * @param variant "plain" = a thread a row, "subgroup" = a subgroup a row; by default the faster one
 */
export function rowCall(device: Device, rows: number, columns: number, variant?: string): RowCall {
  const short = device.software && columns <= SHORT;
  const L = variant === "plain" || (variant === undefined && short) ? 1 : Math.max(1, device.subgroupSize);
  const W = columns % 4 === 0 ? 4 : 1;
  const width = columns / W;
  const threads = threadsFor(device, rows * L, L);
  return {
    constants: {
      THREADS: threads,
      L,
      LOG: Math.log2(L),
      SUBGROUPS: L > 1 ? 1 : 0,
      W,
      VEC: W === 4 ? 1 : 0,
      E: W === 4 ? "vec4f" : "f32",
    },
    params: { rows, width, trips: Math.ceil(width / L) },
    workgroups: grid(Math.ceil((rows * L) / threads)),
  };
}

/** Few rows are shared out among the cores of a software adapter, in whole subgroups. */
function threadsFor({ software, subgroupSize }: Device, all: number, lanes: number): number {
  const least = Math.max(lanes, subgroupSize, 8);
  let threads = THREADS;
  while (software && threads / 2 >= least && all / threads < BUSY) threads /= 2;
  return threads;
}
