/** Where `vbon score` writes: stdout, or a file that has its name once it is complete. */
import { z } from "zod";
import { readJsonl } from "../../data/datasets/dataset.ts";
import { type Appender, kindOf, movePath, openAppender, repairTornLine } from "../../data/files.ts";
import { takeLock } from "../../data/lock.ts";
import { ConfigError } from "../../errors.ts";
import type { Io } from "../verb.ts";

/** A line of the output. */
export interface Line extends Record<string, unknown> {
  readonly ids: readonly number[];
  /** logprobs[t] = log p(ids[t + 1] | ids[0 .. t]) */
  readonly logprobs: readonly number[];
  /** -sum of logprobs: of the whole line, given its first token. */
  readonly nll: number;
  readonly score?: number | undefined;
}

const lineSchema = z.object({
  ids: z.array(z.number()),
  logprobs: z.array(z.number()),
  nll: z.number(),
  score: z.number().optional(),
});

/** An open output. */
export interface Sink {
  /** Where lines are before all are there; undefined for stdout. */
  readonly partial?: string;
  /** What an earlier run has left there. */
  readonly earlier: readonly Line[];
  write(line: Line): Promise<void>;
  /** Ends the output; `complete`: the file gets its name. */
  close(complete: boolean): Promise<void>;
}

/**
 * Runs `work` on the output. A file that is there is left alone, and so is one that another process writes: nothing is scored then.
 * Where `work` does not close it, its lines stay in `<output>.partial`, and the next run begins with them.
 * @throws ConfigError before `work`
 */
export async function withSink(
  output: string | undefined,
  io: Io,
  work: (sink: Sink) => Promise<void>,
): Promise<void> {
  if (output === undefined) return work(printing(io));
  await expectNothing(output);
  const lock = await takeLock(`${output}.lock`, output, "choose another --output");
  let appender: Appender | undefined;
  const partial = `${output}.partial`;
  try {
    await work({
      partial,
      earlier: await readEarlier(partial),
      write: async (line) => (appender ??= await openAppender(partial)).append(JSON.stringify(line)),
      async close(complete) {
        await appender?.close();
        appender = undefined;
        if (complete) await movePath(partial, output);
      },
    });
  } finally {
    await appender?.close();
    await lock.release();
  }
}

function printing(io: Io): Sink {
  return {
    earlier: [],
    write: async (line) => io.result(line, JSON.stringify(line)),
    close: async () => undefined,
  };
}

async function expectNothing(output: string): Promise<void> {
  const kind = await kindOf(output);
  if (kind === "nothing") return;
  throw new ConfigError(
    `--output ${output}: expected a new name, there is a ${kind} already; choose another`,
  );
}

async function readEarlier(partial: string): Promise<Line[]> {
  if ((await kindOf(partial)) === "nothing") return [];
  await readLines(partial, 1); // a file that is not ours is not ours to repair
  await repairTornLine(partial);
  return readLines(partial, Infinity);
}

async function readLines(path: string, most: number): Promise<Line[]> {
  const lines: Line[] = [];
  for await (const { line, value } of readJsonl(path)) {
    const { data } = lineSchema.safeParse(value);
    if (!data) throw unlike(path, `line ${line} is none that vbon score has written`);
    if (lines.push(data) === most) break;
  }
  return lines;
}

/** The lines that an earlier run has left are others than this one would write. */
export function unlike(partial: string, why: string): ConfigError {
  return new ConfigError(
    `${partial}: was left by a run that was stopped, and cannot be continued: ${why}; delete it, or choose another --output`,
  );
}
