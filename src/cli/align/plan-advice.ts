/** What to change about a run of `vbon align` that does not fit, each change tried on paper. */
import type { Device } from "../../gpu/device.ts";
import { formatBytes } from "../../gpu/memory.ts";
import { hasHalves } from "../../ops/cast.ts";
import { kebab } from "../arguments/flags.ts";
import type { Io } from "../verb.ts";
import { estimate, type PlanFlags } from "./plan-paper.ts";

/** Some flags, and what the run takes with them. */
export interface Change {
  readonly flags: string;
  readonly total: number;
  readonly fits: boolean;
}

type Settings = Readonly<Partial<PlanFlags>>;

/** "what would help: --micro-batch 8: 1.20 GiB, which fits" */
export const changeText = ({ flags, total, fits }: Change): string =>
  `what would help: ${flags}: ${formatBytes(total)}, ${fits ? "which fits" : "still too much"}`;

/** The largest micro-batch that fits into `limit` bytes, of powers of two times the one that is known to. */
export async function largestMicroBatch(
  device: Device,
  flags: PlanFlags,
  limit: number,
  io: Io,
): Promise<number> {
  const { minibatch } = flags;
  let known = flags.microBatch;
  while (known < minibatch) {
    const microBatch = Math.min(minibatch, 2 * known);
    const { refused, total } = await estimate(device, { ...flags, microBatch }, io);
    if (refused !== undefined || total > limit) break;
    known = microBatch;
  }
  return known;
}

/**
 * Each single change that helps, and where none of them is enough the first few that are together.
 * @param goal bytes that there are, and that the run takes as it is
 */
export async function whatHelps(
  device: Device,
  flags: PlanFlags,
  { limit, total }: { readonly limit: number; readonly total: number },
  io: Io,
): Promise<Change[]> {
  const tried = async (settings: Settings): Promise<Change> => {
    const planned = await estimate(device, { ...flags, ...settings }, io);
    const fits = planned.refused === undefined && planned.total <= limit;
    return { flags: spelled(settings), total: planned.total, fits };
  };
  const helpful: { readonly settings: Settings; readonly change: Change }[] = [];
  for (const settings of candidates(flags, device)) {
    const change = await tried(settings);
    if (change.fits || change.total < LEAST * total) helpful.push({ settings, change });
  }
  const alone = helpful.map(({ change }) => change);
  if (alone.some(({ fits }) => fits) || helpful.length < 2) return alone;
  let together: Settings = {};
  for (const { settings } of helpful) {
    together = { ...together, ...settings };
    const change = await tried(together);
    if (change.fits) return [...alone, change];
  }
  return [...alone, await tried(together)];
}

/** What leaves more than this share of the memory in use is not worth a line. */
const LEAST = 0.99;

/** Changes in the order of what they cost: nothing but time, then accuracy, then what is learned. */
function candidates(flags: PlanFlags, device: Device): Settings[] {
  const {
    microBatch,
    minibatch,
    rows,
    gradientCheckpointing,
    averageLast,
    frozenPrecision,
    value,
    lora,
    trainableLayers,
  } = flags;
  const halves = (n: number): number[] => (n > 1 ? [Math.ceil(n / 2), Math.ceil(n / 8), 1] : []);
  return [
    ...[...new Set(halves(Math.min(microBatch, minibatch)))].map((to) => ({ microBatch: to })),
    ...(gradientCheckpointing ? [] : [{ gradientCheckpointing: true }]),
    ...(rows > 1 ? [{ rows: Math.ceil(rows / 8) }] : []),
    ...(averageLast > 0 ? [{ averageLast: 0 }] : []),
    ...(frozenPrecision === "f32" && hasHalves(device) ? [{ frozenPrecision: "f16" } as const] : []),
    ...(value === "separate" ? [{ value: "shared" } as const] : []),
    ...(lora === undefined && trainableLayers === undefined
      ? [{ trainableLayers: 1 }, { lora: "all-linear", trainableLayers: undefined }]
      : []),
  ];
}

const spelled = (settings: Settings): string =>
  Object.entries(settings)
    .filter(([, to]) => to !== undefined)
    .map(([key, to]) => `--${kebab(key)}${to === true ? "" : ` ${String(to)}`}`)
    .join(" ");
