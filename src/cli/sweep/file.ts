/** A sweep as a file: caches to build, settings that all runs share, grids of runs, further evaluations. */
import { z } from "zod";
import { ConfigError } from "../../errors.ts";

const value = z.union([z.string(), z.number(), z.boolean()]);
const name = z.string().regex(/^[\w.-]+$/, "expected letters, digits, dots, dashes");
const settings = z.record(z.string(), value);

/** Settings of a command by the names of its config file: `gradClip`, not `grad-clip`. */
export type Settings = Readonly<Record<string, string | number | boolean>>;

/** See the value of the same name. */
export interface SweepFile {
  readonly title?: string | undefined;
  /** Settings of `vbon cache`, by the name that `cache` and `evalCache` call them. */
  readonly caches: Readonly<Record<string, Settings>>;
  /** Settings of `vbon align` for all runs. */
  readonly align: Settings;
  /** Grids: of every list each value, in every combination. `name` tells series of one method apart. */
  readonly runs: readonly Readonly<Record<string, Settings[string] | readonly Settings[string][]>>[];
  /** Seeds of every grid that names none. */
  readonly seeds: readonly number[];
  /** Settings of `vbon evaluate` for every run's model, by name: other temperatures, other prompts, other rewards. */
  readonly evaluations: Readonly<Record<string, Settings>>;
  /** Whether the average of all seeds' weights is evaluated too, as a series of its own: "vbon soup". */
  readonly soup?: boolean | undefined;
}

/** What a sweep's JSON file holds. */
export const SweepFile: z.ZodType<SweepFile> = z.strictObject({
  title: z.string().optional(),
  caches: z.record(name, settings).default({}),
  align: settings,
  runs: z.array(z.record(z.string(), z.union([value, z.array(value).min(1)]))).min(1),
  seeds: z.array(z.number().int().min(0)).min(1).default([0]),
  evaluations: z.record(name, settings).default({}),
  soup: z.boolean().optional(),
});

/** One run of a sweep. */
export interface Point {
  /** Names its folder: "vbon-n8-seed0". */
  readonly id: string;
  /** What is drawn as one series: the method, or the grid's `name`. */
  readonly series: string;
  /** What tells the points of a series apart, seeds aside: "N = 8". */
  readonly knob: string;
  readonly seed: number;
  /** Of `vbon align`, `out` aside. */
  readonly settings: Settings;
}

/**
 * The runs of a sweep, all of the first seed before any of the second: what is there at any time is comparable.
 * @throws ConfigError when two runs would be the same
 */
export function pointsOf({ align, runs, seeds }: SweepFile): Point[] {
  const points = runs.flatMap((grid) => {
    const { name: series, ...rest } = grid;
    const axes: Axes = { seed: seeds, ...rest };
    const listed = Object.keys(axes).filter((key) => Array.isArray(axes[key]) && !APART.has(key));
    return combinations(axes).map((chosen) => {
      const all = { ...align, ...chosen };
      return pointOf(String(series ?? all["method"] ?? "vbon"), listed, all);
    });
  });
  const seen = new Set<string>();
  for (const { id } of points) {
    if (seen.has(id))
      throw new ConfigError(`sweep: two runs are ${id}; give the grids that differ a "name" each`);
    seen.add(id);
  }
  return points.toSorted((a, b) => a.seed - b.seed);
}

/** Lists that a point's series and seed stand for. */
const APART: ReadonlySet<string> = new Set(["method", "seed"]);

function pointOf(series: string, listed: readonly string[], all: Settings): Point {
  const seed = Number(all["seed"]);
  const parts = listed.map((key) => `${key}${String(all[key])}`);
  const id = [series, ...parts, `seed${seed}`].join("-").replaceAll(/[^\w.+-]/g, "_");
  const knob = listed.map((key) => `${TITLES[key] ?? key} = ${String(all[key])}`).join(", ");
  return { id, series, knob, seed, settings: all };
}

const TITLES: Readonly<Record<string, string>> = { n: "N", maxSamples: "M" };

type Axes = Readonly<Record<string, Settings[string] | readonly Settings[string][] | undefined>>;

/** Every choice of one value of each list. */
function combinations(axes: Axes): Settings[] {
  return Object.entries(axes).reduce<Settings[]>(
    (partial, [key, values]) =>
      partial.flatMap((chosen) => [values ?? []].flat().map((one) => ({ ...chosen, [key]: one }))),
    [{}],
  );
}
