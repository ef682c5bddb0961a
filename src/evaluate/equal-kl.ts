/** Series of runs compared where they went equally far: each one's line read off at one KL, seed by seed. */
import { mean, standardError } from "./mean.ts";

/** A run, its series' name, and its seed. */
export interface SeriesPoint {
  readonly series: string;
  readonly seed: number;
  /** Nats from the reference. */
  readonly kl: number;
  /** Win rate, or reward. */
  readonly value: number;
}

/** A series at one KL. */
export interface AtKl {
  readonly series: string;
  /** Mean over seeds. */
  readonly value: number;
  /** Standard error of `value` over seeds; NaN of one seed. */
  readonly se: number;
  /** Mean of the differences from the series compared with, seed by seed; NaN where none is shared. */
  readonly difference: number;
  readonly differenceSe: number;
  /** Seeds whose line reaches this KL. */
  readonly seeds: number;
}

/**
 * The value of a line at `kl`: straight between its points, in the order of their KL. Nothing is extrapolated, not even down to the
 * reference: lines are concave, and one with no run nearby would seem low there.
 * @returns undefined below the nearest point and beyond the farthest
 */
export function valueAt(
  points: readonly { readonly kl: number; readonly value: number }[],
  kl: number,
): number | undefined {
  const line = points.toSorted((a, b) => a.kl - b.kl);
  const to = line.findIndex((point) => point.kl >= kl);
  const b = line[to];
  if (!b || b.kl === kl) return b?.value;
  const a = line[to - 1];
  return a && a.value + ((b.value - a.value) * (kl - a.kl)) / (b.kl - a.kl);
}

/**
 * Every series at one KL, the best first.
 * @param against the series that differences are taken from
 */
export function seriesAt(points: readonly SeriesPoint[], kl: number, against: string): AtKl[] {
  const linesOf = (series: string): Map<number, number> => {
    const own = points.filter((point) => point.series === series);
    const seeds = [...new Set(own.map(({ seed }) => seed))];
    const found = seeds.map((seed) => {
      const line = own.filter((point) => point.seed === seed);
      return [seed, valueAt(line, kl)] as const;
    });
    return new Map(found.flatMap(([seed, value]) => (value === undefined ? [] : [[seed, value] as const])));
  };
  const base = linesOf(against);
  return [...new Set(points.map(({ series }) => series))]
    .flatMap((series) => {
      const values = linesOf(series);
      if (values.size === 0) return [];
      const differences = [...values].flatMap(([seed, value]) =>
        base.has(seed) ? [value - base.get(seed)!] : [],
      );
      const all = [...values.values()];
      return [
        {
          series,
          value: mean(all),
          se: standardError(all),
          difference: mean(differences),
          differenceSe: standardError(differences),
          seeds: values.size,
        },
      ];
    })
    .toSorted((a, b) => b.value - a.value);
}
