/** The command line inside the test's process: arguments in, exit code and output out. */
import { readFileSync } from "node:fs";
import { runCli, type Surroundings } from "../../src/cli/run.ts";
import type { Device } from "../../src/gpu/device.ts";

/** What a command did. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `vbon <argv>` in surroundings of which the test gives what it cares for. */
export async function cli(argv: readonly string[], around: Partial<Surroundings> = {}): Promise<Outcome> {
  let [stdout, stderr] = ["", ""];
  const code = await runCli(argv, {
    stdout: { write: (text: string) => void (stdout += text) },
    signal: new AbortController().signal,
    ...around,
    stderr: {
      write(text: string): void {
        stderr += text;
        around.stderr?.write(text);
      },
    },
  });
  return { code, stdout, stderr };
}

/** Runs `vbon <argv>` on `device`, which stays open; `onStderr` hears what is written and may stop the command. */
export function vbon(
  device: Device | undefined,
  argv: readonly (string | number)[],
  onStderr: (text: string, stop: () => void) => void = () => {},
): Promise<Outcome> {
  const stopping = new AbortController();
  const stderr = { write: (text: string) => onStderr(text, () => stopping.abort()) };
  return cli(argv.map(String), { stderr, signal: stopping.signal, ...(device && { device }) });
}

/** `{ maxNewTokens: 4, greedy: true }` as `--max-new-tokens 4 --greedy`. */
export function flags(settings: Readonly<Record<string, string | number | boolean | undefined>>): string[] {
  return Object.entries(settings).flatMap(([key, value]) => {
    const name = `--${key.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`;
    if (value === undefined || value === false) return [];
    return value === true ? [name] : [name, String(value)];
  });
}

/** The lines of a run's metrics.jsonl. */
export const records = (path: string): Record<string, number>[] =>
  readFileSync(path, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, number>);
