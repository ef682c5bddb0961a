/**
 * Tiers: which kinds of kernels a device can run. Found by asking the device, never by a vendor's name; a tier that
 * fails its self-test is not used (`Device.selfTest`).
 */
import type { DialectName } from "./dialect.ts";
import { oldMatrixDialect } from "./dialect.ts";

/**
 * Beyond the plain kernels, which every WebGPU device runs: `tile` = portable f32 through workgroup memory,
 * `subgroups` = lanes that talk to each other, `f16` = half floats in memory, `matrix` = subgroup matrices (tensor cores).
 */
export type TierName = (typeof TIERS)[number];
export const TIERS = ["tile", "subgroups", "f16", "matrix"] as const;

/** What is known about a tier here. */
export interface Tier {
  readonly state: "absent" | "unchecked" | "passed" | "failed";
  /** Why it is absent or failed; what was found where it is there. */
  readonly why: string;
}

/** A product that the matrix unit does in one piece: [M, K] of `component` times [K, N] into [M, N] of `result`. */
export interface MatrixShape {
  readonly component: "f16" | "f32";
  readonly result: "f16" | "f32";
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** Subgroup matrices as this device has them. */
export interface MatrixFacts {
  readonly dialect: DialectName;
  /** Those that accumulate in f32. */
  readonly shapes: readonly MatrixShape[];
}

/** The subgroup that kernels get. */
export interface Lanes {
  /** Lanes, one fixed number; 0 where there is none. */
  readonly size: number;
  /** The hardware has several sizes: every kernel has to ask for this one (`@subgroup_size`). */
  readonly asked: boolean;
  readonly why: string;
}

/** What tiers are read from; a GPUAdapter has all of it. */
export interface Adapter {
  readonly features: ReadonlySet<string>;
  readonly info: GPUAdapterInfo & {
    readonly subgroupMatrixConfigs?: Iterable<{
      readonly componentType: string;
      readonly resultComponentType: string;
      readonly M: number;
      readonly N: number;
      readonly K: number;
    }>;
  };
}

export const MATRIX_FEATURE = "chromium-experimental-subgroup-matrix";

/** Sizes that kernels are written for. */
const SIZES = [4, 8, 16, 32, 64];
/** What is asked for where the hardware offers it and others: whole on every GPU that has a choice. */
const USUAL = 32;

/** Lanes of a subgroup: the only size there is, else one that kernels ask for, else none. */
export function lanesOf({ features, info }: Adapter): Lanes {
  const { subgroupMinSize: min = 0, subgroupMaxSize: max = 0 } = info;
  if (!features.has("subgroups")) return { size: 0, asked: false, why: "no feature subgroups" };
  if (min === max && SIZES.includes(min)) return { size: min, asked: false, why: `${min} lanes` };
  const range = `${min} to ${max} lanes`;
  const size = SIZES.filter((n) => n >= min && n <= max && n <= USUAL).at(-1) ?? 0;
  if (size > 0 && features.has("subgroup-size-control"))
    return { size, asked: true, why: `${size} lanes, asked for among ${range}` };
  return { size: 0, asked: false, why: `${range}, and no feature subgroup-size-control to fix one` };
}

/** The shapes that add up in f32, as the adapter lists them. */
export function matrixShapes({ info }: Adapter): MatrixShape[] {
  return [...(info.subgroupMatrixConfigs ?? [])].flatMap(({ componentType, resultComponentType, M, N, K }) =>
    (componentType === "f16" || componentType === "f32") && resultComponentType === "f32"
      ? [{ component: componentType, result: resultComponentType, M, N, K }]
      : [],
  );
}

/** One load, in the present dialect: what compiles tells the dialect. */
const SAMPLE = `enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
var<workgroup> tile: array<f16, 64>;
@compute @workgroup_size(128) fn probe() {
  let m = subgroupMatrixLoad<subgroup_matrix_left<f16, 8, 8>, row_major>(&tile, 0u, 8u);
}`;

/** Which dialect of subgroup matrices the compiler speaks; undefined where it speaks neither. */
export async function matrixDialect(device: GPUDevice): Promise<DialectName | undefined> {
  for (const [name, code] of [
    ["modes", SAMPLE],
    ["flags", oldMatrixDialect(SAMPLE)],
  ] as const) {
    device.pushErrorScope("validation");
    const module = device.createShaderModule({ code, label: "vbon: dialect of subgroup matrices" });
    const invalid = device.popErrorScope();
    const { messages } = await module.getCompilationInfo();
    if (!(await invalid) && messages.every(({ type }) => type !== "error")) return name;
  }
  return undefined;
}

/** What the device has, before any of it was tried. */
export function probeTiers(
  features: ReadonlySet<string>,
  lanes: Lanes,
  matrix: MatrixFacts | undefined,
): Map<TierName, Tier> {
  const tier = (there: boolean, found: string, missing: string): Tier =>
    there ? { state: "unchecked", why: found } : { state: "absent", why: missing };
  const shapes = matrix?.shapes.map(({ component, M, N, K }) => `${M}x${N}x${K} ${component}`).join(", ");
  return new Map([
    ["tile", tier(true, "f32 through workgroup memory", "")],
    ["subgroups", tier(lanes.size > 0, lanes.why, lanes.why)],
    ["f16", tier(features.has("shader-f16"), "half floats in memory", "no feature shader-f16")],
    ["matrix", tier(Boolean(shapes) && lanes.size > 0, shapes ?? "", whyNoMatrix(features, matrix))],
  ]);
}

function whyNoMatrix(features: ReadonlySet<string>, matrix: MatrixFacts | undefined): string {
  if (!features.has(MATRIX_FEATURE)) return `no feature ${MATRIX_FEATURE}`;
  if (!matrix) return "the compiler speaks neither dialect of subgroup matrices";
  return "the adapter lists no shape that accumulates in f32";
}
