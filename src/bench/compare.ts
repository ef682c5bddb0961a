/** Results against earlier ones: what became faster, what became slower by more than is tolerated. */
import { isRecord } from "../data/json.ts";
import { readText } from "../data/files.ts";
import { FormatError } from "../errors.ts";
import type { Line } from "./measure.ts";

/** Earlier results: lines by name, and the adapter they were measured on. */
export interface Earlier {
  readonly adapter: string;
  readonly lines: ReadonlyMap<string, Pick<Line, "ms" | "bestMs" | "cpuMs">>;
}

/** How a job did against before. */
export interface Comparison {
  /** Earlier time over time now: above 1 is faster. */
  readonly ratio: number;
  /** By processor time where both have it (other programs do not disturb it), else by the best time. */
  readonly by: "processor" | "best";
  readonly regressed: boolean;
}

/**
 * Reads what `vbon bench --json` or `--out` wrote: a line for the machine, then one for each job.
 * @throws FormatError when the file is something else
 */
export async function readEarlier(path: string): Promise<Earlier> {
  const text = await readText(path);
  const records = text.split("\n").flatMap((line, i) => (line.trim() ? [parse(path, i, line)] : []));
  const lines = new Map<string, Pick<Line, "ms" | "bestMs" | "cpuMs">>();
  for (const record of records) {
    const { name, ms, bestMs, cpuMs } = record;
    if (typeof name !== "string" || typeof ms !== "number" || typeof bestMs !== "number") continue;
    lines.set(name, { ms, bestMs, ...(typeof cpuMs === "number" && { cpuMs }) });
  }
  const adapter = records.find((record) => typeof record["adapter"] === "string")?.["adapter"];
  if (lines.size > 0) return { adapter: String(adapter ?? ""), lines };
  throw new FormatError(
    `${path}: expected results of \`vbon bench --out FILE\`; found no line with name and ms`,
  );
}

function parse(path: string, i: number, line: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    value = undefined;
  }
  if (isRecord(value)) return value;
  throw new FormatError(
    `${path}: line ${i + 1}: expected a JSON object; use what \`vbon bench --out FILE\` wrote`,
  );
}

/** Undefined where the earlier results do not have this job. `tolerance`: percent of time that may be lost. */
export function compare(line: Line, { lines }: Earlier, tolerance: number): Comparison | undefined {
  const before = lines.get(line.name);
  if (!before) return undefined;
  const cpu = before.cpuMs !== undefined && line.cpuMs !== undefined;
  const ratio = cpu ? before.cpuMs / line.cpuMs : before.bestMs / line.bestMs;
  return { ratio, by: cpu ? "processor" : "best", regressed: ratio < 1 / (1 + tolerance / 100) };
}

/** "1.31x faster by processor time" */
export function comparisonText({ ratio, by, regressed }: Comparison): string {
  const change = ratio >= 1 ? `${ratio.toFixed(2)}x as fast` : `${(1 / ratio).toFixed(2)}x as slow`;
  return `${change} by ${by === "processor" ? "processor time" : "best time"}${regressed ? ": REGRESSION" : ""}`;
}
