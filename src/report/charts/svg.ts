/** From a Vega-Lite specification to an SVG string, without a browser and without a canvas. */
import { textWidth } from "./text-width.ts";

/** A Vega-Lite specification or a part of one. Its own type is too deep to build step by step. */
export type ChartSpec = Readonly<Record<string, unknown>>;

/** One row of a chart's data. */
export type ChartRow = Readonly<Record<string, string | number | boolean>>;

/** Fonts by name: a chart must look the same in a page, in an image viewer and in print. */
export const FONT = "Helvetica Neue, Helvetica, Arial, Liberation Sans, sans-serif";

const INK = "#1a1a1a";
const GRID = "#e6e6e6";

const THEME: ChartSpec = {
  font: FONT,
  axisX: { labelFlush: false },
  background: "#ffffff",
  padding: 6,
  view: { stroke: null },
  axis: {
    domainColor: "#8a8a8a",
    grid: true,
    gridColor: GRID,
    labelColor: INK,
    labelFontSize: 11,
    labelPadding: 5,
    tickColor: "#8a8a8a",
    tickSize: 4,
    titleColor: INK,
    titleFontSize: 12,
    titleFontWeight: "normal",
    titlePadding: 9,
  },
  title: { anchor: "start", color: INK, fontSize: 13, fontWeight: 600, offset: 10 },
  concat: { spacing: 26 },
};

/**
 * Draws a specification. `id` must be unique within the page that the SVG goes into: it becomes the prefix of the ids
 * that vega numbers from 1 in every chart, which would collide where several are inlined. Text is escaped by vega.
 * @returns an `<svg>` element with a viewBox.
 */
export async function renderSvg(spec: ChartSpec, id: string): Promise<string> {
  // Loaded when a chart is drawn: 200 ms that no other command should pay.
  const [vega, vegaLite] = await Promise.all([import("vega"), import("vega-lite")]);
  measureWith(vega);
  const themed = { $schema: "https://vega.github.io/schema/vega-lite/v6.json", config: THEME, ...spec };
  const compiled = vegaLite.compile(themed as unknown as Parameters<typeof vegaLite.compile>[0]);
  const view = new vega.View(vega.parse(compiled.spec), { renderer: "none" });
  try {
    return uniqueIds(await view.toSVG(), id);
  } finally {
    view.finalize();
  }
}

/** Gives vega the widths of {@link textWidth}; a canvas package that happens to be installed would change layouts. */
function measureWith(vega: typeof import("vega")): void {
  const metrics = (vega as unknown as { textMetrics: { width: (item: TextItem, text?: unknown) => number } })
    .textMetrics;
  metrics.width = (item, text) => textWidth(String(text ?? item.text ?? ""), item.fontSize ?? 11);
}

interface TextItem {
  readonly text?: unknown;
  readonly fontSize?: number;
}

function uniqueIds(svg: string, id: string): string {
  return svg
    .replace(/(<(?:clipPath|linearGradient|radialGradient)[^>]*? id=")/g, `$1${id}-`)
    .replace(/(="url\(#)/g, `$1${id}-`);
}
