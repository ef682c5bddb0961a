/** Records of a run that grow by lines: metrics.jsonl and samples.jsonl. Every record has a `step`. */
import { readJsonl } from "../data/datasets/dataset.ts";
import { exists, openAppender, readText, writeFileAtomic } from "../data/files.ts";
import { isRecord } from "../data/json.ts";
import { FormatError } from "../errors.ts";

/** One flat line. Names as in the house list: `loss lr gradNorm tokens evalLoss tokensPerSecond`, losses in nats. */
export interface StepRecord {
  /** Optimizer steps taken when the record was made. */
  readonly step: number;
  readonly [name: string]: string | number | boolean;
}

/** A growing file of records. */
export interface RecordWriter {
  /** Writes one line; it survives a kill right after. */
  write(record: StepRecord): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens `path` for appending. With `lastStep`, records of later steps are dropped first: a run that resumes from a
 * checkpoint makes them again. Without it the file begins empty.
 */
export async function openRecords(path: string, lastStep?: number): Promise<RecordWriter> {
  if (lastStep === undefined) await writeFileAtomic(path, "");
  else if (await exists(path)) await truncate(path, lastStep);
  const appender = await openAppender(path);
  return { write: (record) => appender.append(JSON.stringify(record)), close: () => appender.close() };
}

/**
 * All records of a file, in order.
 * @throws FormatError naming the line of one that is none
 */
export async function readRecords(path: string): Promise<StepRecord[]> {
  const records: StepRecord[] = [];
  for await (const { line, value } of readJsonl(path)) {
    if (!isRecord(value) || typeof value["step"] !== "number") {
      throw new FormatError(`${path}:${line}: expected a record with a "step"`);
    }
    records.push(value as unknown as StepRecord);
  }
  return records;
}

/** A kill may have torn the last line; it is of a later step than any checkpoint, so it goes too. */
async function truncate(path: string, lastStep: number): Promise<void> {
  const complete = (await readText(path)).split("\n").slice(0, -1);
  const kept = complete.filter((line) => (JSON.parse(line) as StepRecord).step <= lastStep);
  await writeFileAtomic(path, kept.map((line) => `${line}\n`).join(""));
}
