/** How each method got there: small multiples over the episodes, one panel per logged quantity. */
import { stylesOf } from "../palette.ts";
import type { Comparison, TrainingPoint } from "../types.ts";
import { withLegend } from "./legend.ts";
import { drawable, openScale, seriesEncoding, seriesLabel } from "./series.ts";
import { type ChartRow, type ChartSpec, renderSvg } from "./svg.ts";

type Quantity = Exclude<keyof TrainingPoint, "episodes">;

const PANELS: readonly (readonly [Quantity, string])[] = [
  ["reward", "Mean reward"],
  ["win", "Win rate"],
  ["rank", "Mean rank in the rollouts"],
  ["kl", "KL (nats per response)"],
  ["entropy", "Entropy (nats per response)"],
  ["clipFraction", "Clip fraction"],
];

/** A curve of so few points shows them as dots too; a single point would draw no line at all. */
const DOTTED_UP_TO = 12;

// Thousands as `10k`; the plain SI format would print `0k`.
const EPISODES = "datum.value === 0 ? '0' : format(datum.value, '~s')";

/** The quantities that at least one training curve logged: one panel each. */
export function loggedQuantities(comparison: Comparison): Quantity[] {
  const points = Object.values(comparison.trainingCurves).flat();
  return PANELS.map(([quantity]) => quantity).filter((quantity) =>
    points.some((point) => drawable(point[quantity])),
  );
}

/** SVG of the training curves, three panels a row; a quantity that no method logged has no panel. */
export async function trainingCurves(comparison: Comparison): Promise<string> {
  const styles = new Map(
    [...stylesOf(comparison)].filter(([name]) => (comparison.trainingCurves[name] ?? []).length > 0),
  );
  const encoding = seriesEncoding(styles);
  const logged = loggedQuantities(comparison);
  const concat = PANELS.filter(([quantity]) => logged.includes(quantity)).map(([quantity, title]) =>
    panel(rowsOf(comparison, quantity), title, encoding),
  );
  const svg = await renderSvg(
    { columns: 3, bounds: "flush", spacing: { row: 86, column: 60 }, concat },
    "training",
  );
  return withLegend(
    svg,
    [...styles].map(([name, style]) => ({ label: seriesLabel(name), style, line: true, symbol: "none" })),
    12,
  );
}

function panel(
  rows: readonly ChartRow[],
  title: string,
  encoding: ReturnType<typeof seriesEncoding>,
): ChartSpec {
  const { color, shape, strokeDash } = encoding;
  return {
    width: 288,
    height: 170,
    title: { text: title, frame: "group" },
    data: { values: rows },
    encoding: {
      x: {
        field: "episodes",
        type: "quantitative",
        title: "Episodes",
        axis: { labelExpr: EPISODES, tickCount: 5 },
      },
      y: {
        field: "y",
        type: "quantitative",
        title: null,
        scale: openScale(
          rows.map((row) => Number(row["y"])),
          5,
        ),
        axis: { tickCount: 5 },
      },
      color,
    },
    layer: [
      { mark: { type: "line", strokeWidth: 1.8 }, encoding: { strokeDash } },
      {
        transform: [{ filter: "datum.dot" }],
        mark: { type: "point", filled: true, size: 34, opacity: 1 },
        encoding: { shape },
      },
    ],
  };
}

function rowsOf(comparison: Comparison, quantity: Quantity): ChartRow[] {
  return Object.entries(comparison.trainingCurves).flatMap(([name, points]) => {
    const logged = points.filter((point) => drawable(point.episodes, point[quantity]));
    const dot = logged.length <= DOTTED_UP_TO;
    return logged.map((point) => ({
      series: seriesLabel(name),
      episodes: point.episodes,
      y: point[quantity] ?? 0,
      dot,
    }));
  });
}
