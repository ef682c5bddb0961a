/**
 * A run's folder: config.json, metrics.jsonl, samples.jsonl, checkpoint/ (the newest), and model/ (a Hugging Face
 * folder) once it is done.
 */
import { join } from "node:path";
import { exists, writeFileAtomic } from "../data/files.ts";
import { ConfigError } from "../errors.ts";
import { type Carried, findCheckpoint, loadCheckpoint, type RunState, saveCheckpoint } from "./checkpoint.ts";
import { openRecords, type RecordWriter } from "./metrics.ts";

/** An open run. */
export interface RunFolder {
  readonly path: string;
  readonly metrics: RecordWriter;
  readonly samples: RecordWriter;
  /** What the checkpoint held that the run continues from; undefined at the start. */
  readonly restored: RunState | undefined;
  save(state: RunState): Promise<void>;
  close(): Promise<void>;
}

/**
 * Refuses to start a run over another.
 * @throws ConfigError when `path` holds a run and `resume` is not set
 */
export async function claimRunFolder(path: string, resume: boolean): Promise<void> {
  if (resume || !(await exists(join(path, "config.json")))) return;
  throw new ConfigError(`${path}: holds a run already; continue it with --resume, or choose another --out`);
}

/**
 * Opens the folder `path` for a run with the settings `config`, written to config.json. With `resume`, `carried` is
 * restored from the checkpoint and the records after it are dropped; a run killed before its first checkpoint begins
 * again.
 * @throws ConfigError, FormatError when the folder holds another run, or a checkpoint that does not fit
 */
export async function openRunFolder(
  path: string,
  config: Readonly<Record<string, unknown>>,
  carried: Carried,
  resume: boolean,
): Promise<RunFolder> {
  await claimRunFolder(path, resume);
  const found = resume ? await findCheckpoint(path) : undefined;
  const restored = found === undefined ? undefined : await loadCheckpoint(found, carried);
  await writeFileAtomic(join(path, "config.json"), `${JSON.stringify(config, null, 2)}\n`);
  const metrics = await openRecords(join(path, "metrics.jsonl"), restored?.step);
  const samples = await openRecords(join(path, "samples.jsonl"), restored?.step);
  return {
    path,
    metrics,
    samples,
    restored,
    save: (state) => saveCheckpoint(path, carried, state),
    async close() {
      await metrics.close();
      await samples.close();
    },
  };
}
