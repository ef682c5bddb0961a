/** The legend under a chart. Vega's own cannot show colour, shape and dash of a line with its points in one symbol. */
import { SHAPE_PATHS, type SeriesStyle } from "../palette.ts";
import { escapeHtml } from "../text.ts";
import { FONT } from "./svg.ts";
import { textWidth } from "./text-width.ts";

/** What the legend shows of a series: a piece of its line, its symbol, or both. */
export interface LegendEntry {
  readonly label: string;
  readonly style: SeriesStyle;
  readonly line: boolean;
  readonly symbol: "filled" | "hollow" | "none";
}

interface Placed extends LegendEntry {
  readonly x: number;
  readonly row: number;
}

const FONT_SIZE = 12;
const ROW = 21;
const GAP = 17;
const LINE = 28;
const SYMBOL = 12;
const TEXT_GAP = 7;
/** What stands in for Helvetica may be wider: DejaVu Sans, on many a Linux, by so much. */
const WIDER = 1.17;

/** The chart with its legend below, left edge at `left`; the SVG grows by the rows that the entries need. */
export function withLegend(svg: string, entries: readonly LegendEntry[], left: number): string {
  const size = /^<svg([^>]*?) width="([\d.]+)" height="([\d.]+)" viewBox="[^"]*"/.exec(svg);
  if (size === null || entries.length === 0) return svg;
  const [width, height] = [Number(size[2]), Number(size[3])];
  const placed = place(entries, left, width);
  const grown = height + ((placed.at(-1)?.row ?? 0) + 1) * ROW + 6;
  const head = `<svg${size[1]} width="${width}" height="${grown}" viewBox="0 0 ${width} ${grown}">`;
  const rest = svg.slice(svg.indexOf(">") + 1, svg.lastIndexOf("</svg>"));
  const items = placed.map((entry) => draw(entry, height + 8)).join("");
  const paper = `<rect y="${height}" width="${width}" height="${grown - height}" fill="white"/>`;
  return `${head}${rest}${paper}<g class="legend" font-family="${FONT}" font-size="${FONT_SIZE}">${items}</g></svg>`;
}

/** Entries in reading order, a new row where the next one would pass the right edge. */
function place(entries: readonly LegendEntry[], left: number, width: number): Placed[] {
  let [x, row] = [left, 0];
  return entries.map((entry) => {
    const taken = symbolWidth(entry) + TEXT_GAP + WIDER * textWidth(entry.label, FONT_SIZE);
    if (x > left && x + taken > width) [x, row] = [left, row + 1];
    const placed = { ...entry, x, row };
    x += Math.ceil(taken) + GAP;
    return placed;
  });
}

function symbolWidth(entry: LegendEntry): number {
  return entry.line ? LINE : SYMBOL;
}

function draw(entry: Placed, top: number): string {
  const { color, dash, shape } = entry.style;
  const width = symbolWidth(entry);
  const line = entry.line
    ? `<path d="M0,0H${width}" stroke="${color}" stroke-width="2" stroke-dasharray="${dash.join(" ")}"/>`
    : "";
  const paint =
    entry.symbol === "hollow" ? `fill="none" stroke="${color}" stroke-width="2"` : `fill="${color}"`;
  const symbol =
    entry.symbol === "none"
      ? ""
      : `<path transform="translate(${width / 2},0)" d="${SHAPE_PATHS[shape]}" ${paint}/>`;
  const text = `<text x="${width + TEXT_GAP}" y="4" fill="#1a1a1a">${escapeHtml(entry.label)}</text>`;
  return `<g transform="translate(${entry.x},${top + entry.row * ROW + 6})">${line}${symbol}${text}</g>`;
}
