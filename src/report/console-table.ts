/** Tables for a terminal: aligned by display width, free of control characters, plain unless colour is asked for. */
import { fixed } from "./format.ts";
import { resultColumns } from "./results-columns.ts";
import { displayWidth, oneLine, pad, truncate, visible, wrap } from "./text.ts";
import type { MethodResult, PromptSamples, SampleRow } from "./types.ts";

/** One column over rows of type `Row`. Numbers are aligned right, text left, unless `align` says otherwise. */
export interface TableColumn<Row> {
  readonly title: string;
  readonly value: (row: Row) => string | number | undefined;
  readonly align?: "left" | "right";
  /** Decimals of numbers; without it they are printed in full. */
  readonly digits?: number;
  /** Cells that the column may take; longer text ends in an ellipsis. */
  readonly maxWidth?: number;
}

/** How to print. */
export interface ConsoleOptions {
  /** Terminal width in cells, default 100. */
  readonly width?: number;
  /** Bold headings by ANSI codes; default false. Pass whether the output is a TTY. */
  readonly ansi?: boolean;
}

const GAP = "  ";
const MIN_TEXT = 12;
const MIN_COLUMN = 24;

/**
 * An aligned table, one line per row, without a newline at the end. Where it is wider than the terminal the widest
 * left-aligned column gives way, down to 12 cells; numbers are never cut.
 */
export function formatTable<Row>(
  rows: readonly Row[],
  columns: readonly TableColumn<Row>[],
  options: ConsoleOptions = {},
): string {
  const cells = rows.map((row) => columns.map((column) => cellText(column, column.value(row))));
  const aligns = columns.map(
    (column) =>
      column.align ?? (rows.some((row) => typeof column.value(row) === "number") ? "right" : "left"),
  );
  const titles = columns.map((column) => oneLine(column.title));
  const natural = titles.map((title, c) =>
    Math.max(displayWidth(title), ...cells.map((line) => displayWidth(line[c] ?? ""))),
  );
  const widths = fit(natural, aligns, options.width ?? 100);
  const format = (line: readonly string[]): string =>
    line
      .map((text, c) => pad(truncate(text, widths[c] ?? 0), widths[c] ?? 0, aligns[c]))
      .join(GAP)
      .trimEnd();
  const ruler = widths.map((width) => "\u2500".repeat(width)).join(GAP);
  return [bold(format(titles), options), ruler, ...cells.map(format)].join("\n");
}

function cellText<Row>(column: TableColumn<Row>, value: string | number | undefined): string {
  if (typeof value === "string") return truncate(oneLine(value), column.maxWidth ?? Infinity);
  return value !== undefined && column.digits === undefined && Number.isFinite(value)
    ? String(value)
    : fixed(value, column.digits);
}

function fit(natural: readonly number[], aligns: readonly string[], total: number): number[] {
  const widths = [...natural];
  const used = (): number => widths.reduce((sum, width) => sum + width, GAP.length * (widths.length - 1));
  while (used() > total) {
    const texts = widths.map((width, c) => (aligns[c] === "left" && width > MIN_TEXT ? width : 0));
    const widest = texts.indexOf(Math.max(...texts));
    if ((texts[widest] ?? 0) === 0) break;
    widths[widest] = Math.max(MIN_TEXT, (widths[widest] ?? 0) - (used() - total));
  }
  return widths;
}

function bold(text: string, options: ConsoleOptions): string {
  return options.ansi === true ? `\u001B[1m${text}\u001B[22m` : text;
}

/** The results of a comparison as a {@link formatTable}, with the columns that the page shows. */
export function formatResults(methods: readonly MethodResult[], options: ConsoleOptions = {}): string {
  const columns = resultColumns(methods).map((column) => ({
    title: column.title,
    align: "right" as const,
    value: (method: MethodResult) => [column.show(method), column.spread?.(method)].filter(Boolean).join(" "),
  }));
  const name = {
    title: "Method",
    value: (method: MethodResult) => [method.name, method.setting].filter(Boolean).join(", "),
  };
  return formatTable(methods, [name, ...columns], options);
}

/**
 * The responses to each prompt in columns beside each other, wrapped; below each other where the terminal is too
 * narrow for 24 cells a column.
 */
export function sideBySide(samples: readonly PromptSamples[], options: ConsoleOptions = {}): string {
  return samples.map((sample) => promptBlock(sample, options)).join("\n\n");
}

function promptBlock({ prompt, rows }: PromptSamples, options: ConsoleOptions): string {
  const total = options.width ?? 100;
  const column = Math.floor((total - 3 * (rows.length - 1)) / Math.max(1, rows.length));
  const head = wrap(`> ${oneLine(prompt)}`, total).map((line) => bold(line, options));
  const body =
    column >= MIN_COLUMN ? beside(rows, column) : rows.flatMap((row) => ["", ...block(row, total)]);
  return [...head, ...body].join("\n");
}

function beside(rows: readonly SampleRow[], width: number): string[] {
  const blocks = rows.map((row) => block(row, width));
  const height = Math.max(0, ...blocks.map((lines) => lines.length));
  return Array.from({ length: height }, (_, i) =>
    blocks
      .map((lines) => pad(lines[i] ?? "", width))
      .join(" \u2502 ")
      .trimEnd(),
  );
}

function block({ method, text, score, rank }: SampleRow, width: number): string[] {
  const title = truncate(oneLine(method), width);
  const numbers = `score ${fixed(score)}, rank ${fixed(rank)}`;
  return [title, ...wrap(numbers, width), "\u2500".repeat(width), ...wrap(visible(text.trim()), width)];
}
