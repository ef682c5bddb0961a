/** What to change about a run that does not fit, each change tried on paper. */
import { formatBytes } from "../../gpu/memory.ts";
import { kebab } from "../arguments/flags.ts";
import type { Planned } from "./paper.ts";

/** Some flags, and what the run takes with them. */
export interface Change {
  readonly flags: string;
  readonly total: number;
  readonly fits: boolean;
}

/** "what would help: --micro-batch 8: 1.20 GiB, which fits" */
export const changeText = ({ flags, total, fits }: Change): string =>
  `what would help: ${flags}: ${formatBytes(total)}, ${fits ? "which fits" : "still too much"}`;

/** Whether a run has room in `limit` bytes. */
export const fitsInto = ({ refused, total }: Planned, limit: number): boolean =>
  refused === undefined && total <= limit;

/** Bytes that there are, and that the run takes as it is. */
export interface Goal {
  readonly limit: number;
  readonly total: number;
}

/**
 * Each single change that helps, and where none of them is enough the first few that are together.
 * @param candidates settings to change, in the order of what that costs
 * @param estimate the run with some settings changed
 */
export async function whatHelps<S extends object>(
  candidates: readonly S[],
  estimate: (settings: S) => Promise<Planned>,
  { limit, total }: Goal,
): Promise<Change[]> {
  const tried = async (settings: S): Promise<Change> => {
    const planned = await estimate(settings);
    return { flags: spelled(settings), total: planned.total, fits: fitsInto(planned, limit) };
  };
  const helpful: { readonly settings: S; readonly change: Change }[] = [];
  for (const settings of candidates) {
    const change = await tried(settings);
    if (change.fits || change.total < LEAST * total) helpful.push({ settings, change });
  }
  const alone = helpful.map(({ change }) => change);
  if (alone.some(({ fits }) => fits) || helpful.length < 2) return alone;
  let together = {} as S;
  for (const { settings } of helpful) {
    together = { ...together, ...settings };
    const change = await tried(together);
    if (change.fits) return [...alone, change];
  }
  return [...alone, await tried(together)];
}

/** What of a model is trained. */
export interface WeightFlags {
  readonly lora?: string | undefined;
  readonly trainableLayers?: number | undefined;
}

/** Where all of a model is trained: less of it. */
export const fewerTrained = ({ lora, trainableLayers }: WeightFlags): WeightFlags[] =>
  lora === undefined && trainableLayers === undefined
    ? [{ trainableLayers: 1 }, { lora: "all-linear", trainableLayers: undefined }]
    : [];

/** What leaves more than this share of the memory in use is not worth a line. */
const LEAST = 0.99;

const spelled = (settings: object): string =>
  Object.entries(settings)
    .filter(([, to]) => to !== undefined)
    .map(([key, to]) => `--${kebab(key)}${to === true ? "" : ` ${String(to)}`}`)
    .join(" ");
