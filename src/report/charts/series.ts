/** What the charts share of a series: its label, and scales for colour, shape and dash in the styles of the palette. */
import type { SeriesStyle } from "../palette.ts";
import { oneLine, truncate } from "../text.ts";
import type { ChartSpec } from "./svg.ts";

/** Longest series name in a legend, characters. */
const NAME_LENGTH = 64;

/** A series name as legends print it; also the value that the `series` field of the data must hold. */
export function seriesLabel(name: string): string {
  return truncate(oneLine(name), NAME_LENGTH);
}

/** Encodings over the series of a chart, without legends: those are drawn by `withLegend`. */
export function seriesEncoding(
  styles: ReadonlyMap<string, SeriesStyle>,
): Record<"color" | "shape" | "strokeDash", ChartSpec> {
  const domain = [...styles.keys()].map(seriesLabel);
  const all = [...styles.values()];
  const encode = (range: readonly unknown[]): ChartSpec => ({
    field: "series",
    type: "nominal",
    sort: null,
    scale: { domain, range },
    legend: null,
  });
  return {
    color: encode(all.map((style) => style.color)),
    shape: encode(all.map((style) => style.shape)),
    strokeDash: encode(all.map((style) => style.dash)),
  };
}

/** Whether every number of `values` can be drawn. */
export function drawable(...values: readonly (number | undefined)[]): boolean {
  return values.every((value) => value !== undefined && Number.isFinite(value));
}

/** A scale over `values` that need not hold 0; equal values get room on both sides, where vega would print odd ticks. */
export function openScale(values: readonly number[], nice: number | boolean = true): ChartSpec {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = Math.abs(low) * 0.1 || 0.1;
  return low === high ? { domain: [low - room, high + room], nice } : { zero: false, nice };
}
