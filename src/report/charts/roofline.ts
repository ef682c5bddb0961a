/** The roofline: what kernels reach against what arithmetic and memory allow (Williams, Waterman, Patterson 2009). */
import { styleAt } from "../palette.ts";
import { oneLine, truncate } from "../text.ts";
import { withLegend } from "./legend.ts";
import { type ChartRow, type ChartSpec, renderSvg } from "./svg.ts";

/** One kernel: its work and its time. */
export interface RooflinePoint {
  readonly name: string;
  readonly flops: number;
  readonly bytes: number;
  /** Milliseconds. */
  readonly ms: number;
}

/** The roof. */
export interface Roof {
  readonly gflops: number;
  readonly gbs: number;
}

/** Points of the same kernel share a style; so many have one of their own, the rest are grey. */
const STYLED = 10;

/**
 * SVG of GFLOP/s against FLOPs a byte, both logarithmic; areas are shares of the time. Kernels that count no
 * operations are left out.
 */
export async function rooflineChart(
  title: string,
  points: readonly RooflinePoint[],
  roof: Roof,
): Promise<string> {
  const drawn = points.filter(({ flops, bytes, ms }) => flops > 0 && bytes > 0 && ms > 0);
  const time = new Map<string, number>();
  for (const { name, ms } of drawn) time.set(name, (time.get(name) ?? 0) + ms);
  const names = [...time].toSorted((a, b) => b[1] - a[1]).map(([name]) => name);
  const rows = drawn.map(({ name, flops, bytes, ms }) => ({
    series: names.indexOf(name) < STYLED ? name : OTHERS,
    x: flops / bytes,
    y: flops / ms / 1e6,
    ms,
  }));
  const styles = new Map(names.slice(0, STYLED).map((name, i) => [name, styleAt(i)]));
  if (names.length > STYLED) styles.set(OTHERS, { color: "#9a9a9a", shape: "circle", dash: [1, 0] });
  const svg = await renderSvg(chart(title, rows, roof, styles), "roofline");
  const entries = [...styles].map(([label, style]) => ({
    label,
    style,
    line: false,
    symbol: "filled" as const,
  }));
  return withLegend(svg, entries, 12);
}

const OTHERS = "others";

function chart(
  title: string,
  rows: readonly ChartRow[],
  { gflops, gbs }: Roof,
  styles: ReadonlyMap<string, { readonly color: string; readonly shape: string }>,
): ChartSpec {
  const ridge = gflops / gbs;
  const xs = [...rows.map((row) => Number(row["x"])), ridge];
  const ys = [...rows.map((row) => Number(row["y"])), gflops];
  const [left, right] = [Math.min(...xs) / 2, Math.max(...xs) * 3];
  const [bottom, top] = [Math.min(...ys, left * gbs) / 2, gflops * 2];
  const domain = [...styles.keys()];
  const scale = (key: "color" | "shape"): ChartSpec => ({
    field: "series",
    type: "nominal",
    legend: null,
    scale: { domain, range: [...styles.values()].map((style) => style[key]) },
  });
  const axis = (field: string, text: string, range: readonly [number, number]): ChartSpec => ({
    field,
    type: "quantitative",
    title: text,
    scale: { type: "log", domain: range, nice: false },
    axis: { tickCount: 6, format: "~g" },
  });
  const roof = [left, ridge, right].map((x) => ({ x, y: Math.min(gflops, x * gbs) }));
  return {
    title: truncate(oneLine(title), 90),
    width: 520,
    height: 340,
    encoding: {
      x: axis("x", "Arithmetic intensity (FLOPs a byte bound)", [left, right]),
      y: axis("y", "GFLOP/s", [bottom, top]),
    },
    layer: [
      { data: { values: roof }, mark: { type: "line", color: "#1a1a1a", strokeWidth: 1.6 } },
      note({ x: right, y: gflops, text: `${gflops.toPrecision(3)} GFLOP/s` }, { align: "right", dy: -8 }),
      note(
        { x: left, y: left * gbs, text: `${gbs.toPrecision(3)} GB/s` },
        { align: "left", dx: 16, dy: -14 },
      ),
      {
        data: { values: rows },
        mark: { type: "point", filled: true, opacity: 0.85 },
        encoding: {
          color: scale("color"),
          shape: scale("shape"),
          size: {
            field: "ms",
            type: "quantitative",
            legend: null,
            scale: { type: "sqrt", range: [25, 420] },
          },
        },
      },
    ],
  };
}

function note(at: { x: number; y: number; text: string }, mark: ChartSpec): ChartSpec {
  return {
    data: { values: [at] },
    mark: { type: "text", fontSize: 10.5, color: "#333333", ...mark },
    encoding: { text: { field: "text", type: "nominal" } },
  };
}
