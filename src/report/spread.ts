/** Points of a sweep as curves: means over seeds with their spread. */
import type { Curve } from "../align/analyses/analysis.ts";
import { mean, standardError } from "../evaluate/mean.ts";
import type { SweepRow } from "./types.ts";

/** What the curves run over, and what tells panels apart. */
export interface SpreadOptions {
  at(row: SweepRow): number;
  panel(row: SweepRow): string;
}

/** A curve for each series, of win rate and of reward: mean and standard deviation over seeds. */
export function meansOver(rows: readonly SweepRow[], { at, panel }: SpreadOptions): Curve[] {
  const panels = [...new Set(rows.map(panel))];
  const names = [...new Set(rows.map(({ name }) => name))];
  return panels.flatMap((group) =>
    (["win", "reward"] as const).flatMap((key) =>
      names.map((name) => {
        const own = rows.filter((row) => row.name === name && panel(row) === group);
        const xs = [...new Set(own.map(at))].toSorted((a, b) => a - b);
        const points = xs.map((x) =>
          spreadAt(
            x,
            own.filter((row) => at(row) === x).map((row) => row[key]),
          ),
        );
        const quantity = key === "win" ? "win rate" : "reward";
        return { name, panel: group === "" ? quantity : `${quantity}, ${group}`, points };
      }),
    ),
  );
}

function spreadAt(x: number, values: readonly number[]): readonly [number, number, number, number] {
  const center = mean(values);
  const deviation = values.length > 1 ? standardError(values) * Math.sqrt(values.length) : 0;
  return [x, center, center - deviation, center + deviation];
}
