/** Small HTML pieces: every string that goes in is escaped here, and nowhere else. */
import { SHAPE_PATHS, type SeriesStyle } from "./palette.ts";
import { escapeHtml } from "./text.ts";

/** HTML that is already safe; made by the functions of this file from escaped parts. */
export type Html = string;

/** A number as it is shown, with its exact value in the `value` attribute. */
export function numberHtml(value: number | undefined, shown: string): Html {
  const exact = value === undefined || !Number.isFinite(value) ? undefined : String(value);
  return exact === undefined ? escapeHtml(shown) : `<data value="${exact}">${escapeHtml(shown)}</data>`;
}

/** The mark of a series, as the charts draw it: filled, or an outline for the reference. */
export function glyph(style: SeriesStyle | undefined, hollow = false): Html {
  if (style === undefined) return "";
  const paint = hollow ? `fill="none" stroke-width="2" stroke="${style.color}"` : `fill="${style.color}"`;
  return `<svg class="glyph" viewBox="-6.5 -6.5 13 13" aria-hidden="true"><path d="${SHAPE_PATHS[style.shape]}" ${paint}/></svg>`;
}

/** A table cell of the results: its HTML, and whether it is a number (right-aligned). */
export interface Cell {
  readonly html: Html;
  readonly numeric: boolean;
}

/** A table. The first cell of each row is the row's header; `head` cells come ready, as do the rows' classes. */
export function table(
  head: readonly Cell[],
  rows: readonly { cells: readonly Cell[]; className?: string }[],
): Html {
  const align = (cell: Cell): string => (cell.numeric ? ' class="number"' : "");
  const header = head.map((cell) => `<th scope="col"${align(cell)}>${cell.html}</th>`).join("");
  const body = rows.map(({ cells, className }) => {
    const inner = cells.map((cell, i) =>
      i === 0 ? `<th scope="row"${align(cell)}>${cell.html}</th>` : `<td${align(cell)}>${cell.html}</td>`,
    );
    return `<tr${className === undefined ? "" : ` class="${className}"`}>${inner.join("")}</tr>`;
  });
  return `<div class="scroll"><table>\n<thead><tr>${header}</tr></thead>\n<tbody>\n${body.join("\n")}\n</tbody></table></div>`;
}

/** A chart with its caption; `label` is what a screen reader says in place of the drawing. */
export function figure(svg: string, label: string, caption: string): Html {
  const width = /<svg[^>]*? width="(\d+(?:\.\d+)?)"/.exec(svg)?.[1] ?? "1056";
  const scaled = svg.replace(
    /<svg([^>]*?) width="[^"]*" height="[^"]*"/,
    `<svg$1 role="img" aria-label="${escapeHtml(label)}"`,
  );
  return `<figure style="--natural: ${width}px">${scaled}<figcaption>${escapeHtml(caption)}</figcaption></figure>`;
}

/** Names and values side by side. */
export function definitions(entries: readonly (readonly [string, string])[]): Html {
  const items = entries.map(
    ([name, value]) => `<div><dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}</dd></div>`,
  );
  return `<dl>${items.join("")}</dl>`;
}

/** A section under a heading; nothing where it has no content. */
export function section(heading: string, ...content: readonly Html[]): Html {
  const inner = content.filter((part) => part !== "");
  return inner.length === 0
    ? ""
    : `<section>\n<h2>${escapeHtml(heading)}</h2>\n${inner.join("\n")}\n</section>`;
}
