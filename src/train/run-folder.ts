/**
 * A run's folder: config.json, metrics.jsonl, samples.jsonl, checkpoint/ (the newest), and model/ (a Hugging Face
 * folder) once it is done.
 */
import { join } from "node:path";
import { exists, kindOf, writeFileAtomic } from "../data/files.ts";
import { withFolder } from "../data/lock.ts";
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

/** Folders of a run, whose names must not be taken by files: a run would find that out when it is done. */
const PARTS = ["checkpoint", "model", "adapter", "tokenizer"];

/**
 * Runs `work`, a run from its first look at the data to its saved model, while the folder `path` is nobody else's.
 * @throws ConfigError before `work` when `path` holds a run and `resume` is not set, when another process is at work there,
 * or when the run could not write there
 */
export async function withRunFolder<T>(path: string, resume: boolean, work: () => Promise<T>): Promise<T> {
  for (const name of PARTS)
    if ((await kindOf(join(path, name))) === "file")
      throw new ConfigError(
        `${join(path, name)}: expected a folder or nothing, there is a file; move it, or choose another --out`,
      );
  return withFolder(path, async () => {
    await refuseOther(path, resume);
    return work();
  });
}

/** Refuses to start a run over another, or over a model. */
async function refuseOther(path: string, resume: boolean): Promise<void> {
  if (resume) return;
  const hasModel = await exists(join(path, "model"));
  if (await exists(join(path, "config.json"))) {
    const keeps = hasModel || (await findCheckpoint(path)) !== undefined;
    const early = keeps ? "" : ". It has no checkpoint yet: nothing is lost if you delete it";
    throw new ConfigError(
      `${path}: holds a run already; continue it with --resume, or choose another --out${early}`,
    );
  }
  if (hasModel)
    throw new ConfigError(
      `${path}: holds a model already, which the run's would replace; choose another --out`,
    );
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
  await refuseOther(path, resume);
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
