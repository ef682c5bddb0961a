/** One command as a part of another: its notes go to a log, its progress into the other's line. */
import { appendLine } from "../../data/files.ts";
import { kebab } from "../arguments/flags.ts";
import { readOptions } from "../arguments/options.ts";
import { NO_LINES } from "../lines.ts";
import type { AnyVerb, Io } from "../verb.ts";
import type { Settings } from "./file.ts";

/** A command with its settings, found to be valid. */
export interface Task {
  readonly verb: AnyVerb;
  readonly config: Readonly<Record<string, unknown>>;
}

/**
 * Checks settings as the command line would.
 * @param names what stands on it beside flags
 * @throws ConfigError as the command would
 */
export async function taskOf(
  verb: AnyVerb,
  settings: Settings,
  names: readonly string[] = [],
): Promise<Task> {
  const flags = Object.entries(settings).flatMap(([key, value]) =>
    typeof value === "boolean" ? (value ? [`--${kebab(key)}`] : []) : [`--${kebab(key)}=${value}`],
  );
  const request = await readOptions(verb, [...names, ...flags]);
  return { verb, config: request.help ? {} : request.config };
}

/**
 * Runs a command.
 * @param show hears what it is doing: "evaluate 120/4800 tokens"
 * @returns its results
 */
export async function runTask(
  { verb, config }: Task,
  io: Io,
  log: string,
  show: (doing: string) => void,
): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const results: Readonly<Record<string, unknown>>[] = [];
  let written = Promise.resolve();
  const nested: Io = {
    device: () => io.device(),
    signal: io.signal,
    lines: () => NO_LINES,
    stream: () => {},
    result: (record) => void results.push(record),
    note(text) {
      const lines = text.split("\n");
      for (const line of lines) written = written.then(() => appendLine(log, line));
      show(lines.at(-1)!.trim());
    },
    progress: ({ label, total, unit }) => ({
      update: (done, note) => show(`${label} ${done}/${total} ${unit}${note ? `, ${note}` : ""}`),
      stop: () => {},
    }),
  };
  try {
    await verb.run(config as never, nested);
  } finally {
    await written;
  }
  return results;
}
