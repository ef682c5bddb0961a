/** From rounds to ratios, and the Markdown table of them. */

/** One round of one contender. */
export interface Sample {
  readonly round: number;
  /** Units a second. */
  readonly rate: number;
  /** Units a second of processor time; Infinity where none was counted. */
  readonly cpuRate: number;
  /** Units a second of each part. */
  readonly parts: Readonly<Record<string, number>>;
}

/** All rounds of one contender. */
export interface Series {
  readonly name: string;
  /** The setup that was fastest: "2 threads". */
  readonly setup: string;
  readonly samples: readonly Sample[];
}

/** Ours against one peer. Every number is a median over rounds, ratios over the rounds both have. */
export interface Ratio {
  readonly ours: number;
  readonly theirs: number;
  /** Ours / theirs, wall time: above 1 we are faster. */
  readonly ratio: number;
  readonly lowest: number;
  readonly highest: number;
  /** The same by processor time: what the ratio would be if each had the machine's cores for as long as it used them. */
  readonly cpuRatio: number;
}

/** A line of the report. */
export interface Row extends Partial<Ratio> {
  readonly id: string;
  readonly work: string;
  readonly unit: string;
  readonly peer?: string;
  readonly setup?: string;
}

/** What a report says beside its rows. */
export interface Heading {
  readonly machine: string;
  readonly date: string;
  readonly rounds: number;
  readonly versions: Readonly<Record<string, string>>;
  readonly skipped: readonly string[];
}

/** @returns NaN of no values */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  if (Number.isInteger(middle)) return (sorted[middle - 1]! + sorted[middle]!) / 2;
  return sorted[Math.floor(middle)]!;
}

/** Medians of the ratios of each round, not the ratio of medians: the machine's spells then hit both sides alike. */
export function ratioOf(ours: Series, theirs: Series): Ratio {
  const pairs = ours.samples.flatMap((mine) => {
    const other = theirs.samples.find(({ round }) => round === mine.round);
    return other ? [{ mine, other }] : [];
  });
  const ratios = pairs.map(({ mine, other }) => mine.rate / other.rate);
  return {
    ours: median(ours.samples.map(({ rate }) => rate)),
    theirs: median(theirs.samples.map(({ rate }) => rate)),
    ratio: median(ratios),
    lowest: Math.min(...ratios),
    highest: Math.max(...ratios),
    cpuRatio: median(pairs.map(({ mine, other }) => mine.cpuRate / other.cpuRate)),
  };
}

/** Ours alone where there is no peer, and each peer without ours where ours failed. */
export function rowsOf(
  { id, title, unit }: { readonly id: string; readonly title: string; readonly unit: string },
  ours: Series | undefined,
  peers: readonly Series[],
): Row[] {
  const base = { id, work: title, unit };
  const inUnit = (rate: number): number => (unit === "s" ? 1 / rate : rate);
  const alone = (series: Series): number => inUnit(median(series.samples.map(({ rate }) => rate)));
  if (!ours) return peers.map((p) => ({ ...base, peer: p.name, setup: p.setup, theirs: alone(p) }));
  if (peers.length === 0) return [{ ...base, ours: alone(ours) }];
  return peers.map((p) => ({ ...base, peer: p.name, setup: p.setup, ...ratioOf(ours, p) }));
}

/** Three digits, and no more zeros than that needs. */
export function three(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return "";
  if (value >= 1000) return Math.round(value).toLocaleString("en");
  return value.toPrecision(3);
}

/** The report as Markdown. */
export function markdown(heading: Heading, rows: readonly Row[]): string {
  const versions = Object.entries(heading.versions).map(([name, version]) => `${name} ${version}`);
  const lines = rows.map((row) => {
    const peer = row.peer ? `${row.peer}${row.setup ? `, ${row.setup}` : ""}` : "";
    const range = row.ratio === undefined ? "" : `${three(row.lowest)} to ${three(row.highest)}`;
    const cells = [row.work, row.unit, three(row.ours), peer, three(row.theirs), three(row.ratio), range, three(row.cpuRatio)]; // prettier-ignore
    return `| ${cells.join(" | ")} |`;
  });
  return [
    `${heading.machine}; ${heading.date}; ${versions.join(", ")}; medians of ${heading.rounds} alternating rounds`,
    "",
    "| work | unit | vbon | peer | its rate | vbon / peer | lowest to highest | by processor time |",
    "|---|---|---|---|---|---|---|---|",
    ...lines,
    ...(heading.skipped.length > 0 ? ["", ...heading.skipped.map((line) => `- ${line}`)] : []),
    "",
  ].join("\n");
}
