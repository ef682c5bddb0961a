/** The numbers of a report as files inside the page: links that hold the data themselves. */
import { fixed } from "./format.ts";
import type { BonPoint, Comparison, MethodResult, SweepRow } from "./types.ts";

/** Records as indented JSON; numbers that JSON has no word for become `"Infinity"`, `"-Infinity"`, `"NaN"`. */
export function toJson(records: object): string {
  const readable = (_key: string, value: unknown): unknown =>
    typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
  return JSON.stringify(records, readable, 2);
}

/** What stands in one field of a table. */
export type Cell = string | number | undefined;

/** Columns of a CSV: their names, and how a row gives their cells. */
export type Columns<Row> = readonly (readonly [name: string, read: (row: Row) => Cell])[];

/** The columns of results. */
const RESULT_COLUMNS: Columns<MethodResult> = [
  ["method", (m) => m.name],
  ["setting", (m) => m.setting],
  ["reward", (m) => m.reward],
  ["reward_se", (m) => m.rewardSe],
  ["win", (m) => m.win],
  ["win_low", (m) => m.winInterval?.[0]],
  ["win_high", (m) => m.winInterval?.[1]],
  ["kl_nats", (m) => m.kl],
  ["kl_k1_nats", (m) => m.klK1],
  ["kl_k3_nats", (m) => m.klK3],
  ["j_nats", (m) => m.J],
  ["length_tokens", (m) => m.length],
  ["eos_rate", (m) => m.eosRate],
  ["distinct_2", (m) => m.distinct2],
];

/** The columns of a sweep's points. */
export const POINT_COLUMNS: Columns<SweepRow> = [
  ["run", (row) => row.id],
  ["evaluation", (row) => row.evaluation],
  ["seed", (row) => row.seed],
  ["n", (row) => row.n],
  ["beta", (row) => row.beta],
  ["max_samples", (row) => row.maxSamples],
  ["temperature", (row) => row.temperature],
  ...RESULT_COLUMNS,
  ["kl_se_nats", (row) => row.klSe],
  ["sampling_seconds", (row) => row.samplingSeconds],
  ["seconds", (row) => row.seconds],
];

/** The results table as CSV (RFC 4180), in full precision: the methods, then Best-of-N with its KL bound. */
export function toCsv(comparison: Comparison): string {
  const known = ({ n, reward, win, kl }: BonPoint, name: string): Cell =>
    ({ method: "best-of-n", setting: `N=${n}`, reward, win, kl_nats: kl })[name];
  const bon: Columns<BonPoint> = RESULT_COLUMNS.map(([name]) => [name, (point) => known(point, name)]);
  const [head, ...methods] = csvLines(comparison.methods, RESULT_COLUMNS);
  return [head, ...methods, ...csvLines(comparison.bonCurve, bon).slice(1)].join("");
}

/** Rows as CSV (RFC 4180), in full precision. */
export const csvOf = <Row>(rows: readonly Row[], columns: Columns<Row>): string =>
  csvLines(rows, columns).join("");

function csvLines<Row>(rows: readonly Row[], columns: Columns<Row>): string[] {
  const cells = [
    columns.map(([name]) => name),
    ...rows.map((row) => columns.map(([, read]) => csvCell(read(row)))),
  ];
  return cells.map((line) => `${line.join(",")}\r\n`);
}

function csvCell(cell: Cell): string {
  if (cell === undefined) return "";
  if (typeof cell === "number") return String(cell);
  // A spreadsheet would run a name that starts like a formula.
  const safe = /^[=+\-@\t\r]/.test(cell) ? `'${cell}` : cell;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** A `data:` address that holds `text` as UTF-8. */
export function dataUri(mediaType: string, text: string): string {
  // Unpaired surrogates become U+FFFD here, as UTF-8 has no form for them.
  const bytes = new TextEncoder().encode(text);
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return `data:${mediaType};charset=utf-8;base64,${btoa(binary)}`;
}

/** Size of `text` in UTF-8 as `12.3 kB`. */
export function sizeOf(text: string): string {
  const bytes = new TextEncoder().encode(text).length;
  return bytes < 1e6 ? `${fixed(bytes / 1e3, 1)} kB` : `${fixed(bytes / 1e6, 1)} MB`;
}
