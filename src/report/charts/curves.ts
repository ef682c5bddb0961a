/** Lines over one quantity, in panels side by side: what the analyses of a reward cache draw. */
import type { Curve, Picture } from "../../align/analyses/analysis.ts";
import { type SeriesStyle, styleAt } from "../palette.ts";
import { withLegend } from "./legend.ts";
import { drawable, openScale, seriesEncoding, seriesLabel } from "./series.ts";
import { type ChartRow, type ChartSpec, renderSvg } from "./svg.ts";

/**
 * SVG of the curves, a panel for each `panel` in order of appearance; lines of one name have one style in all of them.
 * @param id unique within the page that the SVG goes into.
 */
export async function curvesChart({ x, y, step, logX, curves }: Picture, id: string): Promise<string> {
  const names = [...new Set(curves.map(({ name }) => seriesLabel(name)))];
  const styles = new Map<string, SeriesStyle>(names.map((name, index) => [name, styleAt(index)]));
  const { color, strokeDash } = seriesEncoding(styles);
  const panel = (title: string): ChartSpec => {
    const rows = rowsOf(curves.filter((curve) => curve.panel === title));
    return {
      width: 300,
      height: 240,
      title,
      data: { values: rows },
      layer: [
        {
          mark: {
            type: "line",
            strokeWidth: 1.6,
            ...(step ? { interpolate: "step-after" } : { point: { size: 40 } }),
          },
        },
        {
          transform: [{ filter: "datum.low < datum.high" }],
          mark: { type: "rule", strokeWidth: 1.4 },
          encoding: { y: { field: "low", type: "quantitative" }, y2: { field: "high" } },
        },
      ],
      encoding: {
        x: {
          field: "x",
          type: "quantitative",
          title: x,
          scale: logX
            ? { type: "log", base: 2, nice: false }
            : openScale(rows.map((row) => Number(row["x"]))),
        },
        y: {
          field: "y",
          type: "quantitative",
          title: y || null,
          scale: openScale(rows.flatMap((row) => [Number(row["low"]), Number(row["high"])])),
        },
        order: { field: "order", type: "quantitative" },
        color,
        strokeDash,
      },
    };
  };
  const panels = [...new Set(curves.map((curve) => curve.panel))];
  const svg = await renderSvg({ hconcat: panels.map(panel) }, id);
  if (names.length === 1) return svg;
  const entries = [...styles].map(([label, style]) => ({
    label,
    style,
    line: true,
    symbol: "none" as const,
  }));
  return withLegend(svg, entries, 12);
}

const rowsOf = (curves: readonly Curve[]): ChartRow[] =>
  curves.flatMap(({ name, points }) =>
    points
      .filter(([x, y]) => drawable(x, y))
      .map(([x, y, low = y, high = y], order) => ({ series: seriesLabel(name), x, y, low, high, order })),
  );
